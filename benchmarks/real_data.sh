#!/usr/bin/env bash
# UNet and ResNet18 on all of BUSI and DDTI, 200 epochs, as the paper's public code trains and as its text says.
#
#     bash benchmarks/real_data.sh BUSI_SOURCE DDTI_SOURCE FOLDER [MORE OPTIONS OF htunet_train]
#
# Sources as downloaded (documentation/reference/datasets). The data, the runs and, in FOLDER/kept, the small files that
# benchmarks/results holds of each run go into FOLDER. The same command continues what was interrupted and repeats
# nothing. One GPU: 4 to 10 minutes a run; two cores of a CPU: 1.5 to 3 hours. Precision is tf32: that code
# leaves PyTorch its default, by which a GPU computes the convolutions of fp32 numbers so.
# The seeds 1 to 3 of UNet come first, then ResNet18 from random weights (the paper's starts from ImageNet), then plan
# paper on splits that keep patients and duplicates together.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,11p "$0"; exit 2; }
busi=$1 ddti=$2 folder=$(mkdir -p "$3" && cd "$3" && pwd)
shift 3
export htunet_raw=$folder/raw htunet_preprocessed=$folder/preprocessed htunet_results=$folder/results

[ -d "$htunet_raw/Dataset503_BUSI" ] || htunet_convert BUSI "$busi"
[ -d "$htunet_raw/Dataset504_DDTI" ] || htunet_convert DDTI "$ddti"
htunet_plan_and_preprocess -d BUSI DDTI --plan public paper

for seed in 1 2 3; do
    for data in BUSI DDTI; do
        htunet_train $data UNet fold0 --plan public --seed $seed --precision tf32 "$@"
    done
done
htunet_train BUSI ResNet18 fold0 --plan public --task cls --weights random --precision tf32 "$@"
for seed in 1 2 3; do
    htunet_train BUSI UNet fold0 --plan paper --seed $seed --precision tf32 "$@"
done
htunet_evaluate
htunet_tables

export htunet_preprocessed=$folder/preprocessed_by_group htunet_results=$folder/results_by_group
htunet_plan_and_preprocess -d BUSI DDTI --plan public paper --split-by group
for data in BUSI DDTI; do
    for plan in public paper; do
        htunet_train $data UNet fold0 --plan $plan --seed 1 --precision tf32 "$@"
    done
done
htunet_evaluate
htunet_tables

for results in "$folder"/results "$folder"/results_by_group; do
    for run in "$results"/Dataset*/*__*__*/fold_*/seed_*; do
        kept=$folder/kept/${run#"$folder"/}
        mkdir -p "$kept"
        cp "$run"/{settings,finished}.json "$run"/progress.csv "$kept"
        cp "$run"/test/{summary.json,per_case.csv,classes.csv} "$kept" 2>/dev/null || true  # classes or masks
    done
    cp "$results"/tables/{segmentation,classification,means}.csv "$folder/kept/${results##*/}" 2>/dev/null || true
done
echo "Small files of each run: $folder/kept"
