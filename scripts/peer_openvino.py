"""OpenVINO as a peer: a denoising step of Stable Diffusion 1.5 with guidance (batch 2) on the CPU, for scripts/compare_speed.sh.

In: `sample [--dtype f32|bf16] [--res 512] [--steps 4]`, as `tunelab bench` takes them. Out: one JSON line with
"seconds_per_step" and "peak_rss_mib". diffusers' UNet with random weights, which change no shape and no cost, is traced
and compiled by OpenVINO for that size of picture; the sampler's own sums are left out in its favour.
Needs: pip install torch diffusers openvino.

  scripts/compare_speed.sh target/release/tunelab "python scripts/peer_openvino.py" 3 "sample" "sample --dtype bf16"
"""
import argparse
import json
import resource
import statistics
import time

import numpy
import openvino
import torch
from diffusers import UNet2DConditionModel

arguments = argparse.ArgumentParser()
arguments.add_argument("work", choices=["sample"])
arguments.add_argument("--res", type=int, default=256)
arguments.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
arguments.add_argument("--steps", type=int, default=4)
asked = arguments.parse_args()

side = asked.res // 8
torch.manual_seed(0)
unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).requires_grad_(False).eval()


class NoisePrediction(torch.nn.Module):
    def forward(self, sample, timestep, encoder_hidden_states):
        return unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]


example = (torch.randn(2, 4, side, side), torch.tensor(1), torch.randn(2, 77, 768))
with torch.no_grad():
    traced = openvino.convert_model(NoisePrediction(), example_input=example, input=[(2, 4, side, side), [], (2, 77, 768)])
compiled = openvino.Core().compile_model(traced, "CPU", {
    "INFERENCE_PRECISION_HINT": asked.dtype, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
})

inputs = [tensor.numpy() for tensor in example]
times = []
for step in range(asked.steps + 1):
    inputs[1] = numpy.array(999 - step)
    start = time.perf_counter()
    compiled(inputs)
    times.append(time.perf_counter() - start)
print(json.dumps({
    "work": "sample", "res": asked.res, "dtype": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
    "seconds_per_step": round(statistics.median(times[1:]), 4), "all": [round(seconds, 3) for seconds in times],
    "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "openvino": openvino.__version__,
}))
