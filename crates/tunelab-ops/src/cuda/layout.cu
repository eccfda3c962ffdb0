// Moving values about: transposes, channels behind one another, nearest-neighbour upsampling.
//
// transpose: x [batch, n, m] → y [batch, m, n]; grid (m / 32, n / 32 rounded up, batch), blocks of
// 32 x 8 threads. join: a [outer, na], b [outer, nb] → y [outer, na + nb]. part: x [outer, n] → y
// [outer, m] = x[:, first..first + m]. upsample: x [planes, h, w] → y [planes, height, width], y[i,
// j] = x[⌊i h / height⌋, ⌊j w / width⌋]; its adjoint from dy gathers, so that each sum has a fixed
// order. Any grid where nothing is said of it.

#include "common.cuh"

template <typename E> __device__ void transpose(const E* x, E* y, u32 n, u32 m) {
    __shared__ E tile[32][33];
    x += (u64)blockIdx.z * n * m;
    y += (u64)blockIdx.z * n * m;
    const u32 row = blockIdx.y * 32, column = blockIdx.x * 32;
    for (u32 i = threadIdx.y; i < 32 && row + i < n; i += 8)
        if (column + threadIdx.x < m) tile[i][threadIdx.x] = x[(u64)(row + i) * m + column + threadIdx.x];
    __syncthreads();
    for (u32 i = threadIdx.y; i < 32 && column + i < m; i += 8)
        if (row + threadIdx.x < n) y[(u64)(column + i) * n + row + threadIdx.x] = tile[threadIdx.x][i];
}

// N values at a time, where N divides na and nb and all rows are aligned.
template <int N, typename E> __device__ void join(const E* a, const E* b, E* y, u64 outer, u64 na, u64 nb) {
    using V = Values<E, N>;
    for (u64 i = thread_index() * N; i < outer * (na + nb); i += thread_count() * N) {
        const u64 row = i / (na + nb), at = i % (na + nb);
        *(V*)(y + i) = *(const V*)(at < na ? a + row * na + at : b + row * nb + at - na);
    }
}

template <int N, typename E> __device__ void part(const E* x, E* y, u64 outer, u64 n, u64 first, u64 m) {
    using V = Values<E, N>;
    for (u64 i = thread_index() * N; i < outer * m; i += thread_count() * N)
        *(V*)(y + i) = *(const V*)(x + i / m * n + first + i % m);
}

template <typename E> __device__ void upsample(const E* x, E* y, u32 planes, u32 h, u32 w, u32 height, u32 width) {
    for (u64 i = thread_index(); i < (u64)planes * height * width; i += thread_count()) {
        const u32 column = i % width, row = i / width % height;
        y[i] = x[(i / width / height * h + (u64)row * h / height) * w + (u64)column * w / width];
    }
}

// The first i of `to` with ⌊i from / to⌋ = at.
__device__ inline u32 first_of(u32 at, u32 from, u32 to) { return ((u64)at * to + from - 1) / from; }

template <typename E>
__device__ void upsample_adjoint(const E* dy, E* dx, u32 planes, u32 h, u32 w, u32 height, u32 width) {
    for (u64 i = thread_index(); i < (u64)planes * h * w; i += thread_count()) {
        const u32 column = i % w, row = i / w % h;
        const E* plane = dy + i / w / h * height * width;
        float sum = 0;
        for (u32 r = first_of(row, h, height); r < first_of(row + 1, h, height); r++)
            for (u32 c = first_of(column, w, width); c < first_of(column + 1, w, width); c++)
                sum += widen(plane[(u64)r * width + c]);
        dx[i] = narrow<E>(sum);
    }
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void transpose_##type(const E* x, E* y, u32 n, u32 m) { transpose(x, y, n, m); }             \
    extern "C" __global__ void join_##type(const E* a, const E* b, E* y, u64 outer, u64 na, u64 nb) {                  \
        constexpr int N = Pack<E>::N;                                                                                  \
        if (na % N == 0 && nb % N == 0 && aligned(a) && aligned(b) && aligned(y))                                      \
            join<N>(a, b, y, outer, na, nb);                                                                           \
        else                                                                                                           \
            join<1>(a, b, y, outer, na, nb);                                                                           \
    }                                                                                                                  \
    extern "C" __global__ void part_##type(const E* x, E* y, u64 outer, u64 n, u64 first, u64 m) {                     \
        constexpr int N = Pack<E>::N;                                                                                  \
        if (n % N == 0 && first % N == 0 && m % N == 0 && aligned(x) && aligned(y))                                    \
            part<N>(x, y, outer, n, first, m);                                                                         \
        else                                                                                                           \
            part<1>(x, y, outer, n, first, m);                                                                         \
    }                                                                                                                  \
    extern "C" __global__ void upsample_##type(const E* x, E* y, u32 planes, u32 h, u32 w, u32 height, u32 width) {    \
        upsample(x, y, planes, h, w, height, width);                                                                   \
    }                                                                                                                  \
    extern "C" __global__ void upsample_adjoint_##type(const E* dy, E* dx, u32 planes, u32 h, u32 w, u32 height,       \
                                                       u32 width) {                                                    \
        upsample_adjoint(dy, dx, planes, h, w, height, width);                                                         \
    }
KERNELS(ENTRIES)
