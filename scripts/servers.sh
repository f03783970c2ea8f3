#!/usr/bin/env bash
# vLLM servers, one per GPU: scripts/servers.sh ROLE MODEL PORT GPUS [OPTIONS of vllm serve…]
# ROLE: listener (its weights stay) or rollouts (they follow the policy; for a closed network). GPUS: 4,5,6,7
# Prints their addresses, on ports from PORT on, for listener.endpoint.urls or engine.endpoint.urls. When one of them
# ends, or this script does, all end. Not run by us on GPUs.
set -euo pipefail
[ $# -ge 4 ] || { sed -n 2,3p "$0"; exit 2; }
role=$1 model=$2 port=$3
IFS=, read -ra gpus <<<"$4"
shift 4
options=(--logprobs-mode processed_logprobs)
case $role in
  listener) ;;
  rollouts)
    export VLLM_SERVER_DEV_MODE=1
    options+=(--worker-extension-cls reasoner_rm.rollout.vllm.worker_extension.WeightUpdateWorker) ;;
  *) echo "unknown role $role: listener or rollouts" >&2; exit 2 ;;
esac
trap 'trap - TERM; kill 0' EXIT INT TERM
for gpu in "${gpus[@]}"; do
  CUDA_VISIBLE_DEVICES=$gpu vllm serve "$model" --port "$port" "${options[@]}" "$@" &
  echo "http://$(hostname):$port/v1"
  port=$((port + 1))
done
wait -n
