#!/usr/bin/env bash
# The tables and plots in docs/results: settings on the three data sets, one protocol; resumable. A seed of the default settings takes
# hours on 2 cores, minutes on a GPU.
#   UNETQ_DATA=FOLDER [DATASETS=em,gm,nih] [SETTINGS=float,W4A6,...] [SEEDS=3] scripts/results.sh [OUT]     FOLDER holds em/, gm/ and nih/
# What is measured is kept in docs/results/runs (scripts/records.py) and is not trained again, whichever machine goes on. Only
# numbers and plots are kept: the report's pictures of the studies stay in OUT.
set -euo pipefail
bin="${BIN:-.venv/bin}"
out="${1:-runs/results}"
: "${UNETQ_DATA:?name the folder with em/, gm/ and nih/}"
mkdir -p "$out" docs/results/runs
cp -rn docs/results/runs/. "$out"
"$bin/unetq" sweep --dataset "${DATASETS:-em,gm,nih}" --settings "${SETTINGS:-float,W8A8,W6A6,W4A6,W4A4,W3A3,W2A4,W2A2,ternarynet,binary}" \
  --seeds "${SEEDS:-3}" --out "$out" ${WORKERS:+--workers "$WORKERS" --threads 1}
# The promise beside the table: the exported network through the native runtime, the numpy reference and torch. On the small set.
for run in "$out"/em/*-s0; do
  if [[ "$run" == */float-* || ! -f "$run/best.pt" ]]; then continue; fi
  "$bin/unetq" export "$run"
  for engine in native reference torch; do "$bin/unetq" evaluate "$run" --engine "$engine"; done
done
"$bin/python" scripts/records.py "$out" docs/results/runs
"$bin/unetq" report docs/results/runs/*/* --out "$out/report"
cp "$out"/report/{table.csv,runs.csv} "$out"/report/pareto*.svg docs/results/
