#include "../../src/cuda/attention_bf16.cu"

#include "attention.h"

int main() {
    return report("attention_bf16", [] { CASES(Half<__nv_bfloat16>, bf16, 4, 64, 32, 32, 16, 4, 2e-2) });
}
