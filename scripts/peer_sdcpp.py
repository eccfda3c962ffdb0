"""stable-diffusion.cpp as a peer: a denoising step of Stable Diffusion 1.5 with guidance on the CPU, for scripts/compare_speed.sh.

In: `sample [--dtype f32|bf16|f16] [--res 512] [--steps 4]`, as `tunelab bench` takes them; the variable SD_CLI, the program `sd-cli`;
SD_MODEL, a model's folder; SD_OPTIONS, more options of the program, such as "--diffusion-fa". Out: one JSON line with "seconds_per_step"
and "peak_rss_mib". The times are those that the program prints behind each step; the first step is not counted, and the program is
ended before its VAE. Whatever the type, it keeps the weights of convolutions in f16 and sums patches of f16.
Needs: pip install torch diffusers transformers, for the model, whose random weights change no shape and no cost:

  python tests/fixtures/make_full_size.py sd15 /tmp/sd15 --half && export SD_MODEL=/tmp/sd15

and the program, whose source with ggml's is also in a package of PyPI:

  pip install cmake ninja scikit-build-core
  pip download --no-deps --no-build-isolation --no-binary :all: stable-diffusion-cpp-python && tar xf stable_diffusion_cpp_python-*.tar.gz
  cmake -S stable_diffusion_cpp_python-*/vendor/stable-diffusion.cpp -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \\
    -DGGML_LLAMAFILE=ON -DSD_WEBP=OFF -DSD_WEBM=OFF && ninja -C build sd-cli && export SD_CLI=$PWD/build/bin/sd-cli
  scripts/compare_speed.sh target/release/tunelab "python scripts/peer_sdcpp.py" 3 "sample" "sample --dtype bf16"
"""
import argparse
import json
import os
import re
import resource
import shlex
import statistics
import subprocess
import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

arguments = argparse.ArgumentParser()
arguments.add_argument("work", choices=["sample"])
arguments.add_argument("--res", type=int, default=256)
arguments.add_argument("--dtype", choices=["f32", "bf16", "f16"], default="f32")
arguments.add_argument("--steps", type=int, default=4)
asked = arguments.parse_args()

source = Path(os.environ["SD_MODEL"]).resolve()
with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    for part in ("unet", "vae"):
        (folder / part).symlink_to(source / part)
    # Newer versions of transformers leave out the prefix by which the program knows the text encoder.
    text = load_file(source / "text_encoder/model.safetensors")
    text = {name if name.startswith("text_model.") else f"text_model.{name}": tensor for name, tensor in text.items()}
    (folder / "text_encoder").mkdir()
    save_file(text, folder / "text_encoder/model.safetensors")
    command = [
        os.environ["SD_CLI"], "--model", folder, "--prompt", "a dog", "--cfg-scale", "7.5", "--sampling-method", "euler",
        "--width", str(asked.res), "--height", str(asked.res), "--steps", str(asked.steps + 1), "--type", asked.dtype,
        "--threads", str(len(os.sched_getaffinity(0))), "--output", folder / "picture.png",
        *shlex.split(os.environ.get("SD_OPTIONS", "")),
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    log = b""
    while piece := running.stdout.read(4096):
        log += piece
        if b"sampling completed" in log:
            running.kill()
    running.wait()

# Behind each step, how long those until there took on average, or how many a second.
of = asked.steps + 1
means = re.findall(rf"\| (\d+)/{of} - ([\d.]+)(s/it|it/s)", log.decode(errors="replace"))
ends = {int(step): int(step) * (float(mean) if unit == "s/it" else 1 / float(mean)) for step, mean, unit in means}
if len(ends) < of:
    raise SystemExit(f"{os.environ['SD_CLI']} did not print the times of {of} steps: {log[-800:].decode(errors='replace')}")
times = [ends[step] - ends.get(step - 1, 0) for step in range(1, of + 1)]
print(json.dumps({
    "work": "sample", "res": asked.res, "dtype": asked.dtype, "seconds_per_step": round(statistics.mean(times[1:]), 4),
    "all": [round(seconds, 3) for seconds in times],
    "peak_rss_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
}))
