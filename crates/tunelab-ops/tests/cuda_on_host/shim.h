// What nvcc provides, for g++: the kernels of src/cuda run on the host, one block after another.
//
// The threads of a block are fibers that run until they wait: for their block (__syncthreads) or
// for their warp (shuffles, matrix instructions). They run in rising or in falling order, and
// shared memory is full of NaNs when a block begins, so that what a kernel reads too early, or
// overwrites too soon, shows. Each thread's stack is its own memory, which the address sanitizer
// watches as it does the tensors.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(n)
#define __shared__ static
#define __align__(n) alignas(n)
#define __restrict__
#define DYNAMIC_SHARED(name, bytes) unsigned char* name = host::shared_memory(bytes)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {
// Runs a kernel's call on every thread of the grid.
void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);
// Threads run in falling order from now on, or in rising order.
void reverse(bool yes);
// The block's, which was launched with so many bytes, or the program ends.
unsigned char* shared_memory(size_t bytes);
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

// A card's fast ones. The C library has a name of its own for the first.
#define __expf expf
inline float __fdividef(float a, float b) { return std::fabs(b) > 0x1p126f ? 0.0f : a / b; }

using std::isfinite;
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

// The matrix instructions of matrix.cuh, as PTX's manual lays out their operands: g = lane / 4, t =
// lane % 4.
namespace host {
struct Operands {
    uint32_t a[4], b[2];
};

// c += A [16, k] B [k, 8], where element(place, i) is what stands in an operand's i-th value of its
// register.
template <typename F> void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int bytes, F element) {
    Operands mine;
    memcpy(mine.a, a, sizeof a);
    memcpy(mine.b, b, sizeof b);
    const auto* all = exchange(&mine, sizeof mine);
    const int per = 4 / bytes, g = lane() / 4, t = lane() % 4;
    Operands of_a[4], of_b[2][4];
    for (int thread = 0; thread < 4; thread++) {
        memcpy(&of_a[thread], all[g * 4 + thread], sizeof mine);
        for (int j = 0; j < 2; j++) memcpy(&of_b[j][thread], all[(2 * t + j) * 4 + thread], sizeof mine);
    }
    for (int i = 0; i < 4; i++) {
        double sum = c[i];
        for (int half = 0; half < 2; half++)
            for (int thread = 0; thread < 4; thread++)
                for (int k = 0; k < per; k++)
                    sum += (double)element(of_a[thread].a[i / 2 + 2 * half], k) * element(of_b[i % 2][thread].b[half], k);
        c[i] = (float)sum;
    }
}

inline void load(uint32_t (&r)[4], const void* row, bool transposed) {
    const auto* rows = exchange(&row, sizeof row);
    const int g = lane() / 4, t = lane() % 4;
    for (int i = 0; i < 4; i++) {
        uint16_t both[2];
        for (int j = 0; j < 2; j++) {
            const uint16_t* from;
            memcpy(&from, rows[8 * i + (transposed ? 2 * t + j : g)], sizeof from);
            if ((uintptr_t)from % 16) abort();
            both[j] = from[transposed ? g : 2 * t + j];
        }
        memcpy(&r[i], both, 4);
    }
}
}  // namespace host

inline float from_bits(uint32_t bits) {
    float v;
    memcpy(&v, &bits, 4);
    return v;
}
// To ten bits behind the leading one, ties away from zero.
inline uint32_t tf32(float v) {
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return (bits + 0x1000) & 0xffffe000;
}
inline uint32_t pair(float low, float high, __half*) {
    return __float2half_rn(low).bits | (uint32_t)__float2half_rn(high).bits << 16;
}
inline uint32_t pair(float low, float high, __nv_bfloat16*) {
    return __float2bfloat16_rn(low).bits | (uint32_t)__float2bfloat16_rn(high).bits << 16;
}
inline void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half*) {
    host::multiply(c, a, b, 2, [](uint32_t v, int i) { return __half2float({(uint16_t)(v >> 16 * i)}); });
}
inline void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __nv_bfloat16*) {
    host::multiply(c, a, b, 2, [](uint32_t v, int i) { return __bfloat162float({(uint16_t)(v >> 16 * i)}); });
}
inline void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    host::multiply(c, a, b, 4, [](uint32_t v, int) { return from_bits(v & 0xffffe000); });
}
inline void load_matrices(uint32_t (&r)[4], const void* row) { host::load(r, row, false); }
inline void load_transposed(uint32_t (&r)[4], const void* row) { host::load(r, row, true); }
