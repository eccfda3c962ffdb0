// The tensors of up to three adapters, which are float, in one launch: A [rank, k] of each one behind
// the other as [parts · rank, k], B [n, rank] as [parts, n, rank], of the type that is computed in.
//
// Grid: any number of blocks.

#include "common.cuh"

template <typename E>
__device__ void stack(const float* a0, const float* a1, const float* a2, const float* b0, const float* b1, const float* b2,
                      E* a, E* b, u32 of_a, u32 of_b, u32 parts) {
    const u64 n = (u64)parts * (of_a + of_b);
    for (u64 i = thread_index(); i < n; i += thread_count()) {
        const bool is_a = i < (u64)parts * of_a;
        const u64 at = is_a ? i : i - (u64)parts * of_a;
        const u32 each = is_a ? of_a : of_b, part = at / each;
        const float* first = is_a ? a0 : b0;
        const float* second = is_a ? a1 : b1;
        const float* third = is_a ? a2 : b2;
        const float* from = part == 0 ? first : part == 1 ? second : third;
        (is_a ? a : b)[at] = narrow<E>(from[at % each]);
    }
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void stack_##type(const float* a0, const float* a1, const float* a2, const float* b0,        \
                                            const float* b1, const float* b2, E* a, E* b, u32 of_a, u32 of_b,          \
                                            u32 parts) {                                                               \
        stack<E>(a0, a1, a2, b0, b1, b2, a, b, of_a, of_b, parts);                                                     \
    }
KERNELS(ENTRIES)
