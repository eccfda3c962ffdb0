#include "../../src/cuda/attention_f32.cu"

#include "attention.h"

int main() {
    return report("attention_f32", [] { CASES(Single<true>, f32, 4, 32, 32, 16, 16, 2, 1e-5) });
}
