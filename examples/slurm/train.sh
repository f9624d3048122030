#!/bin/sh
# One training run over several machines, as a job of Slurm.
#
#   sbatch examples/slurm/train.sh --grad-accum 16                      # more options of lact-train
#   DATA=packed RUN=long STEPS=20000 sbatch --nodes 4 examples/slurm/train.sh
#
# DATA and RUN are folders that all machines see at the same place. A job that was stopped, or starts
# again, goes on from the newest checkpoint; so does one with another number of processes.
#SBATCH --job-name=lact-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --requeue
# All stop after the same step and save, two minutes before the time is over.
#SBATCH --signal=TERM@120
set -eu

: "${MODALITY:=text}" "${DATA:=data}" "${RUN:=run}" "${PRESET:=tiny}" "${STEPS:=2000}"
cpus=${SLURM_CPUS_PER_TASK:-1}

# The processes find each other by what srun tells them. Their number must divide --grad-accum.
# Where one is lost the others end by themselves; srun need not kill them, who may be saving.
exec srun --cpus-per-task "$cpus" \
  lact-train "$MODALITY" --resume -o "$RUN" --data "$DATA" --preset "$PRESET" --steps "$STEPS" \
  --grad-accum 8 --save-every 200 "$@"
