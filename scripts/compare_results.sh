#!/usr/bin/env bash
# Do two binaries leave the same results? Runs every experiment as its stand-in on the CPU, in f32 and in bf16, with both,
# and compares loss.csv and eval.csv byte for byte, the tensors of every safetensors file, and the pixels of every PNG.
#
#   scripts/compare_results.sh OLD NEW WORK [EXPERIMENT…]      (all of experiments/ if none is named)
#   SET="train.steps=20 eval.steps=5" scripts/…                shorter: these keys are set in every experiment
#
# WORK is a folder that keeps what was run: a result that is there already is not computed again. A type that an experiment
# refuses (full fine-tuning in bf16 on a CPU) must be refused by both. Exit code 1 if anything differs. Needs python3.
set -uo pipefail
old=$(realpath "$1") new=$(realpath "$2") work=$(realpath -m "$3")
shift 3
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- experiments/*.toml
failed=0
for experiment in "$@"; do
    for dtype in f32 bf16; do
        name=$(basename "$experiment" .toml)
        for which in old new; do
            results=$work/$which/$dtype/$name
            if [ ! -e "$results.rc" ]; then
                mkdir -p "$results"
                # shellcheck disable=SC2046
                "${!which}" run "$experiment" --stand-in --device cpu --results "$results" --set train.dtype=$dtype \
                    $(printf -- '--set %s ' ${SET:-train.dtype=$dtype}) > "$results.log" 2>&1
                echo $? > "$results.rc"
            fi
        done
        python3 scripts/compare_results.py "$work/old/$dtype/$name" "$work/new/$dtype/$name" || failed=1
    done
done
exit $failed
