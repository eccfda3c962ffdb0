// Attention of bf16, with sums in float; see attention.cuh.

#include "attention.cuh"

ATTENTION(Half<__nv_bfloat16>, bf16, 32, 64, 32, 4)
ATTENTION(Half<__nv_bfloat16>, bf16, 48, 64, 32, 4)
ATTENTION(Half<__nv_bfloat16>, bf16, 64, 64, 32, 4)
ATTENTION(Half<__nv_bfloat16>, bf16, 80, 64, 32, 4)
ATTENTION(Half<__nv_bfloat16>, bf16, 160, 32, 16, 4)
