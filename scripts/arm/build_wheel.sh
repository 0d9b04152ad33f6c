#!/bin/bash
# Builds the wheel for 64-bit ARM into dist/ on an x86-64 Debian, and tries it: scripts/arm/build_wheel.sh
# The compiler is Debian's; the tag is what auditwheel finds in the module (with Debian 12's: manylinux_2_35, so for Debian 12,
# Raspberry Pi OS 12, Ubuntu 22.04 and later; its C++ library inside the module would make it 2_36). Python's headers are Debian's for arm64
# (scripts/arm/sysroot.sh), of the version of the project's own Python (Debian 12: 3.11). Then an emulated Python installs and
# runs the wheel: its mask must be that of this machine, byte for byte. Needs g++-aarch64-linux-gnu, qemu-user and the project's
# Python environment.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
abi=cp${version/./}
work=$root/build/arm/wheel
sysroot=$root/build/sysroot/python-aarch64
suffix=.cpython-${version/./}-aarch64-linux-gnu.so

bash "$root/scripts/arm/sysroot.sh" arm64 "$sysroot" --needs "python$version-minimal" "libpython$version-stdlib" \
  "libpython$version-dev" libstdc++6
tools=$work/tools
[ -x "$tools/bin/auditwheel" ] || {
  "$python" -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check auditwheel wheel scikit-build-core pybind11 cmake ninja
}
headers=$work/include/python$version
mkdir -p "$headers"
cp -r "$sysroot/usr/include/python$version/." "$headers"
cp -r "$sysroot/usr/include/aarch64-linux-gnu" "$work/include/"

rm -f "$work"/*.whl
_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=$suffix "$tools/bin/python" -m pip wheel --quiet --no-deps \
  --no-build-isolation --disable-pip-version-check --wheel-dir "$work" "$root" \
  -C build-dir="$work/build" -C cmake.define.CMAKE_SYSTEM_NAME=Linux -C cmake.define.CMAKE_SYSTEM_PROCESSOR=aarch64 \
  -C cmake.define.CMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
  -C cmake.define.CMAKE_CXX_FLAGS="-isystem $work/include" \
  -C cmake.define.PYBIND11_FINDPYTHON=ON -C cmake.define.Python_INCLUDE_DIR="$headers" \
  -C cmake.define.PYTHON_MODULE_EXTENSION="$suffix"
built=$(echo "$work"/unetq-*-linux_aarch64.whl)
"$tools/bin/auditwheel" show "$built" >"$work/audit.txt"
tag=$(grep -oE '"manylinux_[0-9_]+_aarch64"' "$work/audit.txt" | head -n 1 | tr -d '"')
[ -n "$tag" ] || { cat "$work/audit.txt"; echo "auditwheel finds no manylinux tag"; exit 1; }
mkdir -p "$root/dist"
tagged=$("$tools/bin/wheel" tags --remove --platform-tag "$tag" "$built" | tail -n 1)
mv "$work/$tagged" "$root/dist/"

# The cart: nothing but the wheel and what it requires.
cart=$work/cart
rm -rf "$cart"
"$python" -m pip install --quiet --disable-pip-version-check --target "$cart" --only-binary=:all: \
  --implementation cp --python-version "$version" --abi "$abi" --abi abi3 --abi none --platform "$tag" \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  --platform manylinux_2_17_aarch64 "$root/dist/$tagged"
"$python" "$root/scripts/make_sanitizer_cases.py" "$work/cases"
cd "$work/cases"
"$python" -m unetq.cli predict model01.gguf a.nii.gz --out here.nii --json >/dev/null 2>&1
for core in cortex-a72 max; do
  PYTHONPATH=$cart PYTHONDONTWRITEBYTECODE=1 qemu-aarch64 -L "$sysroot" -cpu $core "$sysroot/usr/bin/python$version" -m unetq.cli \
    predict model01.gguf a.nii.gz --out there.nii --json >told.json
  cmp here.nii there.nii
done
echo "dist/$tagged: mask equal to this machine's under emulation"
