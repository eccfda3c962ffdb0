// How a kernel's file tells card.cpp what is in it.

#pragma once

#include "shim.h"

#include <type_traits>
#include <utility>

namespace card {
using Call = void (*)(void** arguments);
void know(const char* name, Call call);

template <typename... A, size_t... I> void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_const_t<A>*)arguments[I]...);
}
template <auto kernel> struct Known;
template <typename... A, void (*kernel)(A...)> struct Known<kernel> {
    static void call(void** arguments) { card::call(kernel, arguments, std::index_sequence_for<A...>()); }
    explicit Known(const char* name) { know(name, call); }
};
}  // namespace card

#define KNOW(name) static card::Known<name> known_##name(#name);
