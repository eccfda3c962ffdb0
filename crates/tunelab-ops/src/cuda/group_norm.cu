// Group normalisation (Wu & He 2018), optionally followed by SiLU: one block for each slab, a
// sample's group.
//
// x [B, C, pixels], weight and bias [C] in float. A slab is the `channels` = C / groups channels of
// a group, contiguous. y = silu?((x - mean) · rstd · weight + bias). Kept for backward: stats [B,
// groups, 2] = mean and rstd in float. Backward: dx unless it is null, added to so_far unless that is
// null; sums [2, B, C] unless it is null: each sample's part of dweight and dbias, in float. Grid: B ·
// groups blocks of whole warps.

#include "common.cuh"

// Runs f(i, n, channel) for the slab's values i..i + n, all of one channel; n is 16 bytes' worth or
// 1.
template <typename E, typename F> __device__ void walk(bool packs, u32 channels, u32 pixels, F f) {
    if (packs) {
        constexpr u32 N = Pack<E>::N;
        for (u32 i = threadIdx.x * N; i < channels * pixels; i += blockDim.x * N) f(i, Pack<E>(), i / pixels);
    } else {
        for (u32 i = threadIdx.x; i < channels * pixels; i += blockDim.x) f(i, Values<E, 1>(), i / pixels);
    }
}

template <typename E>
__device__ void forward(const E* x, const float* weight, const float* bias, E* y, float* stats, u32 groups, u32 channels,
                        u32 pixels, float eps, int silu) {
    const u64 slab = (u64)channels * pixels;
    x += blockIdx.x * slab;
    y += blockIdx.x * slab;
    const bool packs = pixels % Pack<E>::N == 0 && aligned(x) && aligned(y);
    // One pass: the sums are of differences from a value of the slab, so that they do not cancel.
    const float shift = widen(x[0]);
    float sum = 0, squares = 0;
    walk<E>(packs, channels, pixels, [&](u32 i, auto values, u32) {
        values = *(const decltype(values)*)(x + i);
#pragma unroll
        for (int j = 0; j < values.N; j++) {
            const float v = widen(values.v[j]) - shift;
            sum += v;
            squares += v * v;
        }
    });
    const float offset = block_sum(sum) / slab;
    const float variance = fmaxf(block_sum(squares) / slab - offset * offset, 0.0f);
    const float mean = shift + offset, rstd = 1.0f / sqrtf(variance + eps);
    if (threadIdx.x == 0) {
        stats[2 * blockIdx.x] = mean;
        stats[2 * blockIdx.x + 1] = rstd;
    }
    const u32 first = blockIdx.x % groups * channels;
    walk<E>(packs, channels, pixels, [&](u32 i, auto values, u32 c) {
        values = *(const decltype(values)*)(x + i);
        const float scale = rstd * weight[first + c], bias_c = bias[first + c];
#pragma unroll
        for (int j = 0; j < values.N; j++) {
            const float z = (widen(values.v[j]) - mean) * scale + bias_c;
            values.v[j] = narrow<E>(silu ? z * sigmoid(z) : z);
        }
        *(decltype(values)*)(y + i) = values;
    });
}

// The gradient behind the normalisation and its scale.
__device__ inline float behind(float x, float dy, float mean, float scale, float bias, int silu) {
    if (!silu) return dy;
    const float z = (x - mean) * scale + bias, s = sigmoid(z);
    return dy * s * (1.0f + z * (1.0f - s));
}

// Adds a warp's share of Σ d (x - mean) · rstd and Σ d over a channel's pixels from `begin` to `end`,
// with d the gradient behind the normalisation: N neighbours at a time, where N divides both and all
// is aligned.
template <int N, typename E>
__device__ void channel_sums(const E* x, const E* dy, u32 begin, u32 end, float mean, float rstd, float scale, float bias,
                             int silu, float& dweight, float& dbias) {
    for (u32 i = begin + threadIdx.x % 32 * N; i < end; i += 32 * N) {
        const Values<E, N> values = *(const Values<E, N>*)(x + i), gradients = *(const Values<E, N>*)(dy + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float x_j = widen(values.v[j]);
            const float d = behind(x_j, widen(gradients.v[j]), mean, scale, bias, silu);
            dbias += d;
            dweight += d * (x_j - mean) * rstd;
        }
    }
}

