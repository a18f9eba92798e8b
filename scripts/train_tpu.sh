#!/bin/bash
# Train on a Cloud TPU slice, one process a host:
#
#   TPU=my-v5e-64 ZONE=us-west4-a scripts/train_tpu.sh configs/oasis/diffusion.py data.shards=/mnt/data/oasis --run /mnt/data/runs/oasis
#
# The package must be installed on the hosts with jax[tpu]; shards and run folder lie on a mounted bucket or
# Filestore. Hosts find each other through the TPU's metadata. Any exit but 0, 2 (bad input) and 130 starts again.
set -u
: "${TPU:?name of the TPU}" "${ZONE:?its zone}"
command="JAX_COMPILATION_CACHE_DIR=\${JAX_COMPILATION_CACHE_DIR:-/mnt/data/jax-cache} brain-diffusion train $(printf '%q ' "$@") --cluster tpu --quiet"
for attempt in $(seq 1 "${MAX_RESTARTS:-20}"); do
  gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command="$command"
  status=$?
  case $status in 0 | 2 | 130) exit $status ;; esac
  echo "exit status $status: start $attempt again in 30 s"
  sleep 30
done
exit $status
