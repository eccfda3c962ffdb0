#include "../../src/cuda/elementwise.cu"

#include "check.h"

// `skip` values at the beginning are left out, so that nothing is aligned.
template <typename E, typename Add, typename Multiply, typename Scale>
void pairs(size_t n, size_t skip, Add add, Multiply multiply, Scale scale) {
    const auto a = numbers<E>(n + skip, 1), b = numbers<E>(n + skip, 2);
    Doubles sum, product, scaled;
    for (size_t i = skip; i < n + skip; i++) {
        sum.push_back(widen(a[i]) + (double)widen(b[i]));
        product.push_back(widen(a[i]) * (double)widen(b[i]));
        scaled.push_back(-0.7 * widen(a[i]));
    }
    auto y = unset<E>(n);
    host::launch({2}, {64}, 0, [&] { add(a.data() + skip, b.data() + skip, y.data(), n); });
    close("add", y, sum, limit<E>());
    y = unset<E>(n);
    host::launch({2}, {64}, 0, [&] { multiply(a.data() + skip, b.data() + skip, y.data(), n); });
    close("multiply", y, product, limit<E>());
    y = unset<E>(n);
    host::launch({2}, {64}, 0, [&] { scale(a.data() + skip, y.data(), n, -0.7f); });
    close("scale", y, scaled, limit<E>());
}

template <typename E, typename Add, typename Sums> void planes(unsigned planes, unsigned pixels, Add add, Sums sums) {
    const auto x = numbers<E>(planes * pixels, 1), shift = numbers<E>(planes, 2);
    auto y = unset<E>(x.size()), s = unset<E>(planes);
    Doubles wanted, sum(planes);
    for (size_t i = 0; i < x.size(); i++) {
        wanted.push_back(widen(x[i]) + (double)widen(shift[i / pixels]));
        sum[i / pixels] += widen(x[i]);
    }
    host::launch({planes, 2}, {32}, 0, [&] { add(x.data(), shift.data(), y.data(), pixels); });
    host::launch({planes}, {96}, 0, [&] { sums(x.data(), s.data(), pixels); });
    close("add_shift", y, wanted, limit<E>());
    close("plane_sums", s, sum, limit<E>());
}

static void rows(unsigned outer, unsigned rows, unsigned columns) {
    const auto x = numbers<float>(outer * rows * columns, 1);
    auto sums = unset<float>(outer * columns);
    Doubles wanted(sums.size());
    for (size_t i = 0; i < x.size(); i++) wanted[i / (rows * columns) * columns + i % columns] += x[i];
    host::launch({2}, {32}, 0, [&] { row_sums(x.data(), sums.data(), outer, rows, columns); });
    close("row_sums", sums, wanted, 1e-5);
}

#define TESTS(E, type)                                                                                                 \
    for (size_t n : {1, 36, 4099})                                                                                     \
        for (size_t skip : {0, 1}) pairs<E>(n, skip, add_##type, multiply_##type, scale_##type);                       \
    planes<E>(6, 35, add_shift_##type, plane_sums_##type);                                                             \
    planes<E>(3, 640, add_shift_##type, plane_sums_##type);

int main() {
    return report("elementwise", [] {
        KERNELS(TESTS)
        rows(2, 5, 37);
        rows(1, 1, 200);
    });
}
