// What the tests of several kernels need: numbers, and how far they may be from a reference in
// double.

#pragma once

#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using Doubles = std::vector<double>;

// The largest difference, relative to the largest value of the reference.
template <typename E> constexpr double limit();
template <> constexpr double limit<float>() { return 1e-5; }
template <> constexpr double limit<__half>() { return 2e-3; }
template <> constexpr double limit<__nv_bfloat16>() { return 2e-2; }

inline int& failures() {
    static int count;
    return count;
}

// n numbers from `low` to `high`, as the type has them. The vector's end is the end of its memory.
template <typename E> std::vector<E> numbers(size_t n, unsigned seed, float low = -1, float high = 1) {
    std::vector<E> v(n);
    unsigned state = seed * 2654435761u + 1;
    for (E& x : v) {
        state = state * 1664525u + 1013904223u;
        x = narrow<E>(low + (high - low) * (float)(state >> 8) / 16777216.0f);
    }
    return v;
}

// n values that a kernel has to overwrite.
template <typename E> std::vector<E> unset(size_t n) { return std::vector<E>(n, narrow<E>(NAN)); }

template <typename E> Doubles doubles(const std::vector<E>& v) {
    Doubles d;
    for (const E& x : v) d.push_back(widen(x));
    return d;
}
inline Doubles doubles(const std::vector<double>& v) { return v; }

template <typename E>
void close(const std::string& what, const std::vector<E>& got, const Doubles& wanted, double limit) {
    const Doubles values = doubles(got);
    double largest = 1e-30, worst = 0;
    for (double w : wanted) largest = std::max(largest, fabs(w));
    bool finite = values.size() == wanted.size();
    for (size_t i = 0; i < values.size() && finite; i++) {
        finite = std::isfinite(values[i]);
        worst = std::max(worst, fabs(values[i] - wanted[i]) / largest);
    }
    const bool good = finite && worst < limit;
    if (!good) failures()++;
    if (!good || getenv("VERBOSE")) printf("%s %s: %.1e of %.1e\n", good ? "ok" : "FAILED", what.c_str(), worst, limit);
    if (!finite) printf("  a value is missing or not finite\n");
}

// Runs tests in both orders of the threads; what main returns.
template <typename F> int report(const char* name, F tests) {
    for (bool falling : {false, true}) {
        host::reverse(falling);
        tests();
    }
    printf("%s: %s\n", name, failures() ? "FAILED" : "ok");
    return failures() ? 1 : 0;
}

inline double sigmoid_of(double x) { return 1 / (1 + exp(-x)); }
