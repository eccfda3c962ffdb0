#include "../../src/cuda/attention_f16.cu"

#include "attention.h"

int main() {
    return report("attention_f16", [] { CASES(Half<__half>, f16, 4, 64, 32, 32, 16, 4, 4e-3) });
}
