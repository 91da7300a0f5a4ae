#!/bin/bash
# Trains and evaluates the study; the same command goes on where it was interrupted. See README.md.
#
#   bash experiments/physics_first/run.sh WEIGHTS [OPTIONS of fit]
set -euo pipefail

[[ -f ${1:-} ]] || { echo "error: give a file with the weights of dinov2_small: $0 WEIGHTS" >&2; exit 2; }
weights=$1
shift
study=experiments/physics_first
run="${PYTHON:-.venv/bin/python} -m fm_unroll"

$run data synthesize --root data/physics_first --size small --hearts 16 --knees 12 --heads 12 --workers 2
for seed in 0 1 2; do
    for physics in paper anchored; do
        for method in unet trained random none; do
            given=()
            [[ $method != trained ]] || given=(--model.weights "$weights")
            $run fit --resume --config "$study/$method.yaml" --model.physics "$physics" --seed_everything "$seed" \
                --trainer.default_root_dir "runs/physics_first/$physics/$method/seed$seed" "${given[@]}" "$@"
        done
    done
done
$run cross-domain --config "$study/cross_domain.yaml"
