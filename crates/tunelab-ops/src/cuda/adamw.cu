// AdamW (Loshchilov & Hutter 2019) with torch's semantics over all trained tensors at once, behind
// a clipped norm.
//
// A table has one row for each tensor; its values are split into chunks of `CHUNK`, numbered over
// all tensors. gradient_squares: each chunk's Σ g² in double; sum_squares: their sum, in their
// order, by one block, and behind it the values of some scalars, whose addresses stand behind the
// table, so that one copy brings all to the host; adamw: the update of all tensors, which reads
// these numbers and does nothing if one of them is not finite. Parameters and moments are float; gradients of one of the three types. Grids:
// one block of 256 threads a chunk.

#include "common.cuh"

constexpr u32 CHUNK = 1 << 14;

// As `Row` in adamw.rs writes it.
struct Row {
    float *p, *m, *v;
    const void* g;
    u64 n;
    u64 first_chunk;
};

struct Constants {
    float decay, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, correction, epsilon;
};

// The row that this block's chunk belongs to.
__device__ inline Row row_of(const Row* rows, u32 count) {
    u32 low = 0, high = count;
    while (high - low > 1) {
        const u32 middle = (low + high) / 2;
        if (rows[middle].first_chunk <= blockIdx.x) low = middle;
        else high = middle;
    }
    return rows[low];
}

template <typename E> __device__ void gradient_squares(const Row* rows, u32 count, double* squares) {
    const Row row = row_of(rows, count);
    const u64 begin = (blockIdx.x - row.first_chunk) * CHUNK, end = begin + CHUNK < row.n ? begin + CHUNK : row.n;
    const E* g = (const E*)row.g;
    double sum = 0;
    for (u64 i = begin + threadIdx.x; i < end; i += blockDim.x) {
        const float v = widen(g[i]);
        sum += (double)v * v;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

extern "C" __global__ void sum_squares(const double* squares, u32 chunks, const float* const* scalars, u32 count,
                                       double* total) {
    double sum = 0;
    for (u32 i = threadIdx.x; i < chunks; i += blockDim.x) sum += squares[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *total = sum;
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) total[1 + i] = *scalars[i];
}

// N values at a time, where N divides their number and all rows of the table are aligned.
template <int N, typename E> __device__ void update(const Row& row, u64 begin, u64 end, float scale, Constants c) {
    using V = Values<float, N>;
    for (u64 i = begin + threadIdx.x * N; i < end; i += blockDim.x * N) {
        const Values<E, N> gradient = *(const Values<E, N>*)((const E*)row.g + i);
        V p = *(V*)(row.p + i), m = *(V*)(row.m + i), v = *(V*)(row.v + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float g = widen(gradient.v[j]) * scale;
            m.v[j] = c.beta1 * m.v[j] + c.one_minus_beta1 * g;
            v.v[j] = c.beta2 * v.v[j] + c.one_minus_beta2 * (g * g);
            p.v[j] = p.v[j] * c.decay - c.rate * m.v[j] / (sqrtf(v.v[j]) * c.correction + c.epsilon);
        }
        *(V*)(row.p + i) = p;
        *(V*)(row.m + i) = m;
        *(V*)(row.v + i) = v;
    }
}

// `factor` is what gradients are multiplied with before anything else; the norm is theirs after
// that. `total` is of so many numbers.
template <typename E>
__device__ void adamw(const Row* rows, u32 count, const double* total, u32 numbers, float factor, float max_norm,
                      Constants c) {
    for (u32 i = 0; i < numbers; i++)
        if (!isfinite(total[i])) return;
    const double norm = sqrt(*total) * factor;
    const float scale = (float)(fmin(1.0, max_norm / (norm + 1e-6)) * factor);
    const Row row = row_of(rows, count);
    const u64 begin = (blockIdx.x - row.first_chunk) * CHUNK, end = begin + CHUNK < row.n ? begin + CHUNK : row.n;
    if (row.n % 4 == 0 && aligned(row.p) && aligned(row.m) && aligned(row.v) && aligned(row.g))
        update<4, E>(row, begin, end, scale, c);
    else
        update<1, E>(row, begin, end, scale, c);
}

#define ENTRIES(E, type)                                                                                               \
    extern "C" __global__ void gradient_squares_##type(const Row* rows, u32 count, double* squares) {                  \
        gradient_squares<E>(rows, count, squares);                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void adamw_##type(const Row* rows, u32 count, const double* total, u32 numbers,              \
                                            float factor, float max_norm, float decay, float beta1,                    \
                                            float one_minus_beta1, float beta2, float one_minus_beta2, float rate,     \
                                            float correction, float epsilon) {                                         \
        const Constants c{decay, beta1, one_minus_beta1, beta2, one_minus_beta2, rate, correction, epsilon};           \
        adamw<E>(rows, count, total, numbers, factor, max_norm, c);                                                    \
    }
KERNELS(ENTRIES)
