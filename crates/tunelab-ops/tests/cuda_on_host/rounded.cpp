#include "../../src/cuda/rounded.cu"

#include "check.h"

template <typename E, typename Kernel> void tensors(Kernel kernel) {
    const std::vector<size_t> sizes{1, CHUNK, 3 * CHUNK + 5, 700, 2 * CHUNK};
    std::vector<std::vector<float>> values;
    std::vector<Row> rows;
    u64 chunks = 0;
    for (size_t n : sizes) {
        values.push_back(numbers<float>(n, 1 + n));
        rows.push_back({values.back().data(), n, chunks});
        chunks += (n + CHUNK - 1) / CHUNK;
    }
    std::vector<E> to = unset<E>(chunks * CHUNK);
    host::launch({(unsigned)chunks}, {256}, 0, [&] { kernel(rows.data(), rows.size(), to.data()); });
    for (size_t i = 0; i < sizes.size(); i++) {
        const E* from = to.data() + rows[i].first_chunk * CHUNK;
        Doubles wanted;
        for (float x : values[i]) wanted.push_back(widen(narrow<E>(x)));
        close("rounded", std::vector<E>(from, from + sizes[i]), wanted, 1e-12);
    }
    // Nothing is written between two tensors.
    if (std::isfinite(widen(to[1]))) close("between", std::vector<double>{1}, {0}, 1e-12);
}

#define TESTS(E, type) tensors<E>(rounded_##type);

int main() {
    return report("rounded", [] { KERNELS(TESTS) });
}
