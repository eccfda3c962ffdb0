// How a kernel's file tells card.cpp what is in it.

#pragma once

#include "shim.h"

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace card {
// A kernel with its arguments, which are copied: they may be gone when it runs.
using Bind = std::function<void()> (*)(void** arguments);
void know(const char* name, Bind bind);

template <typename... A, size_t... I>
std::function<void()> bind(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    std::tuple<std::remove_const_t<A>...> all(*(std::remove_const_t<A>*)arguments[I]...);
    return [=] { std::apply(kernel, all); };
}
template <auto kernel> struct Known;
template <typename... A, void (*kernel)(A...)> struct Known<kernel> {
    static std::function<void()> bind(void** arguments) {
        return card::bind(kernel, arguments, std::index_sequence_for<A...>());
    }
    explicit Known(const char* name) { know(name, bind); }
};
}  // namespace card

#define KNOW(name) static card::Known<name> known_##name(#name);
