#include "../../src/cuda/layer_norm.cu"

#include "check.h"

template <typename E, typename Forward, typename Backward, typename Parameters>
void layer_norm(size_t rows, unsigned c, Forward forward_of, Backward backward_of, Parameters parameters_of) {
    const size_t n = rows * c;
    const double eps = 1e-5;
    const auto x = numbers<E>(n, 1, 2, 4), dy = numbers<E>(n, 2);
    const auto weight = numbers<float>(c, 3, 0.5, 2), bias = numbers<float>(c, 4);
    auto y = unset<E>(n), dx = unset<E>(n);
    auto stats = unset<float>(2 * rows);

    Doubles wanted(n), wanted_dx(n);
    const size_t length = 10, parts = (rows + length - 1) / length;
    Doubles wanted_sums(2 * parts * c);
    for (size_t r = 0; r < rows; r++) {
        double mean = 0, variance = 0, mean_d = 0, mean_dx = 0;
        for (size_t i = 0; i < c; i++) mean += widen(x[r * c + i]) / c;
        for (size_t i = 0; i < c; i++) variance += pow(widen(x[r * c + i]) - mean, 2) / c;
        const double rstd = 1 / sqrt(variance + eps);
        for (size_t i = 0; i < c; i++) {
            const double normal = (widen(x[r * c + i]) - mean) * rstd, d = widen(dy[r * c + i]);
            wanted[r * c + i] = normal * weight[i] + bias[i];
            wanted_sums[r / length * c + i] += d * normal;
            wanted_sums[(parts + r / length) * c + i] += d;
            mean_d += d * weight[i] / c;
            mean_dx += d * weight[i] * normal / c;
        }
        for (size_t i = 0; i < c; i++) {
            const double normal = (widen(x[r * c + i]) - mean) * rstd, d = widen(dy[r * c + i]) * weight[i];
            wanted_dx[r * c + i] = rstd * (d - mean_d - normal * mean_dx);
        }
    }

    const unsigned grid = (rows + 2) / 3;
    host::launch({grid}, {96}, 0, [&] {
        forward_of(x.data(), weight.data(), bias.data(), y.data(), stats.data(), rows, c, (float)eps);
    });
    const std::string what = "layer norm " + std::to_string(sizeof(E)) + " bytes, " + std::to_string(c);
    close(what, y, wanted, limit<E>());
    const auto so_far = numbers<E>(n, 5);
    const auto back = [&](const E* so_far) {
        host::launch({grid}, {96}, 0, [&] {
            backward_of(x.data(), dy.data(), weight.data(), stats.data(), so_far, dx.data(), rows, c);
        });
    };
    back(nullptr);
    close(what + " dx", dx, wanted_dx, limit<E>());
    for (size_t i = 0; i < n; i++) wanted_dx[i] += widen(so_far[i]);
    dx = unset<E>(n);
    back(so_far.data());
    close(what + " dx onto what there is", dx, wanted_dx, limit<E>());
    auto sums = unset<float>(2 * parts * c);
    host::launch({(c + 31) / 32, (unsigned)parts}, {32, 8}, 0,
                 [&] { parameters_of(x.data(), dy.data(), stats.data(), sums.data(), rows, c, length); });
    close(what + " dweight, dbias", sums, wanted_sums, limit<E>());
}

#define TESTS(E, type)                                                                                                 \
    for (unsigned c : {5, 40, 320, 333})                                                                            \
        for (size_t rows : {1, 25})                                                                                    \
            layer_norm<E>(rows, c, layer_norm_forward_##type, layer_norm_backward_##type, layer_norm_parameters_##type);

int main() {
    return report("layer_norm", [] { KERNELS(TESTS) });
}
