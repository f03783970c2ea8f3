#!/usr/bin/env bash
# One node: scripts/launch.sh GPUS KIND VERB CONFIG.yaml [ARGUMENTS…]
# KIND: ddp, zero2, zero3, zero3_offload or fsdp2. One GPU needs no launcher: reasoner-rm VERB CONFIG.yaml
set -euo pipefail
[ $# -ge 4 ] || { sed -n 2,3p "$0"; exit 2; }
gpus=$1 kind=$2 here=$(cd "$(dirname "$0")" && pwd)
shift 2
case $kind in
  ddp) exec torchrun --standalone --nproc_per_node "$gpus" -m reasoner_rm "$@" ;;
  zero2 | zero3 | zero3_offload)
    exec torchrun --standalone --nproc_per_node "$gpus" -m reasoner_rm "$@" \
      --set "run.deepspeed=$here/deepspeed/$kind.json" ;;
  fsdp2) exec accelerate launch --config_file "$here/accelerate/fsdp2.yaml" --num_processes "$gpus" -m reasoner_rm "$@" ;;
  *) echo "unknown kind $kind: ddp, zero2, zero3, zero3_offload or fsdp2" >&2; exit 2 ;;
esac