// Shared memory: 2 · channels · parts floats. A channel's sums are split into `parts`, so that each
// warp has one to make.
template <typename E>
__device__ void backward(const E* x, const E* dy, const float* weight, const float* bias, const float* stats,
                         const E* so_far, E* dx, float* sums, u32 groups, u32 channels, u32 pixels, u32 parts, int silu) {
    DYNAMIC_SHARED(memory, 2 * channels * parts * sizeof(float));
    float* partial = (float*)memory;
    const u64 slab = (u64)channels * pixels;
    x += blockIdx.x * slab;
    dy += blockIdx.x * slab;
    const float mean = stats[2 * blockIdx.x], rstd = stats[2 * blockIdx.x + 1];
    const u32 first = blockIdx.x % groups * channels, lane = threadIdx.x % 32;
    const bool packs = pixels % Pack<E>::N == 0 && aligned(x) && aligned(dy);
    const u32 unit = packs ? Pack<E>::N : 1, length = (pixels / unit + parts - 1) / parts * unit;
    for (u32 item = threadIdx.x / 32; item < channels * parts; item += blockDim.x / 32) {
        const u32 c = item / parts, begin = item % parts * length, end = min(begin + length, pixels);
        const u64 at = (u64)c * pixels;
        const float scale = rstd * weight[first + c], bias_c = bias[first + c];
        float dweight = 0, dbias = 0;
        if (packs)
            channel_sums<Pack<E>::N>(x + at, dy + at, begin, end, mean, rstd, scale, bias_c, silu, dweight, dbias);
        else channel_sums<1>(x + at, dy + at, begin, end, mean, rstd, scale, bias_c, silu, dweight, dbias);
        dweight = warp_sum(dweight);
        dbias = warp_sum(dbias);
        if (lane == 0) {
            partial[2 * item] = dweight;
            partial[2 * item + 1] = dbias;
        }
    }
    __syncthreads();
    float mean_d = 0, mean_dx = 0;
    for (u32 c = threadIdx.x; c < channels; c += blockDim.x) {
        float dweight = 0, dbias = 0;
        for (u32 part = 0; part < parts; part++) {
            dweight += partial[2 * (c * parts + part)];
            dbias += partial[2 * (c * parts + part) + 1];
        }
        mean_d += dbias * weight[first + c];
        mean_dx += dweight * weight[first + c];
        if (sums) {
            const u64 sample = blockIdx.x / groups, samples = gridDim.x / groups;
            const u64 all = (u64)groups * channels, at = sample * all + first + c;
            sums[at] = dweight;
            sums[samples * all + at] = dbias;
        }
    }
    if (!dx) return;
    mean_d = block_sum(mean_d) / slab;
    mean_dx = block_sum(mean_dx) / slab;
    dx += blockIdx.x * slab;
    if (so_far) so_far += blockIdx.x * slab;
    walk<E>(packs && aligned(dx) && aligned(so_far), channels, pixels, [&](u32 i, auto values, u32 c) {
        values = *(const decltype(values)*)(x + i);
        auto gradients = *(const decltype(values)*)(dy + i);
        const auto before = *(const decltype(values)*)((so_far ? so_far : dy) + i);
        const float weight_c = weight[first + c], scale = rstd * weight_c, bias_c = bias[first + c];
#pragma unroll
        for (int j = 0; j < values.N; j++) {
            const float x_j = widen(values.v[j]);
            const float d = behind(x_j, widen(gradients.v[j]), mean, scale, bias_c, silu);
            const float dx_j = rstd * (d * weight_c - mean_d - (x_j - mean) * rstd * mean_dx);
            gradients.v[j] = narrow<E>(so_far ? widen(before.v[j]) + dx_j : dx_j);
        }
        *(decltype(values)*)(dx + i) = gradients;
    });
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void group_norm_forward_##type(const E* x, const float* weight, const float* bias, E* y,     \
                                                         float* stats, u32 groups, u32 channels, u32 pixels,           \
                                                         float eps, int silu) {                                        \
        forward(x, weight, bias, y, stats, groups, channels, pixels, eps, silu);                                       \
    }                                                                                                                  \
    extern "C" __global__ void group_norm_backward_##type(const E* x, const E* dy, const float* weight,                \
                                                          const float* bias, const float* stats, const E* so_far,      \
                                                          E* dx, float* sums, u32 groups, u32 channels, u32 pixels,    \
                                                          u32 parts, int silu) {                                       \
        backward(x, dy, weight, bias, stats, so_far, dx, sums, groups, channels, pixels, parts, silu);                 \
    }
KERNELS(ENTRIES)
