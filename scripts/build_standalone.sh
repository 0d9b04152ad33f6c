#!/bin/sh
# Builds the standalone command: scripts/build_standalone.sh [FOLDER]     build/run/unetq-run if none is given
# Needs a C++17 compiler, CMake and zlib's static library (Debian: apt-get install g++ cmake zlib1g-dev).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/build/run}
cmake=$root/.venv/bin/cmake
[ -x "$cmake" ] || cmake=cmake
"$cmake" -S "$root/unetq/native" -B "$folder" -DUNETQ_PYTHON=OFF -DUNETQ_RUN=ON
"$cmake" --build "$folder" --parallel 2 --target unetq-run
