// Scaled dot-product attention (Vaswani et al. 2017) block by block, as FlashAttention (Dao et al.
// 2022, 2023) computes it: softmax(q kᵀ / √d) v for each head, of which nothing of the size queries
// x keys is ever in memory.
//
// q, y, dy, dq [B, queries, heads · d], k, v, dk, dv [B, keys, heads · d]; rows of q and dq are
// q_row values apart, those of k, v, dk and dv kv_row, so that several may lie side by side in one
// tensor; rows of y and dy are heads · d apart. causal: a query sees keys up to its own position. Kept for backward beside the operands: y, and lse [B, heads,
// queries] in float: log2 of the sum of a query's 2^scores, where scores are in units of log2 e.
// Backward is two kernels: attention_queries makes dq (unless it is null) and delta [B, heads,
// queries] = Σ y dy; attention_keys makes dk and dv from delta. Each sum has one thread and one
// order.
//
// A block has its own ROWS = 16 · WARPS rows (queries, or for attention_keys keys), 16 a warp, and
// walks over COLUMNS of the others at a time. Tiles in shared memory have D >= d columns, filled up
// with zeros; D is a multiple of 16. Grid: (rows / ROWS rounded up, heads, B); WARPS · 32 threads.

#pragma once

#include "matrix.cuh"

struct Sizes {
    int queries, keys, heads, d, causal, q_row, kv_row;

    // Where this block's head begins in a tensor with so many rows a sample that are so far apart.
    __device__ u64 head(int rows, int row) const { return (u64)blockIdx.z * rows * row + (u64)blockIdx.y * d; }
    // Of q and dq; of k, v, dk and dv; of y and dy.
    __device__ u64 q_head() const { return head(queries, q_row); }
    __device__ u64 kv_head() const { return head(keys, kv_row); }
    __device__ u64 y_head() const { return head(queries, y_row()); }
    __device__ int y_row() const { return heads * d; }
    // The same in lse and delta.
    __device__ u64 line() const { return ((u64)blockIdx.z * heads + blockIdx.y) * queries; }
    // What makes scores of products, in units of log2 e.
    __device__ float scale2() const { return 1.44269504f / sqrtf((float)d); }
    __device__ bool sees(int query, int key) const { return key < keys && (!causal || key <= query); }
    // Whether all queries from this one on see all keys before `end`.
    __device__ bool all_see(int query, int end) const { return end <= keys && (!causal || end <= query + 1); }
};

// Tiles of one kind of arithmetic, for heads of up to D.
template <typename Math, int D, int COLUMNS, int WARPS> struct Tiles {
    typedef typename Math::E E;
    typedef typename Math::A A;
    typedef typename Math::B B;
    static constexpr int ROWS = 16 * WARPS, LENGTH = Math::row(D), THREADS = 32 * WARPS;

    // Rows first.. of a head, so many values apart, into a tile of N rows; what is not there is
    // zero.
    template <int N>
    __device__ static void load(E* tile, const E* from, u64 apart, const Sizes& s, int first, int rows) {
        constexpr int P = Pack<E>::N;
        if (s.d % P == 0 && apart % P == 0 && aligned(from)) {
            for (int i = threadIdx.x; i < N * (D / P); i += THREADS) {
                const int row = i / (D / P), column = i % (D / P) * P;
                Pack<E> values;
#pragma unroll
                for (int j = 0; j < P; j++) values.v[j] = narrow<E>(0.0f);
                if (first + row < rows && column < s.d)
                    values = *(const Pack<E>*)(from + (first + row) * apart + column);
                *(Pack<E>*)(tile + row * LENGTH + column) = values;
            }
        } else {
            for (int i = threadIdx.x; i < N * D; i += THREADS) {
                const int row = i / D, column = i % D;
                tile[row * LENGTH + column] = first + row < rows && column < s.d
                                                  ? from[(first + row) * apart + column]
                                                  : narrow<E>(0.0f);
            }
        }
    }

    // products [16, COLUMNS] = the warp's rows · othersᵀ
    __device__ static void multiply(float (&products)[COLUMNS / 8][4], const E* own, const E* others, int lane) {
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) products[j][i] = 0;
#pragma unroll
        for (int k = 0; k < D; k += Math::K) {
            A a;
            Math::load(a, own, LENGTH, k, lane);
#pragma unroll
            for (int n = 0; n < COLUMNS; n += 16) {
                B b[2];
                Math::load_columns(b, others + n * LENGTH, LENGTH, k, lane);
                Math::add(products[n / 8], a, b[0]);
                Math::add(products[n / 8 + 1], a, b[1]);
            }
        }
    }

    // sums [16, D] += factors [16, COLUMNS] · others
    __device__ static void accumulate(float (&sums)[D / 8][4], const float (&factors)[COLUMNS / 8][4], const E* others,
                                      int lane) {
#pragma unroll
        for (int k = 0; k < COLUMNS; k += Math::K) {
            A a;
            Math::take(a, factors, k);
#pragma unroll
            for (int n = 0; n < D; n += 16) {
                B b[2];
                Math::load_rows(b, others + k * LENGTH, LENGTH, n, lane);
                Math::add(sums[n / 8], a, b[0]);
                Math::add(sums[n / 8 + 1], a, b[1]);
            }
        }
    }

    // The warp's sums · factor to rows first.. of a head, so many values apart; one factor for rows
    // g, one for rows g + 8.
    __device__ static void store(E* to, u64 apart, const float (&sums)[D / 8][4], const float (&factor)[2], const Sizes& s,
                                 int first, int rows, int lane) {
#pragma unroll
        for (int j = 0; j < D / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = first + lane / 4 + i / 2 * 8, column = 8 * j + lane % 4 * 2 + i % 2;
                if (row < rows && column < s.d) to[row * apart + column] = narrow<E>(sums[j][i] * factor[i / 2]);
            }
    }
};

