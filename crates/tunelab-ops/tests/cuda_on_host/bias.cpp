#include "../../src/cuda/bias.cu"

#include "check.h"

template <typename E, typename Add, typename Sum> void channels(int samples, int channels, int pixels, Add add, Sum sum) {
    const auto x = numbers<E>(samples * channels * pixels, 1), residual = numbers<E>(x.size(), 4);
    const auto shift = numbers<E>(samples * channels, 3);
    const auto bias = numbers<float>(channels, 2);
    Doubles total(channels);
    for (size_t i = 0; i < x.size(); i++) total[i / pixels % channels] += widen(x[i]);
    for (const bool biased : {false, true})
        for (const bool shifted : {false, true})
            for (const bool onto : {false, true}) {
                auto y = x;
                Doubles wanted;
                for (size_t i = 0; i < y.size(); i++)
                    wanted.push_back(widen(x[i]) + (biased ? (double)bias[i / pixels % channels] : 0) +
                                     (shifted ? (double)widen(shift[i / pixels]) : 0) + (onto ? (double)widen(residual[i]) : 0));
                host::launch({(unsigned)(samples * channels), 2}, {256}, 0, [&] {
                    add(y.data(), biased ? bias.data() : nullptr, shifted ? shift.data() : nullptr,
                        onto ? residual.data() : nullptr, channels, pixels);
                });
                close("add_to_channels", y, wanted, limit<E>());
            }
    auto sums = unset<float>(channels);
    host::launch({(unsigned)channels}, {256}, 0, [&] { sum(sums.data(), x.data(), samples, channels, pixels); });
    close("sum_channels", sums, total, 1e-5);
}

template <typename E, typename Sum> void rows(int rows, int columns, int share, Sum sum) {
    const auto x = numbers<E>(rows * columns, 3);
    const int shares = (rows + share - 1) / share;
    Doubles wanted(shares * columns);
    for (int i = 0; i < rows * columns; i++) wanted[i / columns / share * columns + i % columns] += widen(x[i]);
    auto sums = unset<float>(shares * columns);
    host::launch({(unsigned)(columns + 31) / 32, (unsigned)shares}, {32, 8}, 0, [&] {
        sum(sums.data(), x.data(), rows, columns, share);
    });
    close("sum_rows", sums, wanted, 1e-5);
}

#define TESTS(E, type)                                                                                                 \
    channels<E>(2, 3, 35, add_to_channels_##type, sum_channels_##type);                                                \
    channels<E>(3, 2, 704, add_to_channels_##type, sum_channels_##type);                                               \
    channels<E>(2, 2, 700, add_to_channels_##type, sum_channels_##type);                                               \
    rows<E>(2, 2, 2, sum_rows_##type);                                                                                 \
    rows<E>(77, 37, 25, sum_rows_##type);                                                                              \
    rows<E>(9, 64, 9, sum_rows_##type);

int main() {
    return report("bias", [] { KERNELS(TESTS) });
}
