// Tokens to vectors: y[i] = tokens[ids[i]] + positions[i mod length], for n ids.
//
// tokens [V, width], positions [at least length, width], y and dy [n, width]. Backward, in the
// order of the texts: dtokens [V, width], zero before, where the first of several equal ids sums
// for all of them; dpositions [longest, width], all of it written. Any grid.

#include "common.cuh"

template <typename E>
__device__ void embedding(const u32* ids, const E* tokens, const E* positions, E* y, u32 n, u32 length, u32 width) {
    for (u64 i = thread_index(); i < (u64)n * width; i += thread_count()) {
        const u32 at = i / width, column = i % width;
        y[i] = narrow<E>(widen(tokens[(u64)ids[at] * width + column]) +
                         widen(positions[(u64)(at % length) * width + column]));
    }
}

template <typename E> __device__ void embedding_tokens(const u32* ids, const E* dy, E* dtokens, u32 n, u32 width) {
    for (u64 i = thread_index(); i < (u64)n * width; i += thread_count()) {
        const u32 at = i / width, column = i % width, id = ids[at];
        bool first = true;
        for (u32 j = 0; j < at && first; j++) first = ids[j] != id;
        if (!first) continue;
        float sum = 0;
        for (u32 j = at; j < n; j++)
            if (ids[j] == id) sum += widen(dy[(u64)j * width + column]);
        dtokens[(u64)id * width + column] = narrow<E>(sum);
    }
}

template <typename E>
__device__ void embedding_positions(const E* dy, E* dpositions, u32 n, u32 length, u32 longest, u32 width) {
    for (u64 i = thread_index(); i < (u64)longest * width; i += thread_count()) {
        float sum = 0;
        if (i / width < length)
            for (u32 j = i / width; j < n; j += length) sum += widen(dy[(u64)j * width + i % width]);
        dpositions[i] = narrow<E>(sum);
    }
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void embedding_##type(const u32* ids, const E* tokens, const E* positions, E* y, u32 n,      \
                                                u32 length, u32 width) {                                               \
        embedding(ids, tokens, positions, y, n, length, width);                                                        \
    }                                                                                                                  \
    extern "C" __global__ void embedding_tokens_##type(const u32* ids, const E* dy, E* dtokens, u32 n, u32 width) {    \
        embedding_tokens(ids, dy, dtokens, n, width);                                                                  \
    }                                                                                                                  \
    extern "C" __global__ void embedding_positions_##type(const E* dy, E* dpositions, u32 n, u32 length, u32 longest,  \
                                                          u32 width) {                                                 \
        embedding_positions(dy, dpositions, n, length, longest, width);                                                \
    }
KERNELS(ENTRIES)
