#!/usr/bin/env bash
# What a machine with a GPU can tell within eight minutes: every kernel and the whole pass against f64, then speed and
# memory at the 8B shape, beside PyTorch where it is installed. Each part has its own limit and may fail alone.
#
#     tests/bench/gpu/check.sh FOLDER        results as JSON lines and logs
#
# LPC_DEVICE_TESTS and LPC_GPU_BENCH name programs that were built elsewhere; without them cargo builds them here.
set -uo pipefail
cd "$(dirname "$0")/../../.."
folder=${1:?a folder for the results}
mkdir -p "$folder"
built() {
    cargo "$@" --release --locked --features cuda --no-run --message-format=json 2>"$folder/build.log" |
        grep -o '"executable":"[^"]*"' | cut -d'"' -f4 | tail -n 1
}
tests=${LPC_DEVICE_TESTS:-$(built test --test device)}
bench=${LPC_GPU_BENCH:-$(built bench --bench gpu)}
export LPC_GPU=0 PROPTEST_RNG_SEED=1

part() {
    local name=$1 limit=$2 status=0 start=$SECONDS
    shift 2
    timeout "$limit" "$@" >"$folder/$name.out" 2>"$folder/$name.err" || status=$?
    echo "$name: status $status after $((SECONDS - start)) s"
}

# Tokens of real pairs, [prompt, chosen, rejected], where there are any: LPC_LENGTHS names the file.
lengths=(${LPC_LENGTHS:+--lengths "$LPC_LENGTHS"})
torch() { python3 -c 'import torch, transformers, safetensors' 2>/dev/null; }

# A kernel that fails is told where it was asked for.
CUDA_LAUNCH_BLOCKING=1 part tests 100 "$tests" --test-threads=1
part tiny 20 "$bench" --shape tiny --pack 512 --seconds 2
if torch; then
    mkdir -p "$folder/step"
    part parity 40 "$bench" --shape wide --pack 1024 --parity "$folder/step"
    part torch-parity 60 python3 tests/bench/gpu/torch_parity.py "$folder/step"
    rm -rf "$folder/step"
fi
part smollm2 30 "$bench" --shape smollm2 --seconds 10 "${lengths[@]}"
part llama3-8b 130 "$bench" --shape llama3-8b --seconds 25 --latent none,gumbel,marginal "${lengths[@]}"
if torch; then
    part torch-smollm2 40 python3 tests/bench/gpu/torch_step.py --shape smollm2 --micro 8 --seconds 10 "${lengths[@]}"
    part torch-8b 100 python3 tests/bench/gpu/torch_step.py --shape llama3-8b --micro 4 --seconds 30 "${lengths[@]}"
else
    echo "PyTorch: not run: no torch, transformers and safetensors"
fi
cat "$folder"/*.out | grep '^{' >"$folder/measured.jsonl" || true
grep -h '^test result' "$folder/tests.out" || true
"$bench" --report "$folder/measured.jsonl" --out "${LPC_GPU_REPORTS:-reports/gpu}"
