// Activations, element by element: SiLU, GELU (exact, with erf), quick GELU; and GEGLU (Shazeer
// 2020).
//
// *_forward: x [n] → y [n]. *_backward: x, dy [n] → dx [n]; the function is computed again from its
// argument. geglu: x [rows, 2 width] = (a, g) → y [rows, width] = a · gelu(g). Any grid.

#include "common.cuh"

__device__ inline float normal_cdf(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)); }
__device__ inline float gelu_slope(float x) { return normal_cdf(x) + x * 0.39894228f * expf(-0.5f * x * x); }

struct Silu {
    __device__ static float value(float x) { return x * sigmoid(x); }
    __device__ static float slope(float x) {
        const float s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    }
};

struct Gelu {
    __device__ static float value(float x) { return x * normal_cdf(x); }
    __device__ static float slope(float x) { return gelu_slope(x); }
};

struct QuickGelu {
    __device__ static float value(float x) { return x * sigmoid(1.702f * x); }
    __device__ static float slope(float x) {
        const float s = sigmoid(1.702f * x);
        return s * (1.0f + 1.702f * x * (1.0f - s));
    }
};

template <typename F, typename E> __device__ void forward(const E* x, E* y, u64 n) {
    map(x, y, n, [](float x) { return F::value(x); });
}

template <typename F, typename E> __device__ void backward(const E* x, const E* dy, E* dx, u64 n) {
    map(x, dy, dx, n, [](float x, float dy) { return dy * F::slope(x); });
}

// N values at a time, where N divides width and all rows are aligned.
template <int N, typename E> __device__ void geglu_forward(const E* x, E* y, u64 rows, u64 width) {
    using V = Values<E, N>;
    for (u64 i = thread_index() * N; i < rows * width; i += thread_count() * N) {
        const E* a = x + i / width * 2 * width + i % width;
        V v = *(const V*)a;
        const V g = *(const V*)(a + width);
#pragma unroll
        for (int j = 0; j < N; j++) v.v[j] = narrow<E>(widen(v.v[j]) * Gelu::value(widen(g.v[j])));
        *(V*)(y + i) = v;
    }
}

template <int N, typename E> __device__ void geglu_backward(const E* x, const E* dy, E* dx, u64 rows, u64 width) {
    using V = Values<E, N>;
    for (u64 i = thread_index() * N; i < rows * width; i += thread_count() * N) {
        const u64 at = i / width * 2 * width + i % width;
        const V a = *(const V*)(x + at), g = *(const V*)(x + at + width), d = *(const V*)(dy + i);
        V da, dg;
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float a_j = widen(a.v[j]), g_j = widen(g.v[j]), d_j = widen(d.v[j]);
            const float cdf = normal_cdf(g_j);
            da.v[j] = narrow<E>(d_j * g_j * cdf);
            dg.v[j] = narrow<E>(d_j * a_j * (cdf + g_j * 0.39894228f * expf(-0.5f * g_j * g_j)));
        }
        *(V*)(dx + at) = da;
        *(V*)(dx + at + width) = dg;
    }
}

#define ENTRY(E, type, name, F)                                                                                        \
    extern "C" __global__ void name##_forward_##type(const E* x, E* y, u64 n) { forward<F>(x, y, n); }                 \
    extern "C" __global__ void name##_backward_##type(const E* x, const E* dy, E* dx, u64 n) {                         \
        backward<F>(x, dy, dx, n);                                                                                     \
    }
#define ENTRIES(E, type)                                                                                               \
    ENTRY(E, type, silu, Silu)                                                                                         \
    ENTRY(E, type, gelu, Gelu)                                                                                         \
    ENTRY(E, type, quick_gelu, QuickGelu)                                                                              \
    extern "C" __global__ void geglu_forward_##type(const E* x, E* y, u64 rows, u64 width) {                           \
        if (width % Pack<E>::N == 0 && aligned(x) && aligned(y))                                                       \
            geglu_forward<Pack<E>::N>(x, y, rows, width);                                                              \
        else                                                                                                           \
            geglu_forward<1>(x, y, rows, width);                                                                       \
    }                                                                                                                  \
    extern "C" __global__ void geglu_backward_##type(const E* x, const E* dy, E* dx, u64 rows, u64 width) {            \
        if (width % Pack<E>::N == 0 && aligned(x) && aligned(dy) && aligned(dx))                                       \
            geglu_backward<Pack<E>::N>(x, dy, dx, rows, width);                                                        \
        else                                                                                                           \
            geglu_backward<1>(x, dy, dx, rows, width);                                                                 \
    }
KERNELS(ENTRIES)