// The largest or the sum of what the four threads of a row have.
__device__ inline float row_max(float v) {
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}
__device__ inline float row_sum(float v) {
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

template <typename Math, int D, int COLUMNS, int WARPS>
__device__ void attention(const typename Math::E* q, const typename Math::E* k, const typename Math::E* v,
                          typename Math::E* y, float* lse, Sizes s) {
    typedef Tiles<Math, D, COLUMNS, WARPS> T;
    typedef typename Math::E E;
    DYNAMIC_SHARED(memory, (T::ROWS + 2 * COLUMNS) * T::LENGTH * sizeof(E));
    E *qs = (E*)memory, *ks = qs + T::ROWS * T::LENGTH, *vs = ks + COLUMNS * T::LENGTH;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first = blockIdx.x * T::ROWS, mine = first + 16 * warp;
    const float scale2 = s.scale2();
    T::template load<T::ROWS>(qs, q + s.q_head(), s.q_row, s, first, s.queries);
    // The largest product of each row so far, and the sum of the powers.
    float sums[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    const int end = s.causal ? min(s.keys, first + T::ROWS) : s.keys;
    for (int column = 0; column < end; column += COLUMNS) {
        __syncthreads();
        T::template load<COLUMNS>(ks, k + s.kv_head(), s.kv_row, s, column, s.keys);
        T::template load<COLUMNS>(vs, v + s.kv_head(), s.kv_row, s, column, s.keys);
        __syncthreads();
        float p[COLUMNS / 8][4];
        T::multiply(p, qs + 16 * warp * T::LENGTH, ks, lane);
        if (!s.all_see(mine, column + COLUMNS)) {
#pragma unroll
            for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int query = mine + lane / 4 + i / 2 * 8, key = column + 8 * j + lane % 4 * 2 + i % 2;
                    if (!s.sees(query, key)) p[j][i] = -INFINITY;
                }
        }
        float largest[2] = {top[0], top[1]};
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) largest[i / 2] = fmaxf(largest[i / 2], p[j][i]);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            // Every query sees the first key, so this is finite from the first round on.
            largest[half] = row_max(largest[half]);
            const float shrink = exp2f((top[half] - largest[half]) * scale2);
            top[half] = largest[half];
            total[half] *= shrink;
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                sums[j][2 * half] *= shrink;
                sums[j][2 * half + 1] *= shrink;
            }
        }
        const float tops[2] = {top[0] * scale2, top[1] * scale2};
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                p[j][i] = exp2f(p[j][i] * scale2 - tops[i / 2]);
                total[i / 2] += p[j][i];
            }
        T::accumulate(sums, p, vs, lane);
    }
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        total[half] = row_sum(total[half]);
        factor[half] = 1.0f / total[half];
        const int query = mine + lane / 4 + 8 * half;
        if (lane % 4 == 0 && query < s.queries) lse[s.line() + query] = top[half] * scale2 + log2f(total[half]);
    }
    T::store(y + s.y_head(), s.y_row(), sums, factor, s, mine, s.queries, lane);
}

