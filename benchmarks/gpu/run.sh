#!/usr/bin/env bash
# What the GPU path costs, on one card of 80 GB with torch, transformers, accelerate and peft; no network, no vLLM, no
# flash-attn. At most 8 minutes; each stage is a process of its own and writes its JSON after every measurement.
#
#   bash benchmarks/gpu/wheels.sh 3.12        where there is a network: the few packages that such a machine lacks
#   bash benchmarks/gpu/run.sh                on that machine; results in $OUT (benchmarks/results/gpu)
#   STAGES="attention head" LIMIT=120 bash benchmarks/gpu/run.sh
#   SMOKE=1 bash benchmarks/gpu/run.sh        tiny shapes, on a CPU as well
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export OUT=${OUT:-$root/benchmarks/results/gpu}
limit=${LIMIT:-470} python=${PYTHON:-python3} began=$(date +%s)
mkdir -p "$OUT"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if ls "$here"/whl/*.whl >/dev/null 2>&1; then
  $python -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$here"/whl/*.whl ||
    echo "some wheels did not install; the stages that need them will say so"
fi
export PYTHONPATH=$root:$root/benchmarks:$root/benchmarks/gpu:$site:${PYTHONPATH:-}
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false TRL_EXPERIMENTAL_SILENCE=1
for stage in ${STAGES:-machine exactness update fused attention head vision rollout}; do
  left=$((limit - ($(date +%s) - began)))
  if [ "$left" -lt 15 ]; then
    echo "$stage: left out, $left s left"
    continue
  fi
  timeout -k 5 "$left" "$python" "$here/$stage.py" $((left - 5)) 2>>"$OUT/errors.txt"
  echo "== $stage: exit $?, $(($(date +%s) - began)) s since the beginning"
done
grep -v Warning "$OUT/errors.txt" | tail -n 20
