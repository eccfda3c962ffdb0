#!/bin/sh
# Runs the kernels of crates/tunelab-ops/src/cuda on the host, without a card, against references in f64: every type, odd sizes, both orders of
# a block's threads, under the address sanitizer. Needs g++ alone. With arguments: only these files, e.g. `attention_f32`.
# With VERBOSE=1 every comparison is printed.
set -eu
cd "$(dirname "$0")/../crates/tunelab-ops/tests/cuda_on_host"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-std=c++17 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -Wall -Wno-unknown-pragmas -I."
[ $# -gt 0 ] || set -- *.cpp
g++ $flags -c shim.cpp -o "$out/shim.o"
failed=0
for test in "$@"; do
    test=${test%.cpp}
    case $test in shim | card) continue ;; esac
    g++ $flags "$test.cpp" "$out/shim.o" -o "$out/$test"
    ASAN_OPTIONS=detect_stack_use_after_return=0 "$out/$test" || failed=1
done
exit $failed
