#include "../../src/cuda/activation.cu"

#include "check.h"

static double cdf(double x) { return 0.5 * erfc(-x / sqrt(2)); }
static double silu(double x) { return x * sigmoid_of(x); }
static double gelu(double x) { return x * cdf(x); }
static double quick_gelu(double x) { return x * sigmoid_of(1.702 * x); }

static double slope(double (*f)(double), double x) { return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5; }

template <typename E, typename Forward, typename Backward>
void activation(const char* what, double (*f)(double), Forward forward, Backward backward) {
    for (size_t n : {1, 37, 4096, 5003}) {
        const auto x = numbers<E>(n, 1, -6, 6), dy = numbers<E>(n, 2);
        auto y = unset<E>(n), dx = unset<E>(n);
        Doubles wanted, gradient;
        for (size_t i = 0; i < n; i++) {
            wanted.push_back(f(widen(x[i])));
            gradient.push_back(widen(dy[i]) * slope(f, widen(x[i])));
        }
        host::launch({3}, {64}, 0, [&] { forward(x.data(), y.data(), n); });
        host::launch({3}, {64}, 0, [&] { backward(x.data(), dy.data(), dx.data(), n); });
        close(what, y, wanted, limit<E>());
        close(std::string(what) + " dx", dx, gradient, limit<E>());
    }
}

template <typename E, typename Forward, typename Backward> void geglu(Forward forward, Backward backward) {
    for (size_t width : {3, 32, 40})
        for (size_t rows : {1, 5}) {
            const auto x = numbers<E>(rows * 2 * width, 3, -4, 4), dy = numbers<E>(rows * width, 4);
            auto y = unset<E>(rows * width), dx = unset<E>(rows * 2 * width);
            Doubles wanted(rows * width), gradient(rows * 2 * width);
            for (size_t r = 0; r < rows; r++)
                for (size_t c = 0; c < width; c++) {
                    const size_t at = r * 2 * width + c;
                    const double a = widen(x[at]), g = widen(x[at + width]), d = widen(dy[r * width + c]);
                    wanted[r * width + c] = a * gelu(g);
                    gradient[at] = d * gelu(g);
                    gradient[at + width] = d * a * slope(gelu, g);
                }
            host::launch({2}, {64}, 0, [&] { forward(x.data(), y.data(), rows, width); });
            host::launch({2}, {64}, 0, [&] { backward(x.data(), dy.data(), dx.data(), rows, width); });
            close("geglu", y, wanted, limit<E>());
            close("geglu dx", dx, gradient, limit<E>());
        }
}

#define TESTS(E, type)                                                                                                 \
    activation<E>("silu " #type, silu, silu_forward_##type, silu_backward_##type);                                     \
    activation<E>("gelu " #type, gelu, gelu_forward_##type, gelu_backward_##type);                                     \
    activation<E>("quick gelu " #type, quick_gelu, quick_gelu_forward_##type, quick_gelu_backward_##type);             \
    geglu<E>(geglu_forward_##type, geglu_backward_##type);

int main() {
    return report("activation", [] { KERNELS(TESTS) });
}
