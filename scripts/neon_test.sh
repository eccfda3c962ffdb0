#!/usr/bin/env bash
# The operations' tests on an emulated ARM processor (qemu-user), whose kernels are NEON's.
#
# Needs Rust with rustup, a cross linker and qemu; Debian's packages are installed where that may be done.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
if ! command -v qemu-aarch64 >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null; then
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update
    $as_root apt-get install --yes --no-install-recommends qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
fi
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
for simd in neon portable; do
    TUNELAB_SIMD=$simd cargo test --locked -p tunelab-ops --lib --test ops --target "$target" "$@"
done
