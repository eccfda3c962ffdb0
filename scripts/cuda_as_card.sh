#!/bin/sh
# Builds a card of this machine's memory and processor (crates/tunelab-ops/tests/cuda_on_host/card.cpp) as libcuda, libcublas, libcublasLt, libcudnn and libcurand,
# and a library that says how busy it is, in the folder $1. With that folder on LD_LIBRARY_PATH a build with `--features cuda` finds it, and everything but the card is run
# for real: `LD_LIBRARY_PATH=$1 target/release/examples/gpu_check --device cuda --only operations --only networks`.
# CARD_COUNTS=1 tells what each graph is made of and what is asked for beside graphs, CARD_COMPUTES=0 computes nothing, so that real sizes
# can be counted: `LD_LIBRARY_PATH=$1 CARD_COUNTS=1 CARD_COMPUTES=0 target/release/tunelab bench lora --dtype bf16 --device cuda`.
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/../crates/tunelab-ops/tests/cuda_on_host"
flags="-std=c++17 -O3 -march=native -ffp-contract=off -fPIC -Wall -Wno-unknown-pragmas -I."
objects=
for source in ../../src/cuda/*.cu; do
    name=$(basename "$source" .cu)
    # The names of its kernels are those that C++ leaves as they are.
    echo "#include \"$PWD/$source\"" > "$out/$name.cpp"
    g++ $flags -c "$out/$name.cpp" -o "$out/$name.o"
    kernels=$(nm --defined-only "$out/$name.o" | awk '$2 == "T" && $3 !~ /^_Z/ { print $3 }')
    { echo "#include \"$PWD/$source\""; echo "#include \"card.h\""; for kernel in $kernels; do echo "KNOW($kernel)"; done; } > "$out/$name.cpp"
    g++ $flags -c "$out/$name.cpp" -o "$out/$name.o"
    objects="$objects $out/$name.o"
done
g++ $flags -shared -o "$out/libcard.so" card.cpp shim.cpp $objects
cc -O2 -fPIC -Wall -shared -o "$out/libnvidia-ml.so.1" nvml.c
for library in libcuda.so.1 libcublas.so.13 libcublasLt.so.13 libcudnn.so.9 libcurand.so.10 libnvrtc.so.13; do
    ln -sf libcard.so "$out/$library"
done
