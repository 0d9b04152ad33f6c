#!/bin/sh
# Fuzzes the model loader (and the runtime with what loads) under the address and undefined-behaviour sanitizers:
#   scripts/fuzz.sh [SECONDS]       300 if none are given
# Needs clang with its fuzzer library (Debian: apt-get install clang libclang-rt-dev) and the project's Python environment.
set -eu
seconds=${1:-300}
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
cmake=$(dirname "$python")/cmake
[ -x "$cmake" ] || cmake=cmake
build=$root/build/fuzz

"$cmake" -S "$root/unetq/native" -B "$build" -DCMAKE_CXX_COMPILER="${CXX:-clang++}" -DUNETQ_PYTHON=OFF -DUNETQ_FUZZ=ON
"$cmake" --build "$build" --parallel 2
"$python" "$root/scripts/make_fuzz_corpus.py" "$build/seeds"
mkdir -p "$build/corpus"
# A finding is written beside the binary; run the binary with that file as its argument to see it again.
cd "$build"
./fuzz_model -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 corpus seeds
