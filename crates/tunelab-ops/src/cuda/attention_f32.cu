// Attention of floats whose products are as good as those of floats; see attention.cuh.

#include "attention.cuh"

ATTENTION(Single<true>, f32, 32, 32, 32, 4)
ATTENTION(Single<true>, f32, 48, 32, 32, 4)
ATTENTION(Single<true>, f32, 64, 32, 32, 4)
ATTENTION(Single<true>, f32, 80, 32, 32, 4)
ATTENTION(Single<true>, f32, 160, 16, 16, 2)
