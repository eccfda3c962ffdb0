// Products of small matrices on tensor cores, as a warp makes them: C [16, 8] += A [16, K] B [K,
// 8], sums in float.
//
// What each of the 32 threads holds is PTX's m16n8k16 (16-bit types) and m16n8k8 (tf32). With g =
// lane / 4, t = lane % 4: C has rows g and g + 8, columns 2t and 2t + 1: c[0] = (g, 2t), c[1] = (g,
// 2t + 1), c[2] and c[3] the same of row g + 8.
//
// A kind of arithmetic, `Math`, says how: its element E, K, the row length of tiles in shared
// memory (so that no two threads meet in a bank), and how A and B come from tiles or, for A, from
// two or one results C.

#pragma once

#include "common.cuh"

#ifdef __CUDACC__
__device__ inline void multiply(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], f16*) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void multiply(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], bf16*) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void multiply_tf32(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline u32 tf32(float x) {
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}
// Four 8 x 8 matrices of 16-bit values: thread i gives the address of row i % 8 of matrix i / 8,
// and gets of each matrix (g, 2t) and (g, 2t + 1), or, if they are transposed, (2t, g) and (2t + 1,
// g).
__device__ inline void load_matrices(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((u32)__cvta_generic_to_shared(row)));
}
__device__ inline void load_transposed(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((u32)__cvta_generic_to_shared(row)));
}
__device__ inline float from_bits(u32 bits) { return __uint_as_float(bits); }
__device__ inline u32 pair(float low, float high, f16*) {
    const __half2 both = __floats2half2_rn(low, high);
    return *(const u32*)&both;
}
__device__ inline u32 pair(float low, float high, bf16*) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *(const u32*)&both;
}
#endif

// Products of 16-bit values.
template <typename Element> struct Half {
    typedef Element E;
    static constexpr int K = 16;
    struct A { u32 v[4]; };
    struct B { u32 v[2]; };
    // 16 bytes more than the values: an odd number of 16 bytes.
    __device__ static constexpr int row(int d) { return d + 8; }

    // Rows 0..16 and columns k..k + 16 of a tile.
    __device__ static void load(A& a, const E* tile, int row, int k, int lane) {
        load_matrices(a.v, tile + lane % 16 * row + k + lane / 16 * 8);
    }
    // Bᵀ [16, K], as two B, from rows 0..16 and columns k..k + 16 of a tile.
    __device__ static void load_columns(B (&b)[2], const E* tile, int row, int k, int lane) {
        u32 r[4];
        load_matrices(r, tile + (lane / 16 * 8 + lane % 8) * row + k + lane / 8 % 2 * 8);
        b[0].v[0] = r[0], b[0].v[1] = r[1], b[1].v[0] = r[2], b[1].v[1] = r[3];
    }
    // B [K, 16], as two B, from rows 0..16 and columns n..n + 16 of a tile.
    __device__ static void load_rows(B (&b)[2], const E* tile, int row, int n, int lane) {
        u32 r[4];
        load_transposed(r, tile + lane % 16 * row + n + lane / 16 * 8);
        b[0].v[0] = r[0], b[0].v[1] = r[1], b[1].v[0] = r[2], b[1].v[1] = r[3];
    }
    // The columns k..k + 16 of results that lie side by side.
    template <int N> __device__ static void take(A& a, const float (&c)[N][4], int k) {
        const float(&left)[4] = c[k / 8], (&right)[4] = c[k / 8 + 1];
        a.v[0] = pair(left[0], left[1], (E*)nullptr);
        a.v[1] = pair(left[2], left[3], (E*)nullptr);
        a.v[2] = pair(right[0], right[1], (E*)nullptr);
        a.v[3] = pair(right[2], right[3], (E*)nullptr);
    }
    __device__ static void add(float (&c)[4], const A& a, const B& b) { multiply(c, a.v, b.v, (E*)nullptr); }
};

// Products of floats: rounded to tf32, or, if they are `EXACT`, from the parts that tf32 has of
// them and of the rest, without the product of the two rests: as good as products of floats.
//
// Where a product runs over rows of a tile, the thread's two places of K, t and t + 4, stand for 2t
// and 2t + 1: so a result C is A as it is.
template <bool EXACT> struct Single {
    typedef float E;
    static constexpr int K = 8;
    struct A { u32 v[4], rest[4]; };
    struct B { u32 v[2], rest[2]; };
    __device__ static constexpr int row(int d) { return d + 4; }

    __device__ static void split(u32& v, u32& rest, float x) {
        v = tf32(x);
        if (EXACT) rest = tf32(x - from_bits(v));
    }
    __device__ static void load(A& a, const float* tile, int row, int k, int lane) {
        const float* at = tile + lane / 4 * row + k + lane % 4;
        split(a.v[0], a.rest[0], at[0]);
        split(a.v[1], a.rest[1], at[8 * row]);
        split(a.v[2], a.rest[2], at[4]);
        split(a.v[3], a.rest[3], at[8 * row + 4]);
    }
    __device__ static void load_columns(B (&b)[2], const float* tile, int row, int k, int lane) {
        const float* at = tile + lane / 4 * row + k + lane % 4;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            split(b[i].v[0], b[i].rest[0], at[8 * i * row]);
            split(b[i].v[1], b[i].rest[1], at[8 * i * row + 4]);
        }
    }
    __device__ static void load_rows(B (&b)[2], const float* tile, int row, int n, int lane) {
        const float* at = tile + lane % 4 * 2 * row + n + lane / 4;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            split(b[i].v[0], b[i].rest[0], at[8 * i]);
            split(b[i].v[1], b[i].rest[1], at[8 * i + row]);
        }
    }
    template <int N> __device__ static void take(A& a, const float (&c)[N][4], int k) {
        const float(&of)[4] = c[k / 8];
        split(a.v[0], a.rest[0], of[0]);
        split(a.v[1], a.rest[1], of[2]);
        split(a.v[2], a.rest[2], of[1]);
        split(a.v[3], a.rest[3], of[3]);
    }
    __device__ static void add(float (&c)[4], const A& a, const B& b) {
        if (EXACT) {
            multiply_tf32(c, a.rest, b.v);
            multiply_tf32(c, a.v, b.rest);
        }
        multiply_tf32(c, a.v, b.v);
    }
};
