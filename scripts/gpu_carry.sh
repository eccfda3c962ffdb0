#!/usr/bin/env bash
# Packs all that checks and times a GPU for a machine that has nothing but a driver, Python and NVIDIA's wheels.
#
#   scripts/gpu_carry.sh [FOLDER] [PEER.py]      FOLDER is target/gpu if none is named
#
# Builds examples/gpu_check with CUDA and puts it into the folder, compressed, with gpu_run.sh and, if it is named, a program that
# times PyTorch on the same work. What is built is said by the environment, as the README's section on GPUs has it: CUDA_HOME, NVCC,
# CUDA_COMPUTE_CAP. A program that opens CUDA's libraries at run time needs archives of their functions in CUDA_HOME/lib in place of
# the libraries; one that is linked to them runs too, where they are found. PROFILE=dev builds faster and larger.
# The folder must stay below 35 MB: that is what is left of the 64 MiB that a small transfer takes beside a checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/gpu} peer=${2:-} profile=${PROFILE:-release} most=35000000
cargo build --locked --profile "$profile" --features cuda --example gpu_check
built=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")/examples/gpu_check
mkdir -p "$out"
rm -f "$out"/gpu_check* "$out/peer.py"
cp "$built" "$out/gpu_check"
strip "$out/gpu_check"
xz -T0 -6 "$out/gpu_check"
cp scripts/gpu_run.sh "$out/"
[ -z "$peer" ] || cp "$peer" "$out/peer.py"
git describe --always --dirty > "$out/commit" 2>/dev/null || echo unknown > "$out/commit"
bytes=$(cat "$out"/gpu_check.xz "$out"/gpu_run.sh ${peer:+"$out/peer.py"} | wc -c)
echo "$out: $((bytes / 1000000)).$((bytes / 100000 % 10)) MB of at most $((most / 1000000)) MB; run there: $out/gpu_run.sh $out RESULTS"
[ "$bytes" -le "$most" ] || { echo "error: too large to be carried" >&2; exit 1; }
