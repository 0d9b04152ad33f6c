#!/bin/bash
# clang-tidy of the kernels for ARM, as 64-bit ARM compiles them: scripts/arm/tidy.sh, after scripts/build_standalone.sh aarch64
# (`make lint` checks what this machine compiles). Without the analyzer, which takes minutes for unrolled loops of intrinsics.
# Needs the cross compiler's headers and the project's Python environment.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tidy=$root/.venv/bin/clang-tidy
[ -x "$tidy" ] || tidy=clang-tidy
cd "$root"
ls unetq/native/kernels/arm/*.cc | xargs -P "${JOBS:-2}" -n 3 "$tidy" --quiet --checks="-clang-analyzer-*" -p build/aarch64
