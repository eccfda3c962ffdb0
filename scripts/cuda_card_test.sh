#!/usr/bin/env bash
# What a card of the real libraries would refuse or do slowly, asked of the stand-in card.
#
#   scripts/cuda_card_test.sh GPU_CHECK TUNELAB [CARD]
#
# GPU_CHECK and TUNELAB are built with `--features cuda`; CARD is the folder of scripts/cuda_as_card.sh, made anew if none is named.
# Each line says what is tested, and the stand-in's word for what it stops at. QUICK=1 leaves out what computes for minutes.
set -uo pipefail
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
check=$(realpath "$1") tunelab=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "${3:-}" ]; then card=$(realpath "$3"); else
    card=$work/card
    sh "$(dirname "$0")/cuda_as_card.sh" "$card" > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 2; }
fi
export LD_LIBRARY_PATH=$card
failed=0
# What is tested, and the command that says whether it is so.
holds() {
    local what=$1 begun=$SECONDS
    shift
    if "$@"; then echo "ok  $what ($((SECONDS - begun)) s)"; else
        echo "FAILED  $what"
        tail -3 "$work/log"
        failed=1
    fi
}
gpu() { "$check" --device cuda --only "$@" > "$work/table" 2> "$work/log"; }
bench() { "$tunelab" bench "$@" --device cuda --steps 2 --json > "$work/json" 2> "$work/log"; }

# cuDNN's lists are mixed and partly refused; products may not round the parts of a split sum, nor be less aligned than is said;
# some have no algorithm with a bias, or as a batch.
holds "operations, with what cuDNN and cuBLASLt refuse" gpu operations
holds "what spoke against cuDNN's first choice is told" grep -q '^cuDNN: .*passed over: ' "$work/table"

lora() { CARD_COUNTS=1 CARD_COMPUTES=0 bench lora --dtype bf16; }
# The first count of what was asked for, in the line that begins so.
count() { sed -n "s/^card: $1:.* $2 \([0-9]*\) (.*/\1/p" "$work/log" | tail -1; }
launches() { echo $(($(count 'in the graph' kernels) + $(count 'in the graph' products) + $(count 'in the graph' convolutions))); }
at_most() { [ "$2" -le "$3" ] || { echo "$1: $2 of at most $3" >> "$work/log"; return 1; }; }
holds "a LoRA step in bf16 is a graph" lora
holds "and bench says so" grep -q '"cuda_graphs":true' "$work/json"
holds "of at most 1,550 launches ($(launches))" at_most launches "$(launches)" 1550
holds "of which at most 101 are cuDNN's" at_most convolutions "$(count 'in the graph' convolutions)" 101
# Those in the graph: before it the weights are rounded, one by one.
casts() { awk '/^card: in the graph/ { n = 0; on = 1 } /^card: beside/ { on = 0 } on && $3 == "cast_f32_bf16" { n = $2 } END { print n + 0 }' "$work/log"; }
holds "the LoRA's tensors are not rounded one by one ($(casts) casts)" at_most casts "$(casts)" 10
holds "one read a step, which is its wait" at_most reads "$(count 'beside graphs, since the last one was launched' 'from card')" 1

lost() { CARD_LOSES_CAPTURES=1 CARD_COMPUTES=0 bench lora --dtype bf16 && grep -q '"cuda_graphs":false,.*"no_cuda_graphs":"' "$work/json"; }
holds "a step that is no graph is told, with the reason" lost
if [ -z "${QUICK:-}" ]; then
    holds "steps as graphs are equal to steps that are none, bit for bit, in f32, bf16 and f16" gpu graphs
    without() { CARD_LOSES_CAPTURES=1 gpu graphs --small; [ $? = 1 ] && grep -q '^FAILED .*no graph' "$work/log"; }
    holds "gpu_check fails where a step is no graph" without
    other() { CARD_FORGETS_NODES=1 gpu graphs --small; [ $? = 1 ] && grep -q '^FAILED .*computes something else' "$work/log"; }
    holds "and where a graph computes something else" other
fi
exit $failed
