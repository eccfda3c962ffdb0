#include "../../src/cuda/mean_squares.cu"

#include "check.h"

template <typename E, typename Forward, typename Backward>
void mean_squares(unsigned first, unsigned n, Forward forward_of, Backward backward_of) {
    const unsigned samples = 4;
    const size_t size = 105;
    const auto p = numbers<E>(samples * size, 1), t = numbers<E>(samples * size, 2);
    const auto weights = numbers<float>(n, 3, 0.5, 2), dloss = numbers<float>(1, 4);
    auto loss = unset<float>(1);
    auto dp = unset<E>(p.size());
    Doubles wanted(1), gradient(p.size());
    for (size_t i = first * size; i < (first + n) * size; i++) {
        const double difference = (double)widen(p[i]) - widen(t[i]), share = weights[i / size - first] / (n * size);
        wanted[0] += share * difference * difference;
        gradient[i] = 2 * dloss[0] * share * difference;
    }
    host::launch({1}, {96}, 0, [&] {
        forward_of(p.data() + first * size, t.data() + first * size, weights.data(), loss.data(), n, size);
    });
    host::launch({3}, {64}, 0, [&] {
        backward_of(p.data(), t.data(), weights.data(), dloss.data(), dp.data(), samples, first, n, size);
    });
    close("mean_squares", loss, wanted, 1e-5);
    close("mean_squares dp", dp, gradient, limit<E>());
}

#define TESTS(E, type)                                                                                                 \
    mean_squares<E>(0, 4, mean_squares_##type, mean_squares_backward_##type);                                          \
    mean_squares<E>(1, 2, mean_squares_##type, mean_squares_backward_##type);

int main() {
    return report("mean_squares", [] { KERNELS(TESTS) });
}
