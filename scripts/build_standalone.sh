#!/bin/sh
# Builds the standalone command as build/PRESET/unetq-run: scripts/build_standalone.sh [run | aarch64 | armv7]
#   run      for this machine (the default); needs a C++17 compiler, CMake and zlib's static library (Debian: apt-get
#            install g++ cmake zlib1g-dev)
#   aarch64  for 64-bit ARM; needs g++-aarch64-linux-gnu in place of g++
#   armv7    for 32-bit ARM; needs g++-arm-linux-gnueabihf
# For ARM, zlib is Debian's own package of that architecture, unpacked into build/sysroot (scripts/arm/sysroot.sh).
# All are static, and need nothing but the kernel of a Linux.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
preset=${1:-run}
cmake=$root/.venv/bin/cmake
[ -x "$cmake" ] || cmake=cmake
case $preset in
  run) ;;
  aarch64) bash "$root/scripts/arm/sysroot.sh" arm64 "$root/build/sysroot/aarch64" zlib1g-dev ;;
  armv7) bash "$root/scripts/arm/sysroot.sh" armhf "$root/build/sysroot/armv7" zlib1g-dev ;;
  *) echo "There is no preset $preset; use run, aarch64 or armv7." >&2 && exit 2 ;;
esac
"$cmake" -S "$root/unetq/native" --preset "$preset"
"$cmake" --build "$root/build/$preset" --parallel 2 --target unetq-run
