// Attention of f16, with sums in float; see attention.cuh.

#include "attention.cuh"

ATTENTION(Half<__half>, f16, 32, 64, 32, 4)
ATTENTION(Half<__half>, f16, 48, 64, 32, 4)
ATTENTION(Half<__half>, f16, 64, 64, 32, 4)
ATTENTION(Half<__half>, f16, 80, 64, 32, 4)
ATTENTION(Half<__half>, f16, 160, 32, 16, 4)
