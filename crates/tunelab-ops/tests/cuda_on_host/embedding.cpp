#include "../../src/cuda/embedding.cu"

#include "check.h"

template <typename E, typename Forward, typename Tokens, typename Positions>
void embeddings(Forward forward, Tokens tokens_of, Positions positions_of) {
    const unsigned vocabulary = 11, longest = 6, length = 5, n = 3 * length, width = 7;
    // Some ids several times, some never.
    const std::vector<u32> ids{3, 3, 0, 10, 3, 5, 0, 1, 1, 2, 10, 10, 9, 3, 5};
    const auto tokens = numbers<E>(vocabulary * width, 1), positions = numbers<E>(longest * width, 2);
    const auto dy = numbers<E>(n * width, 3);
    auto y = unset<E>(n * width), dpositions = unset<E>(positions.size());
    std::vector<E> dtokens(tokens.size());
    Doubles wanted, wanted_tokens(tokens.size()), wanted_positions(positions.size());
    for (unsigned i = 0; i < n * width; i++) {
        const unsigned token = ids[i / width] * width + i % width, position = i / width % length * width + i % width;
        wanted.push_back((double)widen(tokens[token]) + widen(positions[position]));
        wanted_tokens[token] += widen(dy[i]);
        wanted_positions[position] += widen(dy[i]);
    }
    const dim3 grid{2}, block{32};
    host::launch(grid, block, 0,
                 [&] { forward(ids.data(), tokens.data(), positions.data(), y.data(), n, length, width); });
    host::launch(grid, block, 0, [&] { tokens_of(ids.data(), dy.data(), dtokens.data(), n, width); });
    host::launch(grid, block, 0, [&] { positions_of(dy.data(), dpositions.data(), n, length, longest, width); });
    close("embedding", y, wanted, limit<E>());
    close("embedding dtokens", dtokens, wanted_tokens, limit<E>());
    close("embedding dpositions", dpositions, wanted_positions, limit<E>());
}

#define TESTS(E, type) embeddings<E>(embedding_##type, embedding_tokens_##type, embedding_positions_##type);

int main() {
    return report("embedding", [] { KERNELS(TESTS) });
}
