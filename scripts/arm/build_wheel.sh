#!/bin/bash
# Builds the wheel for 64-bit ARM into dist/ on an x86-64 Debian, and tries it: scripts/arm/build_wheel.sh
# The compiler is zig's clang (PyPI: ziglang) with the symbols of glibc 2.28, so that the wheel runs on Debian 10, Ubuntu
# 18.10, RHEL 8 and later; its tag is what auditwheel finds. Python's headers are Debian's for arm64 (scripts/arm/sysroot.sh),
# of the version of the project's own Python (Debian 12: 3.11). Then an emulated Python installs and runs the wheel: its mask
# must be that of this machine, byte for byte. Needs qemu-user and the project's Python environment.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
abi=cp${version/./}
work=$root/build/arm/wheel
sysroot=$root/build/sysroot/python-aarch64
suffix=.cpython-${version/./}-aarch64-linux-gnu.so
glibc=2.28

bash "$root/scripts/arm/sysroot.sh" arm64 "$sysroot" --needs "python$version-minimal" "libpython$version-stdlib" \
  "libpython$version-dev" libstdc++6
tools=$work/tools
[ -x "$tools/bin/auditwheel" ] || {
  "$python" -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check ziglang auditwheel wheel
}
printf '#!/bin/sh\nexec "%s" -m ziglang c++ -target aarch64-linux-gnu.%s "$@"\n' "$tools/bin/python" "$glibc" >"$tools/c++"
printf '#!/bin/sh\nexec "%s" -m ziglang ar "$@"\n' "$tools/bin/python" >"$tools/ar"
printf '#!/bin/sh\nexec "%s" -m ziglang ranlib "$@"\n' "$tools/bin/python" >"$tools/ranlib"
chmod +x "$tools"/{c++,ar,ranlib}
headers=$work/include/python$version
mkdir -p "$headers"
cp -r "$sysroot/usr/include/python$version/." "$headers"
cp -r "$sysroot/usr/include/aarch64-linux-gnu" "$work/include/"

rm -f "$work"/*.whl
_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=$suffix "$python" -m pip wheel --quiet --no-deps \
  --no-build-isolation --disable-pip-version-check --wheel-dir "$work" "$root" \
  -C build-dir="$work/build" -C cmake.define.CMAKE_SYSTEM_NAME=Linux -C cmake.define.CMAKE_SYSTEM_PROCESSOR=aarch64 \
  -C cmake.define.CMAKE_CXX_COMPILER="$tools/c++" -C cmake.define.CMAKE_AR="$tools/ar" \
  -C cmake.define.CMAKE_RANLIB="$tools/ranlib" -C cmake.define.CMAKE_CXX_FLAGS="-isystem $work/include" \
  -C cmake.define.PYTHON_INCLUDE_DIR="$headers" -C cmake.define.Python_INCLUDE_DIR="$headers" \
  -C cmake.define.PYTHON_MODULE_EXTENSION="$suffix" -C cmake.define.PYTHON_IS_DEBUG=0
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
"$root/.venv/bin/unetq" predict model01.gguf a.nii.gz --out here.nii --json >/dev/null 2>&1
for core in cortex-a72 max; do
  PYTHONPATH=$cart PYTHONDONTWRITEBYTECODE=1 qemu-aarch64 -L "$sysroot" -cpu $core "$sysroot/usr/bin/python$version" -m unetq.cli \
    predict model01.gguf a.nii.gz --out there.nii --json >told.json
  cmp here.nii there.nii
done
echo "dist/$tagged: mask equal to this machine's under emulation"
