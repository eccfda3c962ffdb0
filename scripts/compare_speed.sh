#!/usr/bin/env bash
# How fast is `tunelab bench` beside a peer that prints the same kind of line, measured in turn on the same work?
#
#   scripts/compare_speed.sh TUNELAB PEER [ROUNDS] [WORK…]
#
# TUNELAB is the binary; PEER a command that takes a work and its options as `tunelab bench` does and prints JSON with
# "seconds_per_step" and "peak_rss_mib", such as "python bench_peer.py". Each WORK, such as "lora" or "sample --dtype bf16 --res 512",
# is run ROUNDS times (3 if it is not said) by both in turn; printed are the medians and their ratio, and the largest memory of each.
# Nothing else should run meanwhile: how far the rounds lie apart is printed too.
set -euo pipefail
tunelab=$1
peer=$2
rounds=${3:-3}
shift $(($# < 3 ? $# : 3))
[ $# -gt 0 ] || set -- "lora" "full" "sample" "lora --dtype bf16" "sample --dtype bf16"

number() { # the number behind a key
    sed -nE "s/.*\"$1\": ?([0-9.eE+-]+).*/\1/p" | tail -1
}
median() { sort -g | awk '{ v[NR] = $1 } END { printf "%.3f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -g | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%.2f to %.2f", a, b }'; }

echo "| work | tunelab, s | peer, s | ratio | tunelab, MiB | peer, MiB | rounds: tunelab; peer |"
echo "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
for work in "$@"; do
    ours=() theirs=() our_memory=0 their_memory=0
    for _ in $(seq "$rounds"); do
        # Words of a work and of the peer's command are arguments.
        # shellcheck disable=SC2086
        line=$("$tunelab" bench $work --device cpu --json)
        ours+=("$(number seconds_per_step <<<"$line")")
        our_memory=$(number peak_rss_mib <<<"$line")
        # shellcheck disable=SC2086
        line=$($peer $work 2>/dev/null)
        theirs+=("$(number seconds_per_step <<<"$line")")
        their_memory=$(number peak_rss_mib <<<"$line")
    done
    a=$(printf '%s\n' "${ours[@]}" | median)
    b=$(printf '%s\n' "${theirs[@]}" | median)
    ratio=$(awk "BEGIN { printf \"%.2f\", $a / $b }")
    printf '| %s | %s | %s | %s | %.0f | %.0f | %s; %s |\n' "$work" "$a" "$b" "$ratio" "$our_memory" "$their_memory" \
        "$(printf '%s\n' "${ours[@]}" | spread)" "$(printf '%s\n' "${theirs[@]}" | spread)"
done
