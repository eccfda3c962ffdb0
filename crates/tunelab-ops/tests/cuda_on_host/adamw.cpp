#include "../../src/cuda/adamw.cu"

#include "check.h"

template <typename E, typename Squares, typename Update> void steps(float max_norm, Squares squares_of, Update update) {
    const std::vector<size_t> sizes{1, CHUNK, 3 * CHUNK + 5, 700};
    const double rate = 1e-2, beta1 = 0.9, beta2 = 0.99, epsilon = 1e-8, decay = 1e-2, factor = 0.5;
    std::vector<std::vector<float>> p, m, v;
    std::vector<Doubles> wanted_p, wanted_m, wanted_v;
    std::vector<Row> rows;
    u64 chunks = 0;
    for (size_t n : sizes) {
        p.push_back(numbers<float>(n, 1 + n));
        m.push_back(std::vector<float>(n));
        v.push_back(m.back());
        wanted_p.push_back(doubles(p.back()));
        wanted_m.push_back(Doubles(n));
        wanted_v.push_back(Doubles(n));
        rows.push_back({p.back().data(), m.back().data(), v.back().data(), nullptr, n, chunks});
        chunks += (n + CHUNK - 1) / CHUNK;
    }
    const u32 count = rows.size();
    const auto run = [&](int t, const std::vector<std::vector<E>>& g, std::vector<float> losses) {
        for (u32 i = 0; i < count; i++) rows[i].g = g[i].data();
        std::vector<double> squares(chunks, NAN), total(1 + losses.size(), NAN);
        std::vector<const float*> scalars;
        for (const float& loss : losses) scalars.push_back(&loss);
        const double c1 = 1 - pow(beta1, t), c2 = 1 - pow(beta2, t);
        host::launch({(unsigned)chunks}, {256}, 0, [&] { squares_of(rows.data(), count, squares.data()); });
        host::launch({1}, {64}, 0, [&] {
            sum_squares(squares.data(), chunks, scalars.data(), losses.size(), total.data());
        });
        host::launch({(unsigned)chunks}, {256}, 0, [&] {
            update(rows.data(), count, total.data(), total.size(), (float)factor, max_norm, (float)(1 - rate * decay), (float)beta1,
                   (float)(1 - beta1), (float)beta2, (float)(1 - beta2), (float)(rate / c1), (float)(1 / sqrt(c2)),
                   (float)epsilon);
        });
        return total;
    };
    std::vector<std::vector<E>> g(count);
    for (int t = 1; t <= 3; t++) {
        double squares = 0;
        for (u32 i = 0; i < count; i++) {
            g[i] = numbers<E>(sizes[i], 10 * t + i);
            for (E x : g[i]) squares += pow(widen(x), 2);
        }
        if (t == 2) close("squared norm alone", run(t, g, {}), {squares}, 1e-12);
        else close("squared norm and losses", run(t, g, {0.5f, -3.25f}), {squares, 0.5, -3.25}, 1e-12);
        const double scale = factor * fmin(1, max_norm / (factor * sqrt(squares) + 1e-6));
        for (u32 i = 0; i < count; i++)
            for (size_t j = 0; j < sizes[i]; j++) {
                const double x = widen(g[i][j]) * scale;
                double &first = wanted_m[i][j], &second = wanted_v[i][j], &value = wanted_p[i][j];
                first = beta1 * first + (1 - beta1) * x;
                second = beta2 * second + (1 - beta2) * x * x;
                value -= rate * decay * value;
                value -= rate / (1 - pow(beta1, t)) * first / (sqrt(second) / sqrt(1 - pow(beta2, t)) + epsilon);
            }
    }
    // What is not finite, be it a loss or a gradient, changes nothing.
    run(4, g, {1.0f, INFINITY});
    run(4, g, {NAN});
    g[2][7] = narrow<E>(INFINITY);
    run(4, g, {1.0f});
    for (u32 i = 0; i < count; i++) {
        close("adamw p", p[i], wanted_p[i], 1e-5);
        close("adamw m", m[i], wanted_m[i], 1e-5);
        close("adamw v", v[i], wanted_v[i], 1e-5);
    }
}

#define TESTS(E, type)                                                                                                 \
    steps<E>(0.7f, gradient_squares_##type, adamw_##type);                                                             \
    steps<E>(1e6f, gradient_squares_##type, adamw_##type);

int main() {
    return report("adamw", [] { KERNELS(TESTS) });
}
