#!/usr/bin/env bash
# The table in README and docs/results/em.csv: float, W4A6, W2A2 and TernaryNet on the real EM slices (about half an hour on 2 cores).
#   UNETQ_DATA=FOLDER scripts/em_table.sh [OUT]     FOLDER/em holds train-volume.tif and train-labels.tif
set -euo pipefail
unetq="${BIN:-.venv/bin}/unetq"
out="${1:-runs/em-table}"
train=("$unetq" train --dataset em --data "${UNETQ_DATA:?name the folder with em/train-volume.tif}")
"${train[@]}" --quantizer float --out "$out/float"
"${train[@]}" --wbits 4 --abits 6 --init-from "$out/float" --out "$out/W4A6"
"${train[@]}" --wbits 2 --abits 2 --init-from "$out/float" --out "$out/W2A2"
"${train[@]}" --quantizer ternarynet --out "$out/ternarynet"
for run in W4A6 W2A2 ternarynet; do
  "$unetq" export "$out/$run"
  for engine in native reference torch; do
    "$unetq" evaluate "$out/$run" --data "$UNETQ_DATA" --engine "$engine"
  done
done
"$unetq" report "$out"/{float,W4A6,W2A2,ternarynet} --out "$out/report"
