#!/bin/bash
# Tests of the runtime and of predict on the wheel for 64-bit ARM, in an emulated Python without torch:
#   scripts/arm/test_wheel.sh [TEST...]       TEST: as pytest takes them, in place of those below
# Runs on what scripts/arm/build_wheel.sh leaves. The tests are copied, so that what they import is the wheel.
# CORE=cortex-a72 (another core of qemu's).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cart=$root/build/arm/wheel/cart
sysroot=$root/build/sysroot/python-aarch64
tools=$root/build/arm/wheel/pytest
here=$root/build/arm/wheel/here
[ -d "$cart/unetq" ] || { echo "scripts/arm/test_wheel.sh tests what scripts/arm/build_wheel.sh builds: run that first." >&2; exit 2; }
[ -d "$tools/pytest" ] || "$python" -m pip install --quiet --disable-pip-version-check --target "$tools" --only-binary=:all: \
  --implementation cp --python-version "$version" --abi "cp${version/./}" --abi abi3 --abi none --platform manylinux_2_28_aarch64 \
  --platform manylinux_2_17_aarch64 pytest hypothesis gguf
rm -rf "$here"
mkdir -p "$here"
cp -r "$root/tests" "$here/"
rm "$here/tests/runtime/conftest.py"  # sets torch's threads
cd "$here"
[ $# -gt 0 ] || set -- tests/runtime/test_{explain,model,packing,predict,scores}.py
# What the wheel needs comes first: pytest's own folder has numpy too.
PYTHONPATH=$cart:$tools PYTHONDONTWRITEBYTECODE=1 qemu-aarch64 -L "$sysroot" -cpu "${CORE:-cortex-a72}" \
  "$sysroot/usr/bin/python$version" -m pytest -q -p no:cacheprovider --hypothesis-profile=ci "$@"  # no deadlines
