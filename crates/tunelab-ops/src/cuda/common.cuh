// What the kernels of this folder share: vector loads, loops over all values, sums over a warp and
// over a block.
//
// Kernels take tensors of float, half or bfloat16 and compute in float. A kernel `name` has one
// entry a type: name_f32, name_f16, name_bf16. All sums have a fixed order that depends on the
// shapes alone: no floating-point atomics. tests/cuda_on_host compiles these files as C++ with its
// own definitions of what nvcc provides.

#pragma once

#include "types.cuh"

// The shared memory that a block was launched with, which has to be so many bytes: the host's
// stand-in checks them.
#ifdef __CUDACC__
#define DYNAMIC_SHARED(name, bytes) extern __shared__ __align__(16) unsigned char name[]
#endif

typedef unsigned int u32;
typedef unsigned long long u64;
typedef __half f16;
typedef __nv_bfloat16 bf16;

// Neighbours that are loaded at once.
template <typename E, int COUNT> struct alignas(COUNT * sizeof(E)) Values {
    static constexpr int N = COUNT;
    E v[COUNT];
};

// 16 bytes of them, the widest load.
template <typename E> using Pack = Values<E, 16 / sizeof(E)>;

template <typename T> __device__ inline bool aligned(const T* p) { return (u64)p % 16 == 0; }

// The number of this thread in the grid, and how many there are.
__device__ inline u64 thread_index() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline u64 thread_count() { return (u64)gridDim.x * blockDim.x; }

// y[i] = f(x[i])
template <typename E, typename F> __device__ void map(const E* x, E* y, u64 n, F f) {
    const u64 packs = aligned(x) && aligned(y) ? n / Pack<E>::N : 0;
    for (u64 i = thread_index(); i < packs; i += thread_count()) {
        Pack<E> a = ((const Pack<E>*)x)[i];
#pragma unroll
        for (int j = 0; j < Pack<E>::N; j++) a.v[j] = narrow<E>(f(widen(a.v[j])));
        ((Pack<E>*)y)[i] = a;
    }
    for (u64 i = packs * Pack<E>::N + thread_index(); i < n; i += thread_count()) y[i] = narrow<E>(f(widen(x[i])));
}

// y[i] = f(a[i], b[i])
template <typename E, typename F> __device__ void map(const E* a, const E* b, E* y, u64 n, F f) {
    const u64 packs = aligned(a) && aligned(b) && aligned(y) ? n / Pack<E>::N : 0;
    for (u64 i = thread_index(); i < packs; i += thread_count()) {
        Pack<E> p = ((const Pack<E>*)a)[i];
        const Pack<E> q = ((const Pack<E>*)b)[i];
#pragma unroll
        for (int j = 0; j < Pack<E>::N; j++) p.v[j] = narrow<E>(f(widen(p.v[j]), widen(q.v[j])));
        ((Pack<E>*)y)[i] = p;
    }
    for (u64 i = packs * Pack<E>::N + thread_index(); i < n; i += thread_count())
        y[i] = narrow<E>(f(widen(a[i]), widen(b[i])));
}

// The sum over the 32 threads of a warp, in all of them.
template <typename T> __device__ inline T warp_sum(T v) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

// The sum over a block of whole warps, in all of its threads.
template <typename T> __device__ inline T block_sum(T v) {
    __shared__ T parts[32];
    v = warp_sum(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    T sum = 0;
    for (u32 i = 0; i < blockDim.x / 32; i++) sum += parts[i];
    return sum;
}

// In a few units of the last place; the exact exponential and quotient take several times as long.
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