// dq = Σ ds k / √d with ds = p (dp - delta), dp = dy vᵀ
template <typename Math, int D, int COLUMNS, int WARPS>
__device__ void attention_queries(const typename Math::E* q, const typename Math::E* k, const typename Math::E* v,
                                  const typename Math::E* y, const typename Math::E* dy, const float* lse,
                                  float* delta, typename Math::E* dq, Sizes s) {
    typedef Tiles<Math, D, COLUMNS, WARPS> T;
    typedef typename Math::E E;
    DYNAMIC_SHARED(memory, 2 * (T::ROWS + COLUMNS) * T::LENGTH * sizeof(E));
    E *qs = (E*)memory, *dys = qs + T::ROWS * T::LENGTH, *ks = dys + T::ROWS * T::LENGTH, *vs = ks + COLUMNS * T::LENGTH;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first = blockIdx.x * T::ROWS, mine = first + 16 * warp;
    const float scale2 = s.scale2();
    T::template load<T::ROWS>(dys, dy + s.y_head(), s.y_row(), s, first, s.queries);
    if (dq) T::template load<T::ROWS>(qs, q + s.q_head(), s.q_row, s, first, s.queries);
    __syncthreads();
    float deltas[2], logs[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = lane / 4 + 8 * half, query = mine + row;
        const E* line = y + s.y_head() + (u64)query * s.y_row();
        float sum = 0;
        if (query < s.queries)
            for (int i = lane % 4; i < s.d; i += 4) sum += widen(line[i]) * widen(dys[(16 * warp + row) * T::LENGTH + i]);
        deltas[half] = row_sum(sum);
        logs[half] = query < s.queries ? lse[s.line() + query] : INFINITY;
        if (lane % 4 == 0 && query < s.queries) delta[s.line() + query] = deltas[half];
    }
    if (!dq) return;
    float sums[D / 8][4] = {};
    const int end = s.causal ? min(s.keys, first + T::ROWS) : s.keys;
    for (int column = 0; column < end; column += COLUMNS) {
        __syncthreads();
        T::template load<COLUMNS>(ks, k + s.kv_head(), s.kv_row, s, column, s.keys);
        T::template load<COLUMNS>(vs, v + s.kv_head(), s.kv_row, s, column, s.keys);
        __syncthreads();
        float p[COLUMNS / 8][4], dp[COLUMNS / 8][4];
        T::multiply(p, qs + 16 * warp * T::LENGTH, ks, lane);
        T::multiply(dp, dys + 16 * warp * T::LENGTH, vs, lane);
        const bool all = s.all_see(mine, column + COLUMNS);
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int query = mine + lane / 4 + i / 2 * 8, key = column + 8 * j + lane % 4 * 2 + i % 2;
                const float probability = all || s.sees(query, key) ? exp2f(p[j][i] * scale2 - logs[i / 2]) : 0.0f;
                p[j][i] = probability * (dp[j][i] - deltas[i / 2]);
            }
        T::accumulate(sums, p, ks, lane);
    }
    const float scale = 1.0f / sqrtf((float)s.d), factor[2] = {scale, scale};
    T::store(dq + s.q_head(), s.q_row, sums, factor, s, mine, s.queries, lane);
}

