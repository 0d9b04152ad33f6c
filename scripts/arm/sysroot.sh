#!/bin/bash
# Unpacks Debian packages of another architecture into a folder: scripts/arm/sysroot.sh ARCHITECTURE FOLDER [--needs] PACKAGE...
#   --needs  with all that the packages need
# The machine's own package sources, whose signatures apt checks, through a private state of apt: the architectures of the
# machine's own dpkg stay as they are. Does nothing where the folder has the packages already.
set -euo pipefail
architecture=$1
folder=$(realpath -m "$2")
shift 2
needs=
if [ "$1" = --needs ]; then needs=yes && shift; fi
stamp=$folder/.unpacked
[ "$(cat "$stamp" 2>/dev/null)" != "$architecture $needs $*" ] || exit 0
command -v apt-get >/dev/null || { echo "sysroot.sh needs apt-get: it unpacks Debian's packages." >&2 && exit 2; }
rm -rf "$folder"
mkdir -p "$folder"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/lists/partial "$state"/cache/archives/partial
touch "$state/status"
cat >"$state/apt.conf" <<S
APT::Architecture "$architecture"; APT::Architectures "$architecture"; APT::Install-Recommends "0";
APT::Sandbox::User ""; Acquire::Languages "none"; Debug::NoLocking "1"; Acquire::Retries "2";
Dir::State "$state"; Dir::State::lists "$state/lists"; Dir::State::status "$state/status"; Dir::Cache "$state/cache";
S
export APT_CONFIG=$state/apt.conf
# A mirror that is being renewed lacks one list for a while; whether the packages are to be had is what counts.
apt-get update -qq || echo "sysroot.sh: not every list of packages could be read" >&2
if [ -n "$needs" ]; then
  apt-get install -y -qq --download-only "$@" >/dev/null
else
  (cd "$state/cache/archives" && apt-get download -qq "$@")
fi
for package in "$state"/cache/archives/*.deb; do dpkg -x "$package" "$folder"; done
echo "$architecture $needs $*" >"$stamp"
