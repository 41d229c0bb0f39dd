#!/usr/bin/env bash
# srun --nodes=N --ntasks-per-node=1 bash each_node.sh [options of accelerate launch] -m palu ...
# One `accelerate launch` on each node of a SLURM job, all of which meet at the first node. --num_processes, which
# counts the processes of all nodes, is yours to give.
set -euo pipefail
first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
# where a node's name is not the name of its machine
address=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
# two jobs of one node must not meet at one port
port=$((20000 + SLURM_JOB_ID % 10000))
exec accelerate launch --num_machines "$SLURM_STEP_NUM_NODES" --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$address" --main_process_port "$port" "$@"