// dv = Σ pᵀ dy, dk = Σ dsᵀ q / √d
template <typename Math, int D, int COLUMNS, int WARPS>
__device__ void attention_keys(const typename Math::E* q, const typename Math::E* k, const typename Math::E* v,
                               const typename Math::E* dy, const float* lse, const float* delta,
                               typename Math::E* dk, typename Math::E* dv, Sizes s) {
    typedef Tiles<Math, D, COLUMNS, WARPS> T;
    typedef typename Math::E E;
    DYNAMIC_SHARED(memory, 2 * (T::ROWS + COLUMNS) * T::LENGTH * sizeof(E) + 2 * COLUMNS * sizeof(float));
    float *logs = (float*)memory, *deltas = logs + COLUMNS;
    E *ks = (E*)(deltas + COLUMNS), *vs = ks + T::ROWS * T::LENGTH, *qs = vs + T::ROWS * T::LENGTH,
      *dys = qs + COLUMNS * T::LENGTH;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first = blockIdx.x * T::ROWS, mine = first + 16 * warp;
    const float scale2 = s.scale2();
    T::template load<T::ROWS>(ks, k + s.kv_head(), s.kv_row, s, first, s.keys);
    T::template load<T::ROWS>(vs, v + s.kv_head(), s.kv_row, s, first, s.keys);
    float dks[D / 8][4] = {}, dvs[D / 8][4] = {};
    const int begin = s.causal ? first / COLUMNS * COLUMNS : 0;
    for (int column = begin; column < s.queries; column += COLUMNS) {
        __syncthreads();
        T::template load<COLUMNS>(qs, q + s.q_head(), s.q_row, s, column, s.queries);
        T::template load<COLUMNS>(dys, dy + s.y_head(), s.y_row(), s, column, s.queries);
        for (int i = threadIdx.x; i < COLUMNS; i += T::THREADS) {
            const bool there = column + i < s.queries;
            logs[i] = there ? lse[s.line() + column + i] : INFINITY;
            deltas[i] = there ? delta[s.line() + column + i] : 0.0f;
        }
        __syncthreads();
        float p[COLUMNS / 8][4], dp[COLUMNS / 8][4];
        T::multiply(p, ks + 16 * warp * T::LENGTH, qs, lane);
        T::multiply(dp, vs + 16 * warp * T::LENGTH, dys, lane);
        const bool all = s.all_see(column, mine + 16);
#pragma unroll
        for (int j = 0; j < COLUMNS / 8; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = mine + lane / 4 + i / 2 * 8, at = 8 * j + lane % 4 * 2 + i % 2;
                p[j][i] = all || s.sees(column + at, key) ? exp2f(p[j][i] * scale2 - logs[at]) : 0.0f;
                dp[j][i] = p[j][i] * (dp[j][i] - deltas[at]);
            }
        T::accumulate(dvs, p, dys, lane);
        T::accumulate(dks, dp, qs, lane);
    }
    const float scale = 1.0f / sqrtf((float)s.d), one[2] = {1, 1}, factor[2] = {scale, scale};
    T::store(dk + s.kv_head(), s.kv_row, dks, factor, s, mine, s.keys, lane);
    T::store(dv + s.kv_head(), s.kv_row, dvs, one, s, mine, s.keys, lane);
}

// Entries for heads of up to D, with so many others at a time forward and backward, and so many
// warps.
#define ATTENTION(Math, type, D, FORWARD, BACKWARD, WARPS)                                                             \
    extern "C" __global__ void __launch_bounds__(32 * WARPS)                                                           \
        attention_##D##_##type(const Math::E* q, const Math::E* k, const Math::E* v, Math::E* y, float* lse,           \
                               int queries, int keys, int heads, int d, int causal, int q_row, int kv_row) {           \
        const Sizes sizes{queries, keys, heads, d, causal, q_row, kv_row};                                             \
        attention<Math, D, FORWARD, WARPS>(q, k, v, y, lse, sizes);                                                    \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32 * WARPS)                                                           \
        attention_queries_##D##_##type(const Math::E* q, const Math::E* k, const Math::E* v, const Math::E* y,         \
                                       const Math::E* dy, const float* lse, float* delta, Math::E* dq, int queries,    \
                                       int keys, int heads, int d, int causal, int q_row, int kv_row) {                \
        const Sizes sizes{queries, keys, heads, d, causal, q_row, kv_row};                                             \
        attention_queries<Math, D, BACKWARD, WARPS>(q, k, v, y, dy, lse, delta, dq, sizes);                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32 * WARPS)                                                           \
        attention_keys_##D##_##type(const Math::E* q, const Math::E* k, const Math::E* v, const Math::E* dy,           \
                                    const float* lse, const float* delta, Math::E* dk, Math::E* dv, int queries,       \
                                    int keys, int heads, int d, int causal, int q_row, int kv_row) {                   \
        const Sizes sizes{queries, keys, heads, d, causal, q_row, kv_row};                                             \
        attention_keys<Math, D, BACKWARD, WARPS>(q, k, v, dy, lse, delta, dk, dv, sizes);                              \
    }
