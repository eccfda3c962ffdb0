// What nvcc provides, for g++: the kernels of src/ops/cuda run on the host, one block after another.
//
// The threads of a block are fibers that run until they wait: for their block (__syncthreads) or for their warp (shuffles,
// matrix instructions). They run in rising or in falling order, and shared memory is full of NaNs when a block begins, so
// that what a kernel reads too early, or overwrites too soon, shows. Each thread's stack is its own memory, which the address
// sanitizer watches as it does the tensors.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __align__(n) alignas(n)
#define __restrict__
#define DYNAMIC_SHARED(name) unsigned char* name = host::shared_memory()

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {
// Runs a kernel's call on every thread of the grid.
void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);
// Threads run in falling order from now on, or in rising order.
void reverse(bool yes);
unsigned char* shared_memory();
void wait_for_block();
// Gives 64 bytes of each thread of the warp to all of them: returns 32 places of 64 bytes.
const unsigned char (*exchange(const void* mine, size_t bytes))[64];
unsigned lane();
}  // namespace host

inline void __syncthreads() { host::wait_for_block(); }
inline void __syncwarp(unsigned = 0xffffffffu) { host::exchange("", 1); }

template <typename T> T __shfl_sync(unsigned, T v, int from) {
    T result;
    memcpy(&result, host::exchange(&v, sizeof v)[from & 31], sizeof v);
    return result;
}
template <typename T> T __shfl_xor_sync(unsigned mask, T v, int other) {
    return __shfl_sync(mask, v, (int)(host::lane() ^ other));
}

using std::max;
using std::min;

// Half and bfloat16 as bits.
struct __half {
    uint16_t bits;
};
struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 v) {
    const uint32_t bits = (uint32_t)v.bits << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}
inline __nv_bfloat16 __float2bfloat16_rn(float v) {
    uint32_t bits;
    memcpy(&bits, &v, 4);
    if (v != v) return {0x7fff};
    return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float __half2float(__half v) {
    const int exponent = v.bits >> 10 & 31, fraction = v.bits & 1023;
    const float sign = v.bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexpf(1024 + fraction, exponent - 25) : ldexpf(fraction, -24));
}
inline __half __float2half_rn(float v) {
    if (v != v) return {0x7fff};
    const uint16_t sign = std::signbit(v) ? 0x8000 : 0;
    const float a = fabsf(v);
    if (a >= 65520.0f) return {(uint16_t)(sign | 0x7c00)};
    int exponent;
    frexpf(a, &exponent);
    exponent = max(exponent, -13);
    // In units of the last place; nearbyint rounds ties to even.
    const int units = (int)nearbyintf(ldexpf(a, 11 - exponent));
    return {(uint16_t)(sign | (units == 0 ? 0 : units < 1024 ? units : ((exponent + 13) << 10) + units))};
}
