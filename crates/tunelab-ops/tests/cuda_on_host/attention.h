// Attention's three kernels against softmax(q kᵀ / √d) v in double, and its gradients by the chain
// rule.

#pragma once

#include "check.h"

struct Case {
    int samples, queries, keys, heads, d, causal;
    // Tensors whose rows lie side by side with so many others', among them those of q, and of k and
    // v; 1: by themselves.
    int q_beside = 1, kv_beside = 1;
};

// Rows of so many values apart, between which lies what is not a number; and back.
template <typename E> std::vector<E> apart(const std::vector<E>& rows, int width, int beside) {
    std::vector<E> all = unset<E>(rows.size() * beside);
    for (size_t i = 0; i < rows.size(); i++) all[i / width * width * beside + i % width] = rows[i];
    // What is behind the last row is another tensor's.
    if (!all.empty()) all.resize(all.size() - (size_t)(beside - 1) * width);
    return all;
}
template <typename E> std::vector<E> together(const std::string& what, const std::vector<E>& all, int width, int beside) {
    std::vector<E> rows;
    for (size_t i = 0; i < all.size(); i++) {
        if (i / width % beside == 0) rows.push_back(all[i]);
        else if (!std::isnan(widen(all[i]))) {
            printf("FAILED %s: written between two rows\n", what.c_str());
            failures()++;
            break;
        }
    }
    return rows;
}

struct Reference {
    Doubles y, dq, dk, dv;
};

template <typename E>
Reference reference(Case c, const std::vector<E>& q, const std::vector<E>& k, const std::vector<E>& v,
                    const std::vector<E>& dy) {
    Reference r{Doubles(q.size()), Doubles(q.size()), Doubles(k.size()), Doubles(k.size())};
    for (int b = 0; b < c.samples; b++)
        for (int h = 0; h < c.heads; h++)
            for (int i = 0; i < c.queries; i++) {
                const size_t at = ((size_t)(b * c.queries + i) * c.heads + h) * c.d;
                const auto key = [&](int j) { return ((size_t)(b * c.keys + j) * c.heads + h) * c.d; };
                const int seen = c.causal ? std::min(i + 1, c.keys) : c.keys;
                Doubles p(seen), dp(seen);
                double total = 0, mean = 0;
                for (int j = 0; j < seen; j++) {
                    for (int x = 0; x < c.d; x++) p[j] += (double)widen(q[at + x]) * widen(k[key(j) + x]) / sqrt(c.d);
                    total += p[j] = exp(p[j]);
                }
                for (int j = 0; j < seen; j++) {
                    p[j] /= total;
                    for (int x = 0; x < c.d; x++) {
                        r.y[at + x] += p[j] * widen(v[key(j) + x]);
                        r.dv[key(j) + x] += p[j] * widen(dy[at + x]);
                        dp[j] += (double)widen(dy[at + x]) * widen(v[key(j) + x]);
                    }
                    mean += p[j] * dp[j];
                }
                for (int j = 0; j < seen; j++)
                    for (int x = 0; x < c.d; x++) {
                        const double ds = p[j] * (dp[j] - mean) / sqrt(c.d);
                        r.dq[at + x] += ds * widen(k[key(j) + x]);
                        r.dk[key(j) + x] += ds * widen(q[at + x]);
                    }
            }
    return r;
}

