#!/usr/bin/env bash
# Pre-train UNet and PhantomCLIP side by side on one GPU, in one process and from one stream of simulated images.
#
#   bash benchmarks/pretrain_gpu.sh OUTPUT SECONDS [more options of htunet_pretrain]
#
# OUTPUT/UNet and OUTPUT/PhantomCLIP get checkpoint.safetensors (half precision), recipe.json and history.csv,
# OUTPUT/pretrain.log what was said. SECONDS covers all, from the start of Python to the last file; 12 of them are kept
# for measuring and writing. WORKERS processes simulate (default: all cores but two). PYTHON may name the interpreter.
set -euo pipefail
output=$1 seconds=$2
shift 2
cd "$(dirname "$0")/.."
mkdir -p "$output"
cores=$(nproc)
workers=${WORKERS:-$((cores > 3 ? cores - 2 : 1))}
export PYTHONPATH=$PWD OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1
hours=$(awk "BEGIN { print ($seconds - 12) / 3600 }")
"${PYTHON:-python3}" -m htunet.cli.pretrain UNet PhantomCLIP --hours "$hours" --batch-size 128 --pool 60000 \
  --workers "$workers" --out "$output" --debug "$@" 2>&1 | tee "$output/pretrain.log"
ls -l "$output"/*
