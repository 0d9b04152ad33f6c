#!/bin/bash
# The runtime on ARM, without ARM: scripts/arm/test.sh [MODEL...]        MODEL: trained model files to compare as well
# Cross-builds unetq-run, and runs it under qemu as the cores of a cart:
#   - the self-test: every kernel that the core has against the scalar reference,
#   - whole networks, made up and trained (W4A6, W2A2, TernaryNet on a phantom, for seconds), with every instruction set
#     forced: logits are those of the numpy reference, masks those of x86, byte for byte; an instruction set that the core
#     lacks is refused,
#   - the C interface from two threads, and the documentation's C example,
#   - clang-tidy of the kernels for ARM,
#   - the self-test under the address and undefined-behaviour sanitizers (64 bits).
# Needs g++-aarch64-linux-gnu, g++-arm-linux-gnueabihf, qemu-user and the project's Python environment. JOBS=1: one at a time.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
cmake=$root/.venv/bin/cmake
[ -x "$cmake" ] || cmake=cmake
work=$root/build/arm
warnings="-std=c99 -D_POSIX_C_SOURCE=200809L -O2 -Wall -Wextra -Wpedantic -Werror"

# Preset, emulator, core, and its instruction sets: the last one is chosen by itself.
cores() {
  cat <<T
aarch64 qemu-aarch64 cortex-a53 scalar neon
aarch64 qemu-aarch64 cortex-a72 scalar neon
aarch64 qemu-aarch64 cortex-a76 scalar neon dotprod
aarch64 qemu-aarch64 max scalar neon dotprod i8mm
armv7 qemu-arm cortex-a7 scalar armv7
armv7 qemu-arm cortex-a15 scalar armv7
T
}

quietly() {
  "$@" >"$work/build-$$.log" 2>&1 || { cat "$work/build-$$.log"; exit 1; }
  rm "$work/build-$$.log"
}

# The C programs of a preset, linked as a user would.
programs() {
  local preset=$1 compiler=$2
  for source in tests/native/logits.c tests/native/two_models.c docs/examples/segment.c; do
    "$compiler" $warnings -I "$root/unetq/native/include" "$root/$source" "$root/build/$preset/libunetq_runtime.a" \
      -static -lstdc++ -lm -pthread -o "$work/$preset-$(basename "$source" .c)"
  done
}

build() {
  quietly sh "$root/scripts/build_standalone.sh"
  quietly sh "$root/scripts/build_standalone.sh" aarch64
  quietly sh "$root/scripts/build_standalone.sh" armv7
  quietly "$cmake" -S "$root/unetq/native" --preset aarch64 -B "$work/sanitized" -DUNETQ_SANITIZE=address,undefined
  quietly "$cmake" --build "$work/sanitized" --parallel 2 --target unetq-run
  programs aarch64 aarch64-linux-gnu-gcc
  programs armv7 arm-linux-gnueabihf-gcc
  for preset in aarch64 armv7; do
    local bytes
    bytes=$(stat -c %s "$root/build/$preset/unetq-run")
    [ "$bytes" -lt $((3 << 20)) ] || { echo "$preset/unetq-run has $bytes bytes"; exit 1; }
    echo "$preset: unetq-run has $bytes bytes, static"
  done
}

cases() {
  rm -rf "$work/cases"
  "$python" "$root/scripts/make_sanitizer_cases.py" "$work/cases"
  "$python" "$root/scripts/arm/make_cases.py" "$work/cases" "$@"
  quietly "$python" "$root/scripts/arm/make_trained.py" "$work/cases"
  cd "$work/cases"
  while read -r model study mask; do
    "$root/build/run/unetq-run" "$model" "$study" "true-$mask" --threads 1 2>/dev/null
  done <cases.txt
  for mask in reference-*; do
    cmp "$mask" "true-${mask#reference-}"
  done
}

# One core of the list above.
core() {
  local preset=$1 emulator=$2 core=$3 run="$2 -cpu $3" begin=$SECONDS
  shift 3
  local folder=$work/run-$core command=$root/build/$preset/unetq-run
  rm -rf "$folder" && mkdir -p "$folder" && cd "$work/cases"
  $run "$command" --self-test >"$folder/self-test.txt" || { cat "$folder/self-test.txt"; exit 1; }
  for isa in "$@" ""; do
    while read -r name shape; do
      UNETQ_ISA=$isa $run "$work/$preset-logits" "$name.gguf" $shape 2 <"$name.image" >"$folder/logits"
      cmp "$folder/logits" "$name.logits"
    done <logits.txt
  done
  while read -r model study mask; do
    $run "$command" "$model" "$study" "$folder/$mask" --threads 2 --json >"$folder/told.json" 2>/dev/null
    cmp "$folder/$mask" "true-$mask"
    grep -q "\"isa\": \"${!#}\"" "$folder/told.json"
  done <cases.txt
  $run "$work/$preset-two_models" W4A6.gguf W2A2.gguf | grep -qx "0 failures"
  $run "$work/$preset-segment" W4A6.gguf 45 53 <W4A6.image 2>/dev/null | head -c 14 | grep -q 53
  for isa in scalar neon dotprod i8mm armv7 avx2; do
    case " $* " in *" $isa "*) continue ;; esac
    local code=0
    UNETQ_ISA=$isa $run "$command" W4A6.gguf b.npy "$folder/none.npy" 2>"$folder/error" || code=$?
    [ "$code" = 2 ] && grep -q "UNETQ_ISA" "$folder/error" || { echo "$core: $isa is not refused"; exit 1; }
  done
  echo "$core: $*; $(tail -n 1 "$folder/self-test.txt") $((SECONDS - begin)) s"
}

sanitized() {
  local begin=$SECONDS
  ASAN_OPTIONS=detect_leaks=0 qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu max "$work/sanitized/unetq-run" --self-test \
    >"$work/sanitized.txt" 2>&1 || { tail -n 40 "$work/sanitized.txt"; exit 1; }
  echo "sanitized: $(tail -n 1 "$work/sanitized.txt") $((SECONDS - begin)) s"
}

case ${1:-} in
  core | sanitized) "$@" && exit ;;
esac
for tool in aarch64-linux-gnu-g++ arm-linux-gnueabihf-g++ qemu-aarch64 qemu-arm; do
  command -v "$tool" >/dev/null || { echo "scripts/arm/test.sh needs $tool" >&2; exit 2; }
done
mkdir -p "$work"
build
cases "$@"
quietly bash "$root/scripts/arm/tidy.sh"
{ echo sanitized; cores | sed 's/^/core /'; } | xargs -P "${JOBS:-2}" -L 1 bash "$root/scripts/arm/test.sh"
echo "ARM: everything is equal, in $SECONDS s"
