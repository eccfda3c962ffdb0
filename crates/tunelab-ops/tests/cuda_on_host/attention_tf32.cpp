#include "../../src/cuda/attention_tf32.cu"

#include "attention.h"

int main() {
    return report("attention_tf32", [] { CASES(Single<false>, tf32, 4, 32, 32, 16, 16, 2, 5e-3) });
}
