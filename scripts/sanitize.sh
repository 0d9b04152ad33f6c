#!/bin/sh
# Runs the standalone command, and with it the runtime and its kernels of every instruction set, under the sanitizers of
# addresses, undefined behaviour and threads, and compares its masks with those of the plain build:
#   scripts/sanitize.sh
# Needs what scripts/build_standalone.sh needs, and the project's Python environment for the models. Takes some 2 minutes.
set -eu
export UNETQ_TIMINGS=off
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
cmake=$root/.venv/bin/cmake
[ -x "$cmake" ] || cmake=cmake
work=$root/build/sanitize
rm -rf "$work/cases"
"$python" "$root/scripts/make_sanitizer_cases.py" "$work/cases"
sh "$root/scripts/build_standalone.sh" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }

isas=$("$python" -c 'from unetq import _native; print(*_native.isas())')
# AVX-VNNI as it is where the CPU has it, else in the encoding of AVX-512.
evex=OFF
case $isas in
  *avxvnni*) ;;
  *avx512vnni*) evex=ON isas="scalar avx2 avxvnni ${isas#scalar avx2 }" ;;
esac

build() {
  "$cmake" -S "$root/unetq/native" -B "$work/$1" -DUNETQ_PYTHON=OFF -DUNETQ_RUN=ON -DUNETQ_SANITIZE="$2" \
    -DUNETQ_AVXVNNI_BY_EVEX=$evex \
    >"$work/build.log" 2>&1 &&
    "$cmake" --build "$work/$1" --parallel 2 --target unetq-run >>"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
}
build address address,undefined
build thread thread

cd "$work/cases"
# What the first build says is the truth; every other build, instruction set and number of threads has to agree.
while read -r model study mask; do
  "$root/build/run/unetq-run" "$model" "$study" "true-$mask" --threads 1 2>/dev/null
done <cases.txt
# Threads share out the same work whatever the kernel: there one instruction set will do.
for run in "address 1 $isas" "address 2 $isas" "thread 3 ${isas##* }"; do
  set -- $run
  build=$1 threads=$2
  shift 2
  for isa; do
    while read -r model study mask; do
      UNETQ_ISA=$isa "$work/$build/unetq-run" "$model" "$study" "$mask" --threads "$threads" 2>errors.txt ||
        { cat errors.txt; echo "$build $isa $model $study failed"; exit 1; }
      cmp "$mask" "true-$mask"
    done <cases.txt
    echo "$build, $isa, $threads threads: $(wc -l <cases.txt) masks"
  done
done
# Tuning runs every kernel that could do a layer, not the preferred one only.
while read -r model study mask; do
  UNETQ_TIMINGS=$work/timings.txt "$work/address/unetq-run" "$model" "$study" "$mask" --tune --threads 2 2>errors.txt ||
    { cat errors.txt; echo "tuning for $model $study failed"; exit 1; }
  cmp "$mask" "true-$mask"
done <cases.txt
echo "address, tuned: $(wc -l <cases.txt) masks"
# Two models in two threads, with all memory and with less: packed skips, lower strips.
for sanitizer in thread address,undefined; do
  cc -fsanitize=$sanitizer -g -O1 -std=c99 -D_POSIX_C_SOURCE=200809L -I "$root/unetq/native/include" \
    "$root/tests/native/two_models.c" "$work/${sanitizer%%,*}/libunetq_runtime.a" -lstdc++ -lm -pthread -o "$work/two_models"
  "$work/two_models" model00.gguf model22.gguf
done
# What is no model and no image is refused, not followed out of bounds.
for study in a.nii.gz b.npy c.pgm; do
  for bytes in 1 9 60 200 345 1000; do
    head -c "$bytes" "$study" >"cut-$study"
    code=0
    "$work/address/unetq-run" model00.gguf "cut-$study" "cut-mask-$study" 2>errors.txt || code=$?
    [ "$code" = 2 ] && [ "$(wc -l <errors.txt)" = 1 ] || { cat errors.txt; echo "cut-$study: code $code"; exit 1; }
  done
done
echo "sanitizers found nothing"
