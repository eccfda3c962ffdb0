// How a kernel's file tells card.cpp what is in it.

#pragma once

#include "shim.h"

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace card {
// A kernel with its arguments, which are copied: they may be gone when it runs.
struct Bound {
    std::function<void()> run;
    // Those of its arguments that point to memory.
    std::vector<const void*> pointers;
};
using Bind = Bound (*)(void** arguments);
void know(const char* name, Bind bind);

template <typename T> void point(std::vector<const void*>& all, const T& argument) {
    if constexpr (std::is_pointer_v<T>) all.push_back((const void*)argument);
}
template <typename... A, size_t... I> Bound bind(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    std::tuple<std::remove_const_t<A>...> all(*(std::remove_const_t<A>*)arguments[I]...);
    std::vector<const void*> pointers;
    (point(pointers, std::get<I>(all)), ...);
    return {[=] { std::apply(kernel, all); }, pointers};
}
template <auto kernel> struct Known;
template <typename... A, void (*kernel)(A...)> struct Known<kernel> {
    static Bound bind(void** arguments) {
        return card::bind(kernel, arguments, std::index_sequence_for<A...>());
    }
    explicit Known(const char* name) { know(name, bind); }
};
}  // namespace card

#define KNOW(name) static card::Known<name> known_##name(#name);
