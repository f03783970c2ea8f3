#!/usr/bin/env bash
# Several nodes: sbatch --nodes 4 scripts/slurm.sh zero3 grpo CONFIG.yaml. The run directory must be on a shared disk.
# Slurm sends USR1 three minutes before the time limit; the processes save a state, and the job is requeued to resume.
# Not tested on a cluster.
#SBATCH --job-name=reasoner-rm
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --output=%x-%j.log
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,4p "$0"; exit 2; }
kind=$1 here=${SLURM_SUBMIT_DIR:-.}/scripts
shift
sharding=()
[ "$kind" = ddp ] || sharding=(--set "run.deepspeed=$here/deepspeed/$kind.json")
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# torchrun has no handler for USR1 and would be killed by it, so it ignores the signal; its workers handle it.
srun bash -c 'trap "" USR1; exec "$@"' _ torchrun \
  --nnodes "$SLURM_NNODES" --nproc_per_node 8 \
  --rdzv_backend c10d --rdzv_endpoint "$head:29500" --rdzv_id "$SLURM_JOB_ID" \
  -m reasoner_rm "$@" --resume "${sharding[@]}"
[ -z "${SLURM_JOB_END_TIME:-}" ] || [ "$(date +%s)" -lt $((SLURM_JOB_END_TIME - 240)) ] || scontrol requeue "$SLURM_JOB_ID"
