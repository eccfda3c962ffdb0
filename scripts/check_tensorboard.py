#!/usr/bin/env python3
"""Reads a run's event file with TensorBoard itself and compares it with the run's own files.

    python3 -m venv /tmp/venv_tb && /tmp/venv_tb/bin/pip install tensorboard==2.21.0
    tunelab run experiments/lora_dog.toml --stand-in --tensorboard
    /tmp/venv_tb/bin/python scripts/check_tensorboard.py results/lora_dog-stand-in

Every scalar must equal loss.csv, eval.csv and run.json, every image the PNG in samples/, bit for bit; hyperparameters are read
by the plugin through the real server. Exit code 1 if anything differs.
"""

import csv
import json
import re
import struct
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def f32(text):
    return struct.unpack("f", struct.pack("f", float(text)))[0]


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def expected_scalars(run, record):
    scalars = {}
    for log in ("loss.csv", "eval.csv"):
        for row in rows(run / log):
            for name, cell in row.items():
                if name not in ("step", "epoch"):
                    scalars.setdefault(name, []).append((int(row["step"]), f32(cell)))
    for of in (record.get("metrics") or {}).get("sets", []):
        for metric in of["metrics"]:
            if metric["prompt"] is None:
                tag = f"metrics/{metric['encoder']}/{metric['metric']}"
                scalars.setdefault(tag, []).append((of["step"], f32(metric["value"])))
    return scalars


def flattened(plan):
    """The plan's keys that differ in nothing but their paths."""
    flat = {}
    for key, value in plan.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": v for inner, v in flattened(value).items()})
        else:
            flat[key] = value
    return flat


def ask(port, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", data=body and json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def from_server(folder):
    """What the real server, with its own fast reader, says of the runs below a folder."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0", "--host", "127.0.0.1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        port = None
        for line in server.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                port = found[1]
                break
        for _ in range(60):
            scalars = ask(port, "data/plugin/scalars/tags")
            experiment = ask(port, "data/plugin/hparams/experiment", {"experimentName": ""})
            if scalars and experiment.get("hparamInfos"):
                break
            time.sleep(1)
        groups = ask(
            port,
            "data/plugin/hparams/session_groups",
            {
                "experimentName": "",
                "allowedStatuses": ["STATUS_SUCCESS", "STATUS_RUNNING", "STATUS_FAILURE", "STATUS_UNKNOWN"],
                "colParams": [{"hparam": info["name"]} for info in experiment["hparamInfos"]],
                "startIndex": 0,
                "sliceSize": 10,
            },
        )
        images = ask(port, "data/plugin/images/tags")
        return scalars, experiment, groups, images
    finally:
        server.terminate()
        server.wait()


def main():
    run = Path(sys.argv[1])
    record = json.loads((run / "run.json").read_text())
    plan = tomllib.loads((run / "plan.toml").read_text())
    problems = []

    def equal(what, one, other):
        if one != other:
            problems.append(f"{what}: {str(one)[:300]} is not {str(other)[:300]}")

    events = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    expected = expected_scalars(run, record)
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    equal("tags of scalars", sorted(found), sorted(expected))
    for tag in expected:
        equal(tag, sorted(found.get(tag, [])), sorted(expected[tag]))
    print(f"scalars: {len(found)} tags, {sum(map(len, found.values()))} points: {', '.join(sorted(found))}")
    last = record["counts"]["steps"]
    images = 0
    for tag in tags["images"]:
        index = tag.rsplit("/", 1)[1]
        for image in events.Images(tag):
            images += 1
            name = {0: "base", last: "tuned"}.get(image.step, f"step-{image.step:06}")
            files = [f.read_bytes() for f in (run / "samples" / name).glob(f"*/{index}.png")]
            if image.encoded_image_string not in files or image.width <= 0:
                problems.append(f"{tag} at step {image.step} is no picture in samples/{name}")
    equal("pictures", images, len(list((run / "samples").rglob("[0-9]*.png"))))
    print(f"images: {len(tags['images'])} tags, {images} pictures")
    scalars, experiment, groups, shown = from_server(run.parent)
    name = f"{run.name}/tb"
    equal("the server's scalars", sorted(scalars.get(name, {})), sorted(expected))
    equal("the server's images", sorted(shown.get(name, {})), sorted(tags["images"]))
    flat = {k: v for k, v in flattened(plan).items() if k.split(".")[0] not in ("name", "log", "reference", "stands_in_for")}
    infos = {info["name"] for info in experiment["hparamInfos"]}
    equal("hyperparameters' names", infos & set(flat), set(flat))
    session = next(g for g in groups["sessionGroups"] if any(s["name"] == name for s in g["sessions"]))
    for key, value in flat.items():
        seen = session["hparams"].get(key)
        equal(key, seen, ", ".join(str(v) for v in value) if isinstance(value, list) else value)
    session = next(s for s in session["sessions"] if s["name"] == name)
    equal("status", session["status"], "STATUS_SUCCESS")
    metrics = {m["name"]["tag"] for m in session.get("metricValues", [])}
    equal("metrics of the hyperparameters' view", sorted(metrics), sorted(expected))
    print(f"hyperparameters: {len(flat)}, with {len(metrics)} metrics; status {session['status']}")
    for problem in problems:
        print(f"DIFFERENT {problem}")
    print("equal" if not problems else f"{len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
