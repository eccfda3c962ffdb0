#include "../../src/cuda/stack.cu"

#include "check.h"

template <typename E, typename Kernel> void adapters(Kernel kernel, unsigned parts, size_t of_a, size_t of_b) {
    std::vector<std::vector<float>> a, b;
    Doubles wanted_a, wanted_b;
    for (unsigned i = 0; i < 3; i++) {
        // A third one of two is not there.
        a.push_back(numbers<float>(i < parts ? of_a : 0, 1 + i));
        b.push_back(numbers<float>(i < parts ? of_b : 0, 7 + i));
        for (float x : a[i]) wanted_a.push_back(widen(narrow<E>(x)));
        for (float x : b[i]) wanted_b.push_back(widen(narrow<E>(x)));
    }
    auto to_a = unset<E>(parts * of_a), to_b = unset<E>(parts * of_b);
    host::launch({2}, {256}, 0, [&] {
        kernel(a[0].data(), a[1].data(), a[2].data(), b[0].data(), b[1].data(), b[2].data(), to_a.data(), to_b.data(), of_a,
               of_b, parts);
    });
    close("stack, A", to_a, wanted_a, 1e-12);
    close("stack, B", to_b, wanted_b, 1e-12);
}

#define TESTS(E, type)                                                                                                 \
    adapters<E>(stack_##type, 3, 700, 301);                                                                            \
    adapters<E>(stack_##type, 2, 5, 900);

int main() {
    return report("stack", [] { KERNELS(TESTS) });
}
