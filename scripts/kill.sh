#!/usr/bin/env bash
# Kills a run with SIGKILL at random moments, lets it go on each time, and compares what it ends with to a run that was
# never disturbed: logs, weights (of steps on the way too), class images, pictures and what they are measured to be must be
# equal byte for byte.
#
#   scripts/kill.sh TUNELAB MODEL_DIR PICTURES_DIR [KILLS]     (20 kills by default; MODEL_DIR: tests/fixtures/model)
set -euo pipefail
tunelab=$(realpath "$1") model=$(realpath "$2") pictures=$(realpath "$3") kills=${4:-20}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/kill.toml" <<TOML
[model]
path = "$model"
[dataset]
path = "$pictures"
prompt = "a sks dog"
resolution = 64
[adapter.dreambooth]
class_prompt = "a dog"
class_images = 12
prior_loss_weight = 0.7
class_steps = 8
# Twelve pictures are no whole number of batches.
class_batch_size = 5
[adapter.dreambooth.lora]
rank = 4
dropout = 0.1
text_encoder = true
[train]
epochs = 6
gradient_accumulation = 2
noise_offset = 0.05
checkpoint_every = 4
keep_checkpoints = 2
[eval]
prompts = ["a sks dog", "a sks dog running"]
steps = 10
images = 2
every = 10
images_every = 9
[metrics]
encoders = ["builtin"]
best_by = "subject"
TOML
start=$(date +%s%N)
"$tunelab" run "$work/kill.toml" --results "$work/straight" > /dev/null 2>&1
whole=$(( ($(date +%s%N) - start) / 1000000 ))
echo "an undisturbed run takes $whole ms"
killed=0
declare -A stages
while [ "$killed" -lt "$kills" ]; do
  # Each round starts from nothing and is killed until it ends, so that every stage is hit.
  rm -rf "$work/killed"
  while :; do
    "$tunelab" run "$work/kill.toml" --results "$work/killed" > /dev/null 2> "$work/stderr" &
    pid=$!
    sleep "$(awk -v w="$whole" -v r="$RANDOM" 'BEGIN { printf "%.3f", w / 1000 * (0.05 + 0.5 * r / 32768) }')"
    if kill -9 "$pid" 2> /dev/null; then
      wait "$pid" 2> /dev/null || true
      [ -f "$work/killed/kill/run.json" ] && break
      killed=$((killed + 1))
      stage=$(grep -oP '"phase":"\K[^"]*' "$work/killed/kill/progress.json" 2> /dev/null || true)
      stages["${stage:-loading}"]=$(( ${stages["${stage:-loading}"]:-0} + 1 ))
      [ "$killed" -ge "$kills" ] && "$tunelab" run "$work/kill.toml" --results "$work/killed" > /dev/null 2>&1 && break
    else
      wait "$pid"
      break
    fi
  done
  [ -f "$work/killed/kill/run.json" ] || "$tunelab" run "$work/kill.toml" --results "$work/killed" > /dev/null 2>&1
  for part in loss.csv eval.csv metrics.csv weights samples grid.png steps.png data.png loss.png metrics.png; do
    diff -r "$work/straight/kill/$part" "$work/killed/kill/$part"
  done
  # A process that was killed while it wrote leaves its temporary file in the shared cache; another may be writing there.
  diff -r --exclude='*.tunelab-tmp' "$work/straight/.cache/class_images" "$work/killed/.cache/class_images"
done
for stage in "${!stages[@]}"; do echo "killed while at: $stage, ${stages[$stage]} times"; done
echo "$killed kills, every rerun equal to the undisturbed run"
