#!/bin/bash
# One process for each GPU, on two nodes of four: sbatch slurm.sh
# One process for each node instead: --ntasks-per-node=1 (it takes all GPUs of its node).
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
# SIGTERM to all processes two minutes before the time is over: they stop at the same step, save, and end
# with code 75.
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

# start() reads SLURM's variables: no address, no number of processes is written here.
# --kill-on-bad-exit also ends what has not called start() yet.
srun --kill-on-bad-exit=1 --label python train.py --steps 100000 --folder "$PWD/runs/$SLURM_JOB_NAME" "$@"
code=$?

# Stopped before its end (75), or failed: again, from the last checkpoint, at most five times.
if [ "$code" -ne 0 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