template <typename E, typename Forward, typename Queries, typename Keys>
void attention_case(const char* type, Case c, int D, int forward_columns, int backward_columns, int warps, double limit,
                    Forward forward, Queries queries, Keys keys) {
    const size_t n = (size_t)c.samples * c.queries * c.heads * c.d, m = (size_t)c.samples * c.keys * c.heads * c.d;
    const auto rows_q = numbers<E>(n, 1, -3, 3), rows_k = numbers<E>(m, 2, -3, 3), rows_v = numbers<E>(m, 3);
    const auto dy = numbers<E>(n, 4);
    const Reference wanted = reference(c, rows_q, rows_k, rows_v, dy);
    const int width = c.heads * c.d, q_row = c.q_beside * width, kv_row = c.kv_beside * width;
    const auto q = apart(rows_q, width, c.q_beside), k = apart(rows_k, width, c.kv_beside),
               v = apart(rows_v, width, c.kv_beside);
    auto y = unset<E>(n), dq = unset<E>(q.size()), dk = unset<E>(k.size()), dv = unset<E>(v.size());
    const size_t lines = (size_t)c.samples * c.heads * c.queries;
    auto lse = unset<float>(lines), delta = unset<float>(lines);

    // As attention.rs has it.
    const size_t row = (D * sizeof(E) + 16), own = 16 * warps;
    const auto grid = [&](int rows) {
        return dim3{(unsigned)((rows + own - 1) / own), (unsigned)c.heads, (unsigned)c.samples};
    };
    const dim3 block{(unsigned)(32 * warps)};
    const std::string what = std::string("attention ") + type + " " + std::to_string(c.queries) + " x " +
                             std::to_string(c.keys) + ", " + std::to_string(c.heads) + " heads of " +
                             std::to_string(c.d) + (c.causal ? ", causal" : "") + (c.kv_beside > 1 ? ", packed" : "");
    host::launch(grid(c.queries), block, row * (own + 2 * forward_columns), [&] {
        forward(q.data(), k.data(), v.data(), y.data(), lse.data(), c.queries, c.keys, c.heads, c.d, c.causal, q_row,
                kv_row);
    });
    close(what, y, wanted.y, limit);
    const auto by_queries = [&](E* dq) {
        host::launch(grid(c.queries), block, row * 2 * (own + backward_columns), [&] {
            queries(q.data(), k.data(), v.data(), y.data(), dy.data(), lse.data(), delta.data(), dq, c.queries, c.keys,
                    c.heads, c.d, c.causal, q_row, kv_row);
        });
    };
    by_queries(nullptr);
    const auto deltas = delta;
    by_queries(dq.data());
    if (memcmp(deltas.data(), delta.data(), lines * sizeof(float))) {
        printf("FAILED %s: delta without dq\n", what.c_str());
        failures()++;
    }
    close(what + " dq", together(what, dq, width, c.q_beside), wanted.dq, limit);
    host::launch(grid(c.keys), block, row * 2 * (own + backward_columns) + 8 * backward_columns, [&] {
        keys(q.data(), k.data(), v.data(), dy.data(), lse.data(), delta.data(), dk.data(), dv.data(), c.queries, c.keys,
             c.heads, c.d, c.causal, q_row, kv_row);
    });
    close(what + " dk", together(what, dk, width, c.kv_beside), wanted.dk, limit);
    close(what + " dv", together(what, dv, width, c.kv_beside), wanted.dv, limit);
}

// Runs ATTENTION's entries of the same arguments for heads of d.
#define CASE(Math, type, D, FORWARD, BACKWARD, WARPS, limit, ...)                                                      \
    attention_case<Math::E>(#type, Case{__VA_ARGS__}, D, FORWARD, BACKWARD, WARPS, limit, attention_##D##_##type,      \
                            attention_queries_##D##_##type, attention_keys_##D##_##type);
#define CASES(Math, type, WARPS, F, B, F160, B160, WARPS160, limit)                                                    \
    CASE(Math, type, 32, F, B, WARPS, limit, 2, 70, 37, 2, 24, 0)                                                      \
    CASE(Math, type, 32, F, B, WARPS, limit, 1, 33, 33, 3, 5, 1)                                                       \
    CASE(Math, type, 32, F, B, WARPS, limit, 2, 40, 40, 2, 24, 0, 3, 3)                                                \
    CASE(Math, type, 32, F, B, WARPS, limit, 2, 33, 21, 3, 5, 0, 1, 2)                                                 \
    CASE(Math, type, 32, F, B, WARPS, limit, 1, 1, 77, 1, 28, 0)                                                       \
    CASE(Math, type, 48, F, B, WARPS, limit, 1, 64, 130, 2, 40, 0)                                                     \
    CASE(Math, type, 64, F, B, WARPS, limit, 2, 77, 77, 2, 64, 1)                                                      \
    CASE(Math, type, 80, F, B, WARPS, limit, 1, 100, 20, 2, 80, 0)                                                     \
    CASE(Math, type, 160, F160, B160, WARPS160, limit, 1, 40, 50, 2, 160, 0)                                           \
    CASE(Math, type, 160, F160, B160, WARPS160, limit, 1, 35, 35, 1, 96, 1)
