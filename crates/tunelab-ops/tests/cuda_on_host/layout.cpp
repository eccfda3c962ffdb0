#include "../../src/cuda/layout.cu"

#include "check.h"

template <typename E, typename Kernel> void transposes(Kernel kernel) {
    for (unsigned n : {1, 33, 64})
        for (unsigned m : {5, 70}) {
            const unsigned batch = 3;
            const auto x = numbers<E>(batch * n * m, 1);
            auto y = unset<E>(x.size());
            Doubles wanted(x.size());
            for (unsigned b = 0; b < batch; b++)
                for (unsigned i = 0; i < n; i++)
                    for (unsigned j = 0; j < m; j++) wanted[(b * m + j) * n + i] = widen(x[(b * n + i) * m + j]);
            host::launch({(m + 31) / 32, (n + 31) / 32, batch}, {32, 8}, 0, [&] { kernel(x.data(), y.data(), n, m); });
            close("transpose", y, wanted, 1e-12);
        }
}

template <typename E, typename Join, typename Part> void joins(size_t na, size_t nb, Join join, Part part) {
    const size_t outer = 3, n = na + nb;
    const auto a = numbers<E>(outer * na, 1), b = numbers<E>(outer * nb, 2);
    auto y = unset<E>(outer * n), again = unset<E>(outer * nb);
    Doubles wanted;
    for (size_t i = 0; i < outer; i++) {
        for (size_t j = 0; j < na; j++) wanted.push_back(widen(a[i * na + j]));
        for (size_t j = 0; j < nb; j++) wanted.push_back(widen(b[i * nb + j]));
    }
    host::launch({2}, {64}, 0, [&] { join(a.data(), b.data(), y.data(), outer, na, nb); });
    close("join", y, wanted, 1e-12);
    host::launch({2}, {64}, 0, [&] { part(y.data(), again.data(), outer, n, na, nb); });
    close("part", again, doubles(b), 1e-12);
}

template <typename E, typename Forward, typename Adjoint>
void upsampled(unsigned h, unsigned w, unsigned height, unsigned width, Forward forward, Adjoint adjoint) {
    const unsigned planes = 3;
    const auto x = numbers<E>(planes * h * w, 1), dy = numbers<E>(planes * height * width, 2);
    auto y = unset<E>(dy.size()), dx = unset<E>(x.size());
    Doubles wanted, gradient(x.size());
    for (unsigned p = 0; p < planes; p++)
        for (unsigned i = 0; i < height; i++)
            for (unsigned j = 0; j < width; j++) {
                const unsigned from = (p * h + i * h / height) * w + j * w / width;
                wanted.push_back(widen(x[from]));
                gradient[from] += widen(dy[(p * height + i) * width + j]);
            }
    host::launch({2}, {64}, 0, [&] { forward(x.data(), y.data(), planes, h, w, height, width); });
    host::launch({2}, {64}, 0, [&] { adjoint(dy.data(), dx.data(), planes, h, w, height, width); });
    close("upsample", y, wanted, 1e-12);
    close("upsample dx", dx, gradient, limit<E>());
}

#define TESTS(E, type)                                                                                                 \
    transposes<E>(transpose_##type);                                                                                   \
    for (size_t na : {5, 24})                                                                                          \
        for (size_t nb : {16, 40}) joins<E>(na, nb, join_##type, part_##type);                                         \
    upsampled<E>(3, 5, 6, 10, upsample_##type, upsample_adjoint_##type);                                               \
    upsampled<E>(3, 5, 5, 9, upsample_##type, upsample_adjoint_##type);                                                \
    upsampled<E>(2, 3, 7, 3, upsample_##type, upsample_adjoint_##type);

int main() {
    return report("layout", [] { KERNELS(TESTS) });
}
