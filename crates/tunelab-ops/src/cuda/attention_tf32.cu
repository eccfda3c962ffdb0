// Attention of floats with products in TF32; see attention.cuh.

#include "attention.cuh"

ATTENTION(Single<false>, tf32, 32, 32, 32, 4)
ATTENTION(Single<false>, tf32, 48, 32, 32, 4)
ATTENTION(Single<false>, tf32, 64, 32, 32, 4)
ATTENTION(Single<false>, tf32, 80, 32, 32, 4)
ATTENTION(Single<false>, tf32, 160, 16, 16, 2)
