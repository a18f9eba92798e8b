#!/bin/bash
# Train on several nodes of a SLURM cluster, one process a GPU:
#
#   sbatch --nodes=4 scripts/train_slurm.sh configs/oasis/diffusion.py data.shards=/shared/oasis --run /shared/runs/oasis
#
# The run folder and the shards must lie on a file system that all nodes see. Preemption (SIGTERM) saves and
# exits with 75; a process that dies ends the job within the heartbeat (60 s). Both are started again.
#SBATCH --job-name=brain-diffusion
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
set -u
# Compiled programs are shared by every start; one host writes, all read.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/brain-diffusion/jax}"

# --kill-on-bad-exit: when one process dies, SLURM does not wait for the heartbeat of the others.
srun --kill-on-bad-exit=1 brain-diffusion train "$@" --cluster slurm
status=$?
restarts="${SLURM_RESTART_COUNT:-0}"
# 2 is bad input and 130 is Ctrl-C: starting again would not help.
if [[ $status -ne 0 && $status -ne 2 && $status -ne 130 && $restarts -lt "${MAX_RESTARTS:-20}" ]]; then
  echo "exit status $status: requeue (restart $restarts)"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
