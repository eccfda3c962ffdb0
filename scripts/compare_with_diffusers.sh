#!/bin/sh
# Trains two small LoRAs with `tunelab run`, and compares the pictures of `tunelab sample` with those of diffusers: for both
# weight files of each, and for the files of lora/ that diffusers saved, with every sampler. Exit code 1 if any picture is
# further than 2 of 255 away, or if a LoRA changes hardly anything. The file for diffusers is also read without its metadata, as
# stable-diffusion.cpp and OneTrainer do. Not a test: it needs Python with requirements.txt.
#
#   PYTHON=.venv/bin/python scripts/compare_with_diffusers.sh      # TUNELAB=path/of/tunelab, if not target/debug/tunelab
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
TUNELAB=${TUNELAB:-target/debug/tunelab}
fixtures=tests/fixtures
model=$fixtures/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/pictures" "$work/ours" "$work/theirs"
cp "$fixtures"/resize/short_side/*.cropped.png "$work/pictures"

# train NAME ALPHA TARGETS: rank 3, so alpha is never the rank; the rate is high, so that the pictures change a lot
train() {
    cat >"$work/$1.toml" <<END
[model]
path = "$PWD/$model"
[dataset]
path = "$work/pictures"
prompt = "a dog"
resolution = 64
[adapter.lora]
rank = 3
alpha = $2
targets = $3
[train]
steps = 30
learning_rate = 1e-2
[eval]
prompts = []
END
    "$TUNELAB" run "$work/$1.toml" --results "$work/results" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
}

# draw NAME FILE|none: with every sampler and in two sizes, and what diffusers is to draw onto the list
draw() {
    lora=""
    [ "$2" = none ] || lora="--lora $2"
    for sampler in pndm ddim euler_a dpmpp_2m; do
        for size in 64x64 128x64; do
            # shellcheck disable=SC2086 # $lora is two words, or none
            "$TUNELAB" sample --model $model $lora --prompt "a dog" --negative-prompt blurry --seed 7 --steps 10 \
                --width ${size%x*} --height ${size#*x} --sampler $sampler -o "$work/ours/$1.$sampler.$size" \
                >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
            echo "$1 $2 $sampler $size" >>"$work/list"
        done
    done
}

train attention 7 '["to_q", "to_k", "to_v", "to_out.0"]'
train everything 4.5 '["to_q", "to_out.0", "proj_in", "ff.net.0.proj", "ff.net.2", "conv1", "time_emb_proj"]'
draw base none
for name in attention everything; do
    draw $name "$work/results/$name/weights/pytorch_lora_weights.safetensors"
    draw $name.kohya "$work/results/$name/weights/$name.safetensors"
done
draw saved $fixtures/lora/pytorch_lora_weights.safetensors
draw saved.kohya $fixtures/lora/kohya.safetensors

# All in one process, as loading diffusers takes longer than drawing.
PYTHONPATH=$fixtures "$PYTHON" - "$model" "$work" <<'END'
import contextlib, io, sys
from pathlib import Path
import numpy as np
from PIL import Image
import verify_lora

model, work = sys.argv[1], Path(sys.argv[2])
read = lambda path: np.asarray(Image.open(path).convert("RGB")).astype(int)
failed = False
for line in (work / "list").read_text().splitlines():
    name, lora, sampler, size = line.split(" ")
    theirs = work / f"theirs/{name}.{sampler}.{size}.png"
    ours = read(work / f"ours/{name}.{sampler}.{size}/a-dog/0.png")
    base = read(work / f"ours/base.{sampler}.{size}/a-dog/0.png")
    trained = str(work) in lora and lora.endswith("pytorch_lora_weights.safetensors")
    for more in [[], ["--without-metadata"]] if trained else [[]]:
        sys.argv = ["", model, lora, "a dog", "7", "10", size, sampler, str(theirs), "--negative", "blurry", *more]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            verify_lora.main(verify_lora.arguments())
        away, moved = np.abs(ours - read(theirs)).max(), np.abs(ours - base).max()
        how = " ".join([name, *more])
        print(f"{how:30} {sampler:9} {size:7} from diffusers {away:3} of 255, from the base model {moved:3}", flush=True)
        failed |= away > 2 or (lora != "none" and moved < 20)
sys.exit(failed)
END
