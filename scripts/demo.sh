#!/usr/bin/env bash
# The main job, end to end: data, float twin, W4A6, TernaryNet, export, native evaluation, report. `make demo` calls it.
#   UNETQ_DATA=FOLDER  use the real slices in FOLDER/em/train-volume.tif in place of the phantom
# Everything goes to demo/, which it makes anew.
set -euo pipefail
unetq="${BIN:-.venv/bin}/unetq"
out=demo
started=$SECONDS
step() { printf '\n== %s  [%d s]\n' "$*" $((SECONDS - started)); }

rm -rf "$out"
if [ -n "${UNETQ_DATA:-}" ] && [ -f "$UNETQ_DATA/em/train-volume.tif" ]; then
  data=$UNETQ_DATA
  step "Data: the real EM slices in $data/em"
else
  data=$out/data
  step "Data: phantom EM slices"
  "$unetq" data phantom em "$data/em" --cases 30
fi

step "Train: float, 4-bit weights with 6-bit activations from it, and TernaryNet"
"$unetq" train --dataset em --config demo --data "$data" --quantizer float --out "$out/runs/float"
"$unetq" train --dataset em --config demo --data "$data" --wbits 4 --abits 6 --init-from "$out/runs/float" --out "$out/runs/W4A6"
"$unetq" train --dataset em --config demo --data "$data" --quantizer ternarynet --out "$out/runs/ternarynet"

step "Export, and the same test cases through torch, the numpy reference and the native runtime"
for run in W4A6 ternarynet; do
  "$unetq" export "$out/runs/$run" --out "$out/runs/$run/model.gguf"
  for engine in torch reference native; do
    "$unetq" evaluate "$out/runs/$run" --data "$data" --engine "$engine"
  done
done

step "Report"
"$unetq" report "$out/runs/float" "$out/runs/W4A6" "$out/runs/ternarynet" --out "$out/report"

step "Done"
echo "Report:  $out/report/index.html"
echo "Model:   $out/runs/W4A6/model.gguf  ($unetq info $out/runs/W4A6/model.gguf)"
echo "Viewer:  $unetq view $out/runs"
