// Sums and multiples, element by element; and what is the same for all pixels of a channel.
//
// a, b, x, y [n]: add y = a + b, scale y = x · factor, multiply y = a · b. Any grid. add_shift: x
// [planes, pixels], shift [planes] → y = x + shift. The grid's x axis counts planes. plane_sums: x
// [planes, pixels] → sums [planes], one block a plane. row_sums: x [outer, rows, columns] in float
// → sums [outer, columns], over the rows in their order. Any grid.

#include "common.cuh"

template <typename E> __device__ void add_shift(const E* x, const E* shift, E* y, u32 pixels) {
    const float s = widen(shift[blockIdx.x]);
    x += (u64)blockIdx.x * pixels;
    y += (u64)blockIdx.x * pixels;
    const u32 packs = aligned(x) && aligned(y) ? pixels / Pack<E>::N : 0, stride = gridDim.y * blockDim.x;
    for (u32 i = blockIdx.y * blockDim.x + threadIdx.x; i < packs; i += stride) {
        Pack<E> values = ((const Pack<E>*)x)[i];
#pragma unroll
        for (int j = 0; j < Pack<E>::N; j++) values.v[j] = narrow<E>(widen(values.v[j]) + s);
        ((Pack<E>*)y)[i] = values;
    }
    for (u32 i = packs * Pack<E>::N + blockIdx.y * blockDim.x + threadIdx.x; i < pixels; i += stride)
        y[i] = narrow<E>(widen(x[i]) + s);
}

template <typename E> __device__ void plane_sums(const E* x, E* sums, u32 pixels) {
    x += (u64)blockIdx.x * pixels;
    float sum = 0;
    for (u32 i = threadIdx.x; i < pixels; i += blockDim.x) sum += widen(x[i]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = narrow<E>(sum);
}

extern "C" __global__ void row_sums(const float* x, float* sums, u32 outer, u32 rows, u32 columns) {
    for (u64 i = thread_index(); i < (u64)outer * columns; i += thread_count()) {
        const float* from = x + i / columns * rows * columns + i % columns;
        float sum = 0;
        for (u32 row = 0; row < rows; row++) sum += from[(u64)row * columns];
        sums[i] = sum;
    }
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void add_##type(const E* a, const E* b, E* y, u64 n) {                                       \
        map(a, b, y, n, [](float a, float b) { return a + b; });                                                       \
    }                                                                                                                  \
    extern "C" __global__ void multiply_##type(const E* a, const E* b, E* y, u64 n) {                                  \
        map(a, b, y, n, [](float a, float b) { return a * b; });                                                       \
    }                                                                                                                  \
    extern "C" __global__ void scale_##type(const E* x, E* y, u64 n, float factor) {                                   \
        map(x, y, n, [=](float x) { return x * factor; });                                                             \
    }                                                                                                                  \
    extern "C" __global__ void add_shift_##type(const E* x, const E* shift, E* y, u32 pixels) {                        \
        add_shift(x, shift, y, pixels);                                                                                \
    }                                                                                                                  \
    extern "C" __global__ void plane_sums_##type(const E* x, E* sums, u32 pixels) { plane_sums(x, sums, pixels); }
KERNELS(ENTRIES)
