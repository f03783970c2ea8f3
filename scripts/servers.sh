#!/usr/bin/env bash
# vLLM servers, one per GPU: scripts/servers.sh ROLE MODEL PORT GPUS [OPTIONS of vllm serve…]
# ROLE: listener (fixed weights) or rollouts (weights updated by the trainer; closed network only). GPUS: 4,5,6,7
# Prints the servers' URLs, with ports from PORT on, for listener.endpoint.urls or engine.endpoint.urls. When a server or
# this script ends, all servers end. Not tested on GPUs.
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
