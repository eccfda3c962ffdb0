// Many tensors of float rounded to a shorter type in one launch, one behind the other.
//
// A table has one row for each tensor; its values are split into chunks of `CHUNK`, numbered over
// all tensors, and chunk number i is written from i * CHUNK on. Grid: one block of 256 threads a
// chunk.

#include "common.cuh"

constexpr u32 CHUNK = 1 << 10;

// As `rounded.rs` writes it.
struct Row {
    const float* values;
    u64 n;
    u64 first_chunk;
};

template <typename E> __device__ void rounded(const Row* rows, u32 count, E* to) {
    u32 low = 0, high = count;
    while (high - low > 1) {
        const u32 middle = (low + high) / 2;
        if (rows[middle].first_chunk <= blockIdx.x) low = middle;
        else high = middle;
    }
    const Row row = rows[low];
    const u64 begin = (blockIdx.x - row.first_chunk) * CHUNK, end = begin + CHUNK < row.n ? begin + CHUNK : row.n;
    to += row.first_chunk * CHUNK;
    for (u64 i = begin + threadIdx.x; i < end; i += blockDim.x) to[i] = narrow<E>(row.values[i]);
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void rounded_##type(const Row* rows, u32 count, E* to) { rounded<E>(rows, count, to); }
KERNELS(ENTRIES)
