// The loss: the mean over n samples of weight · mean((p - t)²), summed in double.
//
// p and t [n, size] are the samples that count; weights [n] in float; loss [1] in float. Backward,
// with dloss [1] in float: dp [all samples, size], where sample i counts if it is one of `first`..
// `first` + n, and is zero otherwise; there p and t are whole too. Forward is one block; backward
// any grid.

#include "common.cuh"

template <typename E>
__device__ void forward(const E* p, const E* t, const float* weights, float* loss, u32 n, u64 size) {
    double sum = 0;
    for (u64 i = threadIdx.x; i < n * size; i += blockDim.x) {
        const float difference = widen(p[i]) - widen(t[i]);
        sum += (double)(difference * difference) * weights[i / size];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = (float)(sum / ((double)n * size));
}

template <typename E>
__device__ void backward(const E* p, const E* t, const float* weights, const float* dloss, E* dp, u32 samples,
                         u32 first, u32 n, u64 size) {
    const float factor = 2.0f * *dloss / ((float)n * size);
    for (u64 i = thread_index(); i < samples * size; i += thread_count()) {
        const u64 sample = i / size;
        const bool counts = sample >= first && sample < first + n;
        dp[i] = narrow<E>(counts ? factor * weights[sample - first] * (widen(p[i]) - widen(t[i])) : 0.0f);
    }
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void mean_squares_##type(const E* p, const E* t, const float* weights, float* loss, u32 n,   \
                                                   u64 size) {                                                         \
        forward(p, t, weights, loss, n, size);                                                                         \
    }                                                                                                                  \
    extern "C" __global__ void mean_squares_backward_##type(const E* p, const E* t, const float* weights,              \
                                                            const float* dloss, E* dp, u32 samples, u32 first, u32 n,  \
                                                            u64 size) {                                                \
        backward(p, t, weights, dloss, dp, samples, first, n, size);                                                   \
    }
KERNELS(ENTRIES)
