# Every recipe is one plain command; `just` only saves typing.

# List the recipes.
default:
    @just --list

# Build the fast binary: target/release/tunelab.
build:
    cargo build --release

# Run all tests; they need no network and no Python.
test:
    cargo test

# What the continuous integration runs.
ci:
    .ci/run

# Format and lint.
lint:
    cargo fmt --check && cargo clippy --all-targets -- -D warnings

# Run an experiment, the report's if none is named: just run experiments/mine.toml --set train.epochs=2
run file="experiments/lora_dog.toml" *args:
    cargo run --release -- run {{file}} {{args}}

# Check a GPU: every fixture, short trainings, the benchmark, one table. The program that this builds,
# target/release/examples/gpu_check, can be carried to a machine without Rust.
gpu-check *args:
    cargo run --release --features cuda --example gpu_check -- {{args}}

# Run the CUDA kernels on this machine's processor against references in f64; needs g++, no card and no CUDA.
cuda-on-host *kernels:
    scripts/cuda_on_host.sh {{kernels}}

# Check every experiment of this repository.
check:
    cargo run -- check experiments/*.toml crates/tunelab-core/assets/mini/findings.toml

# Where the miniature's training keeps its pictures and runs.
recipe := "crates/tunelab-core/assets/mini/recipe"
results := "target/mini"
tunelab := "cargo run --release --"
world := "cargo run --release --example world --"

# Train builtin:mini again, from nothing: crates/tunelab-core/assets/mini and crates/tunelab-core/assets/corgi. Takes hours on two cores.
mini: mini-model mini-judge mini-evaluate findings

# Draw the world, train the autoencoder and then all the rest, and write crates/tunelab-core/assets/mini.
mini-model:
    {{world}} draw {{recipe}}/pictures --count 24000 --seed 1 --mirrored
    {{world}} draw {{recipe}}/more_pictures --count 32000 --seed 2
    {{world}} subject crates/tunelab-core/assets/corgi --size 256
    {{world}} sheet crates/tunelab-core/assets/mini/world.png --size 40
    {{world}} untrained {{recipe}}/untrained --seed 1
    {{world}} vae {{recipe}}/pictures {{recipe}}/untrained --steps 4000 --seed 1
    {{world}} vae {{recipe}}/pictures {{recipe}}/untrained --steps 3500 --seed 2 --again
    {{tunelab}} run {{recipe}}/base.toml --results {{results}} --force
    {{tunelab}} run {{recipe}}/second.toml --results {{results}} --force
    {{world}} assemble {{results}}/mini_second crates/tunelab-core/assets/mini

# Train the judge, which says what a picture of the world shows: first on drawings, then on what the autoencoder makes of them.
mini-judge:
    {{world}} judge crates/tunelab-core/assets/mini/judge.safetensors --steps 1600 --seed 1
    {{world}} judge crates/tunelab-core/assets/mini/judge.safetensors --steps 300 --seed 1 --through crates/tunelab-core/assets/mini

# How often does the miniature draw what a held-out caption says?
mini-evaluate:
    {{world}} evaluate crates/tunelab-core/assets/mini --judge crates/tunelab-core/assets/mini/judge.safetensors --count 256 --seed 1 --out crates/tunelab-core/assets/mini

# The report's findings on the miniature: five ways of fine-tuning, three seeds, one table.
findings:
    rm -rf {{results}}/findings
    for seed in 1 2 3; do {{tunelab}} run crates/tunelab-core/assets/mini/findings.toml --results {{results}}/findings/$seed --set seed=$seed --set eval.seed=${seed}000 || exit 1; done
    {{world}} findings {{results}}/findings/1 {{results}}/findings/2 {{results}}/findings/3 --judge crates/tunelab-core/assets/mini/judge.safetensors --out crates/tunelab-core/assets/mini/findings.md
