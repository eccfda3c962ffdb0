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

# Check every experiment of this repository.
check:
    cargo run -- check experiments/*.toml
