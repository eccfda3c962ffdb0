#!/usr/bin/env bash
# `tunelab submit` and `tunelab status` on a real Slurm of one node: a sweep of the miniature, one job that is requeued in the middle
# of its run, one that is cancelled, one that fails, and a run that is longer than its time limit. In the end every run is equal byte
# for byte to the same one without Slurm.
#
#   scripts/slurm_test.sh TUNELAB            (needs root for a Slurm: scripts/slurm_one_node.sh; three to six minutes on two cores)
set -euo pipefail
tunelab=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
reference=
finish() {
    code=$?
    [ -z "$reference" ] || kill "$reference" 2>/dev/null || true
    "$here/slurm_one_node.sh" stop "$work/slurm" || true
    if [ "$code" = 0 ]; then rm -rf "$work"; else echo "what is left is in $work" >&2; fi
}
trap finish EXIT
cd "$work"
export COLUMNS=110 RAYON_NUM_THREADS=1
sweep=$here/../experiments/sweep_lora.toml
# Longer than a minute's limit lets it be; checkpoints are made when it is asked to stop.
sed -e '/^\[sweep\]/,$d' -e 's/steps = 60/steps = 700/' "$sweep" > slow.toml
# Short, so that a job of the sweep takes some seconds and all of them a minute.
sweep_set=(--set train.steps=40 --set metrics.encoders=[])

say() { printf '\n# %s (%s s)\n' "$*" "$SECONDS"; }
fail() { echo "error: $*" >&2; "$tunelab" status "$sweep" || true; "$tunelab" status slow.toml || true; exit 1; }
state() { "$tunelab" status "$2" --json | grep -A1 "\"run\": \"$1\"" | sed -n 's/.*"state": "\(.*\)".*/\1/p'; }
wait_for() { # SECONDS WHAT COMMAND…
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "no $what"
        sleep 0.5
    done
}
is() { [ "$(state "$1" "$2")" = "$3" ]; }
has_steps() { [ "$(cat "results/$1/loss.csv" 2>/dev/null | wc -l)" -gt "$2" ]; }
job_of() { squeue --noheader --array --format '%F_%K|%j|%T' | sed -n "s/^\(.*_$1\)|tunelab-$2-.*|RUNNING\$/\1/p"; }
queue_is_empty() { [ -z "$(squeue --noheader)" ]; }

"$here/slurm_one_node.sh" start "$work/slurm"
# shellcheck source=/dev/null
source "$work/slurm/env"

say "what is refused"
if "$tunelab" submit "$sweep" --stand-in --partition nope 2> refused; then fail "an unknown partition is taken"; fi
cat refused
grep -q 'there is --partition debug' refused || fail "the partitions are not named"

say "the sweep and a run that is longer than its limit"
names=$("$tunelab" submit "$sweep" --stand-in "${sweep_set[@]}" --dry-run >/dev/null 2>&1; cat results/.slurm/sweep_lora/runs.txt)
run_at() { sed -n "$(($1 + 1))p" <<< "$names"; }
requeued=$(run_at 0) cancelled=$(run_at 1) failing=$(run_at 2)
# It fails: its folder holds what no run wrote.
mkdir -p "results/$failing"
echo mine > "results/$failing/notes.txt"
"$tunelab" submit slow.toml --set metrics.encoders=[] --time 1 --cpus 1 --no-report-job
"$tunelab" submit "$sweep" --stand-in "${sweep_set[@]}" --cpus 1 --time 10

# The same without Slurm, meanwhile.
(
    "$tunelab" run slow.toml --set metrics.encoders=[] --results alone
    "$tunelab" run "$sweep" --stand-in "${sweep_set[@]}" --results alone
) > reference.log 2>&1 &
reference=$!

say "a second submit finds all of them in the queue"
"$tunelab" submit "$sweep" --stand-in "${sweep_set[@]}" 2>&1 | tee again
grep -q '18 queued already, nothing to submit' again || fail "queued runs are submitted again"

say "scontrol requeue in the middle of $requeued"
wait_for 300 "steps of $requeued" has_steps "$requeued" 5
"$tunelab" status "$sweep" | head -n 8
scontrol requeue "$(job_of 0 sweep_lora)"
wait_for 20 "requeued run" is "$requeued" "$sweep" requeued
"$tunelab" status "$sweep" | head -n 3

say "scancel in the middle of $cancelled"
wait_for 300 "steps of $cancelled" has_steps "$cancelled" 5
scancel "$(job_of 1 sweep_lora)"
wait_for 60 "interrupted run" is "$cancelled" "$sweep" interrupted
wait_for 600 "failed run" is "$failing" "$sweep" failed
"$tunelab" status "$sweep"

say "the run that is longer than its limit"
"$tunelab" status slow.toml
wait_for 900 "end of the queue" queue_is_empty
"$tunelab" status slow.toml
is slow slow.toml done || fail "the slow run is not done"
grep '^== ' results/.slurm/slow/logs/0.log
turns=$(grep -c "goes on in this job's next turn" results/.slurm/slow/logs/0.log) || fail "it was never stopped before its limit"
echo "it took $((turns + 1)) turns"
"$tunelab" status "$sweep" | head -n 1 | grep -q '16 done, 1 interrupted, 1 failed' || fail "not all others are done"

say "what is missing is submitted again"
rm "results/$failing/notes.txt"
"$tunelab" submit "$sweep" --stand-in "${sweep_set[@]}" --cpus 1 2>&1 | tee again
grep -q '16 done, 2 submitted as job' again || fail "other runs are submitted"
wait_for 600 "end of the queue" queue_is_empty
"$tunelab" status "$sweep" | head -n 1
[ -f results/index.html ] && [ -f results/sweep_lora.sweep/sweep.csv ] || fail "there is no report"

say "all runs are equal to those without Slurm"
wait "$reference" || { cat reference.log; fail "the reference"; }
reference=
for run in slow $names; do
    for part in loss.csv eval.csv weights samples grid.png loss.png; do
        diff -r "alone/$run/$part" "results/$run/$part"
    done
done
echo "19 runs, equal byte for byte"
