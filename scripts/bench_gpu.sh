#!/usr/bin/env bash
# Everything that is to be measured on a GPU, in under ten minutes, on a machine with JAX 0.11, flax, optax and torch:
#
#   scripts/bench_gpu.sh OUT             each result is OUT/NAME.json, what was said beside it is OUT/NAME.log
#   scripts/bench_gpu.sh OUT --tiny      the same steps with the smallest sizes and ten times the limits, to try them on a CPU
#   WHEELS=FOLDER scripts/bench_gpu.sh OUT     for a machine without a network. Fill the folder beforehand:
#       pip download --no-deps --dest FOLDER monai
#
# Nothing that the machine has is replaced, and the package itself is not installed: it is imported from this checkout.
# Every step has its own limit, so that one that hangs does not cost the others (560 s together); the exit status counts
# those that failed.
set -uo pipefail
out=${1:?folder for the results}
tiny=${2:-}
case $tiny in "" | --tiny) ;; *) echo "found $tiny; expected --tiny or nothing" >&2; exit 2 ;; esac
patience=${tiny:+10}
patience=${patience:-1}
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$out" && out=$(cd "$out" && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$root:$root/scripts:$out/packages${PYTHONPATH:+:$PYTHONPATH}"
# torch and JAX share the card: neither takes all of it at its start.
export XLA_PYTHON_CLIENT_PREALLOCATE=false TF_CPP_MIN_LOG_LEVEL=3 PIP_DISABLE_PIP_VERSION_CHECK=1
export JAX_COMPILATION_CACHE_DIR="$out/cache"
failed=0

# step NAME LIMIT_SECONDS COMMAND...: its output is NAME.json, its errors NAME.log
step() {
    local name=$1 limit=$(($2 * patience)) begin=$SECONDS status=0
    shift 2
    timeout --kill-after=10 "$limit" "$@" >"$out/$name.json" 2>"$out/$name.log" || status=$?
    grep -q '"failed"' "$out/$name.json" && status=1 # a side of a comparison gave up
    [ "$status" -eq 0 ] || failed=$((failed + 1))
    printf '%-10s %4s s  %s\n' "$name" $((SECONDS - begin)) "$([ "$status" -eq 0 ] && echo done || echo "FAILED ($status), see $out/$name.log")"
}

if ! "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('monai') is None)"; then
    source=()
    [ -n "${WHEELS:-}" ] && source=(--no-index --find-links "$WHEELS")
    step install 40 "$python" -m pip install -q --no-deps --target "$out/packages" ${source[@]+"${source[@]}"} monai
fi

step machine 40 "$python" - "$tiny" <<'PYTHON'
"""The machine, its versions, and the rate of a large bf16 matrix product, which utilisation is measured against."""
import json, sys, time
import flax, jax, jax.numpy as jnp, optax, torch

n = 256 if sys.argv[1] else 8192
a = jax.random.normal(jax.random.key(0), (n, n), jnp.bfloat16)
product = jax.jit(lambda x: x @ a)
jax.block_until_ready(product(a))
rates = []
for _ in range(5):
    begin, x = time.perf_counter(), a
    for _ in range(20):
        x = product(a)
    jax.block_until_ready(x)
    rates.append(20 * 2 * n**3 / (time.perf_counter() - begin) / 1e12)
versions = {m.__name__: m.__version__ for m in (jax, flax, optax, torch)}
found = {"device": jax.devices()[0].device_kind, "devices": jax.device_count(), "versions": versions}
print(json.dumps({**found, "matrix_product": n, "matmul_tflops": sorted(rates)[2]}, indent=2))
PYTHON
peak=$("$python" -c "import json, sys; print(json.load(open(sys.argv[1]))['matmul_tflops'])" "$out/machine.json" 2>/dev/null || echo 0)

bench() { echo "$python" "$root/scripts/bench_$1.py"; }
if [ -n "$tiny" ]; then
    step train 240 $(bench train) --network small --size 16 16 --batch 1 --seconds 0.1 --repeats 1 --peak-tflops "$peak"
    step sample 240 $(bench sample) --channels 32 32 32 --size 16 16 --conditions 1 --steps 2 --repeats 1 --pictures 1
    step volumes 240 $(bench volumes) --networks unet --size 4 4 4 --batch 1 --steps 2 --seconds 0.1 --repeats 1
else
    for batch in 8 32; do
        step train_$batch 150 $(bench train) --network reference --batch $batch --dtype bfloat16 --compile --seconds 4 \
            --peak-tflops "$peak"
    done
    step sample 90 $(bench sample) --channels 256 256 512 --conditions 8 --chunk 0 --repeats 3 --pictures 4
    step volumes 90 $(bench volumes) --networks patched large_unet --seconds 3
fi
exit "$failed"
