#include "../../src/cuda/group_norm.cu"

#include "check.h"

struct Sizes {
    size_t samples, groups, channels, pixels;
};

template <typename E, typename Forward, typename Backward>
void group_norm(Sizes s, bool silu, unsigned threads, unsigned parts, Forward forward_of, Backward backward_of) {
    const size_t all = s.groups * s.channels, slabs = s.samples * s.groups, n = slabs * s.channels * s.pixels;
    const double eps = 1e-5;
    // Far from zero, so that sums that cancel would show.
    const auto x = numbers<E>(n, 1, 2, 4), dy = numbers<E>(n, 2);
    const auto weight = numbers<float>(all, 3, 0.5, 2), bias = numbers<float>(all, 4);
    auto y = unset<E>(n), dx = unset<E>(n);
    auto stats = unset<float>(2 * slabs), sums = unset<float>(2 * s.samples * all);

    Doubles wanted(n), wanted_dx(n), wanted_sums(2 * s.samples * all);
    const size_t slab = s.channels * s.pixels;
    for (size_t i = 0; i < slabs; i++) {
        double mean = 0, variance = 0, mean_d = 0, mean_dx = 0;
        for (size_t j = 0; j < slab; j++) mean += widen(x[i * slab + j]) / slab;
        for (size_t j = 0; j < slab; j++) variance += pow(widen(x[i * slab + j]) - mean, 2) / slab;
        const double rstd = 1 / sqrt(variance + eps);
        Doubles d(slab), normal(slab);
        for (size_t j = 0; j < slab; j++) {
            const size_t c = i % s.groups * s.channels + j / s.pixels, at = i / s.groups * all + c;
            normal[j] = (widen(x[i * slab + j]) - mean) * rstd;
            const double z = normal[j] * weight[c] + bias[c], sigma = sigmoid_of(z);
            wanted[i * slab + j] = silu ? z * sigma : z;
            const double dz = widen(dy[i * slab + j]) * (silu ? sigma + z * sigma * (1 - sigma) : 1);
            wanted_sums[at] += dz * normal[j];
            wanted_sums[s.samples * all + at] += dz;
            d[j] = dz * weight[c];
            mean_d += d[j] / slab;
            mean_dx += d[j] * normal[j] / slab;
        }
        for (size_t j = 0; j < slab; j++) wanted_dx[i * slab + j] = rstd * (d[j] - mean_d - normal[j] * mean_dx);
    }

    const unsigned grid = slabs, g = s.groups, c = s.channels, p = s.pixels;
    const size_t bytes = 2 * c * parts * sizeof(float);
    host::launch({grid}, {threads}, 0, [&] {
        forward_of(x.data(), weight.data(), bias.data(), y.data(), stats.data(), g, c, p, (float)eps, silu);
    });
    // What there is of dx before, with what it is to be then.
    const auto so_far = numbers<E>(n, 5);
    Doubles wanted_onto(n);
    for (size_t i = 0; i < n; i++) wanted_onto[i] = wanted_dx[i] + widen(so_far[i]);
    const auto back = [&](const E* so_far, E* dx, float* sums) {
        host::launch({grid}, {threads}, bytes, [&] {
            backward_of(x.data(), dy.data(), weight.data(), bias.data(), stats.data(), so_far, dx, sums, g, c, p, parts,
                        silu);
        });
    };
    const std::string what = "group norm " + std::to_string(sizeof(E)) + " bytes, " + std::to_string(p) + " pixels";
    close(what, y, wanted, limit<E>());
    back(nullptr, dx.data(), nullptr);
    close(what + " dx alone", dx, wanted_dx, limit<E>());
    dx = unset<E>(n);
    back(nullptr, dx.data(), sums.data());
    close(what + " dx", dx, wanted_dx, limit<E>());
    close(what + " dweight, dbias", sums, wanted_sums, limit<E>());
    sums = unset<float>(2 * s.samples * all);
    back(nullptr, nullptr, sums.data());
    close(what + " dweight, dbias alone", sums, wanted_sums, limit<E>());
    dx = unset<E>(n);
    back(so_far.data(), dx.data(), nullptr);
    close(what + " dx onto what there is", dx, wanted_onto, limit<E>());
}

#define TESTS(E, type)                                                                                                 \
    for (bool silu : {false, true})                                                                                    \
        for (Sizes s : {Sizes{2, 3, 5, 35}, Sizes{3, 2, 2, 64}, Sizes{1, 4, 1, 1}, Sizes{1, 2, 40, 16}})               \
            for (unsigned parts : {1, 3})                                                                              \
                group_norm<E>(s, silu, 64 * parts, parts, group_norm_forward_##type, group_norm_backward_##type);

int main() {
    return report("group_norm", [] { KERNELS(TESTS) });
}
