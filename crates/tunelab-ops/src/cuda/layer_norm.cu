// Layer normalisation over the last axis (Ba et al. 2016): one warp for each row.
//
// x [rows, C], weight and bias [C] in float. y = (x - mean) · rstd · weight + bias. Kept for
// backward: stats [rows, 2] = mean and rstd in float. dx is added to so_far unless that is null. The parameters' gradients are summed in two
// stages: layer_norm_parameters sums `length` rows for each part, [2, parts, C]; row_sums of
// elementwise.cu sums the parts. Grids: forward and backward one warp a row, blocks of whole warps;
// parameters (C / 32 rounded up, parts) blocks of 32 x 8 threads.

#include "common.cuh"

__device__ inline u64 warp_index() { return thread_index() / 32; }

template <typename E, typename F> __device__ void walk(bool packs, u32 c, F f) {
    const u32 lane = threadIdx.x % 32;
    if (packs) {
        constexpr u32 N = Pack<E>::N;
        for (u32 i = lane * N; i < c; i += 32 * N) f(i, Pack<E>());
    } else {
        for (u32 i = lane; i < c; i += 32) f(i, Values<E, 1>());
    }
}

template <typename E>
__device__ void forward(const E* x, const float* weight, const float* bias, E* y, float* stats, u64 rows, u32 c,
                        float eps) {
    const u64 row = warp_index();
    if (row >= rows) return;
    x += row * c;
    y += row * c;
    const bool packs = c % Pack<E>::N == 0 && aligned(x) && aligned(y);
    const float shift = widen(x[0]);
    float sum = 0, squares = 0;
    walk<E>(packs, c, [&](u32 i, auto values) {
        values = *(const decltype(values)*)(x + i);
#pragma unroll
        for (int j = 0; j < values.N; j++) {
            const float v = widen(values.v[j]) - shift;
            sum += v;
            squares += v * v;
        }
    });
    const float offset = warp_sum(sum) / c;
    const float variance = fmaxf(warp_sum(squares) / c - offset * offset, 0.0f);
    const float mean = shift + offset, rstd = 1.0f / sqrtf(variance + eps);
    if (threadIdx.x % 32 == 0) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = rstd;
    }
    walk<E>(packs, c, [&](u32 i, auto values) {
        values = *(const decltype(values)*)(x + i);
#pragma unroll
        for (int j = 0; j < values.N; j++)
            values.v[j] = narrow<E>((widen(values.v[j]) - mean) * rstd * weight[i + j] + bias[i + j]);
        *(decltype(values)*)(y + i) = values;
    });
}

template <typename E>
__device__ void backward(const E* x, const E* dy, const float* weight, const float* stats, const E* so_far, E* dx,
                         u64 rows, u32 c) {
    const u64 row = warp_index();
    if (row >= rows) return;
    x += row * c;
    dy += row * c;
    dx += row * c;
    if (so_far) so_far += row * c;
    const bool packs = c % Pack<E>::N == 0 && aligned(x) && aligned(dy) && aligned(so_far) && aligned(dx);
    const float mean = stats[2 * row], rstd = stats[2 * row + 1];
    float mean_d = 0, mean_dx = 0;
    walk<E>(packs, c, [&](u32 i, auto values) {
        values = *(const decltype(values)*)(x + i);
        const auto gradients = *(const decltype(values)*)(dy + i);
#pragma unroll
        for (int j = 0; j < values.N; j++) {
            const float d = widen(gradients.v[j]) * weight[i + j];
            mean_d += d;
            mean_dx += d * (widen(values.v[j]) - mean) * rstd;
        }
    });
    mean_d = warp_sum(mean_d) / c;
    mean_dx = warp_sum(mean_dx) / c;
    walk<E>(packs, c, [&](u32 i, auto values) {
        values = *(const decltype(values)*)(x + i);
        auto gradients = *(const decltype(values)*)(dy + i);
        const auto before = *(const decltype(values)*)((so_far ? so_far : dy) + i);
#pragma unroll
        for (int j = 0; j < values.N; j++) {
            const float d = widen(gradients.v[j]) * weight[i + j];
            const float dx_j = rstd * (d - mean_d - (widen(values.v[j]) - mean) * rstd * mean_dx);
            gradients.v[j] = narrow<E>(so_far ? widen(before.v[j]) + dx_j : dx_j);
        }
        *(decltype(values)*)(dx + i) = gradients;
    });
}

template <typename E>
__device__ void parameters(const E* x, const E* dy, const float* stats, float* sums, u64 rows, u32 c, u64 length) {
    __shared__ float partial[2][8][33];
    const u32 column = blockIdx.x * 32 + threadIdx.x;
    const u64 begin = blockIdx.y * length, end = begin + length < rows ? begin + length : rows;
    float dweight = 0, dbias = 0;
    if (column < c) {
        for (u64 row = begin + threadIdx.y; row < end; row += 8) {
            const float d = widen(dy[row * c + column]);
            dbias += d;
            dweight += d * (widen(x[row * c + column]) - stats[2 * row]) * stats[2 * row + 1];
        }
    }
    partial[0][threadIdx.y][threadIdx.x] = dweight;
    partial[1][threadIdx.y][threadIdx.x] = dbias;
    __syncthreads();
    if (threadIdx.y < 2 && column < c) {
        float sum = 0;
        for (int i = 0; i < 8; i++) sum += partial[threadIdx.y][i][threadIdx.x];
        sums[((u64)threadIdx.y * gridDim.y + blockIdx.y) * c + column] = sum;
    }
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void layer_norm_forward_##type(const E* x, const float* weight, const float* bias, E* y,     \
                                                         float* stats, u64 rows, u32 c, float eps) {                   \
        forward(x, weight, bias, y, stats, rows, c, eps);                                                              \
    }                                                                                                                  \
    extern "C" __global__ void layer_norm_backward_##type(const E* x, const E* dy, const float* weight,                \
                                                          const float* stats, const E* so_far, E* dx, u64 rows,        \
                                                          u32 c) {                                                     \
        backward(x, dy, weight, stats, so_far, dx, rows, c);                                                           \
    }                                                                                                                  \
    extern "C" __global__ void layer_norm_parameters_##type(const E* x, const E* dy, const float* stats, float* sums,  \
                                                            u64 rows, u32 c, u64 length) {                             \
        parameters(x, dy, stats, sums, rows, c, length);                                                               \
    }
KERNELS(ENTRIES)
