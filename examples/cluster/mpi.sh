#!/bin/bash
# One process for each GPU, on the machines of a hostfile: HOSTFILE=hosts PER_NODE=4 ./mpi.sh
# Open MPI and MPICH tell each process its rank; where process 0 is, is written here.
set -eu
first=$(awk 'NF && !/^#/ {print $1; exit}' "$HOSTFILE" | cut -d: -f1)
nodes=$(grep -cvE '^[[:space:]]*(#|$)' "$HOSTFILE")
export FUNCNET_COORDINATOR="$first:12340"

if mpirun --version | grep -q "Open MPI"; then
    exec mpirun --hostfile "$HOSTFILE" --np $(( nodes * PER_NODE )) --map-by "ppr:$PER_NODE:node" \
        -x FUNCNET_COORDINATOR -x PATH -x PYTHONPATH python train.py "$@"
fi
exec mpiexec -f "$HOSTFILE" -n $(( nodes * PER_NODE )) -ppn "$PER_NODE" python train.py "$@"
