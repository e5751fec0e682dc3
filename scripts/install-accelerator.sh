#!/bin/sh
# Fetches the libraries that --device=openvino or --device=cuda needs, with pip; no Python runs afterwards.
#
#   scripts/install-accelerator.sh openvino|cuda [--to DIR] [--wheels DIR]
#
#   --to DIR      where to; then runs need --device_dir=DIR. Default: accelerators/<name> in $HIRA_HOME, else in hira in
#                 $XDG_DATA_HOME, else in ~/.local/share/hira, where --device finds it.
#   --wheels DIR  takes the wheels from this folder, and no network; their names and sums are printed where one is missing.
#
# Versions and SHA-256 sums are pinned below. A second call finds what is there and does nothing; a call that was cut off goes on
# with the wheels that it had fetched, which lie in <place>.part until all is done. The folder is there whole or not at all.
set -eu

# A line a package: name, version, SHA-256 of its wheel, MiB of the wheel, MiB of what is kept of it; then what is kept, as patterns.
# The version of onnxruntime-gpu is that of the npm package onnxruntime-node; CUDA's are those of the CUDA that it was built with.
packages_of() {
  case $1 in
    openvino) cat <<'LINES' ;;
openvino 2026.4.1 2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf 57 89 libopenvino.so.* libopenvino_c.so.* libopenvino_intel_cpu_plugin.so libopenvino_onnx_frontend.so.* libtbb.so.* libtbbmalloc.so.* libtbbbind_*.so.* libhwloc.so.*
LINES
    cuda) cat <<'LINES' ;;
onnxruntime-gpu 1.30.0 4fbf0c5d7b5fb99266c2e8a802e3e64af68bdc383e0f3c7349b985f1087eedaa 236 260 libonnxruntime_providers_cuda.so libonnxruntime_providers_shared.so
nvidia-cuda-runtime 13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 3 1 libcudart.so.*
nvidia-cublas 13.1.2.11 e1ad7b57879088bc79e31cc172891a64332f76ae733084d4aaaaa65499b9b3de 404 569 libcublas.so.* libcublasLt.so.*
nvidia-curand 10.4.0.35 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc 57 127 libcurand.so.*
LINES
  esac
}

fail() { # fail MESSAGE HINT
  printf 'error: Cannot install %s: %s\n' "${name:-an accelerator}" "$1" >&2
  if [ -n "${2:-}" ]; then printf '  %s\n' "$2" >&2; fi
  exit 2
}
usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }

# The home folder of what hira installs: hira reads the same variables (src/runtime/devices/place.ts).
default_place() {
  if [ -n "${HIRA_HOME:-}" ]; then home=$HIRA_HOME
  elif [ -n "${XDG_DATA_HOME:-}" ]; then home=$XDG_DATA_HOME/hira
  elif [ -n "${HOME:-}" ]; then home=$HOME/.local/share/hira
  else fail 'found neither HIRA_HOME nor HOME set, expected a folder to install into' 'Give one: --to DIR'
  fi
  printf '%s/accelerators/%s\n' "$home" "$1"
}

# How pip is called here; with `pip download` it must know platforms that are not its own.
find_pip() {
  for candidate in "${PYTHON:-python3} -m pip" "python -m pip" pip3 pip; do
    # shellcheck disable=SC2086  # a command and its arguments
    if command -v ${candidate%% *} >/dev/null 2>&1 && $candidate --version >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail 'found no pip, expected python3 -m pip, pip3 or pip' \
    'Install it (Debian: apt install python3-pip), or fetch the wheels elsewhere and give their folder: --wheels DIR'
}

sum_of() { sha256sum "$1" | cut -d' ' -f1; }

# The wheel of a package and sum in a folder, or nothing.
find_wheel() { # find_wheel FOLDER PACKAGE VERSION SUM
  for wheel in "$1/$(printf %s "$2" | tr - _)-$3-"*.whl; do
    if [ -f "$wheel" ] && [ "$(sum_of "$wheel")" = "$4" ]; then printf '%s\n' "$wheel"; return; fi
  done
}

# Says why pip failed, from what it wrote.
explain_pip() { # explain_pip LOG PACKAGE VERSION
  tail -n 4 "$1" | sed 's/^/  pip: /' >&2
  if grep -qiE 'no space left|errno 28' "$1"; then
    fail "the disk ran full while $2 $3 was fetched" 'Make room and call this again: it goes on where it stopped'
  elif grep -qiE 'do not match the hashes' "$1"; then
    fail "found a wheel of $2 $3 with another SHA-256 sum than the pinned one" 'The index that pip asks serves something else: ask another one (pip --help download, --index-url)'
  elif grep -qiE 'connection|resolution|unreachable|timed out|max retries|proxy' "$1"; then
    fail "found no way to the package index for $2 $3" 'Check the network and proxy and call this again: it goes on where it stopped. Without one: fetch the wheels elsewhere, then --wheels DIR'
  elif grep -qiE 'no such option|unrecognized' "$1"; then
    fail 'found a pip that lacks an option of pip download' 'Update it: python3 -m pip install --upgrade pip'
  fi
  fail "pip download of $2 $3 failed" 'pip told the reason above'
}

# The files of these names in a wheel, without their folders; names that it has not are no fault here.
unpack() { # unpack WHEEL TARGET PATTERN...
  wheel=$1 target=$2
  shift 2
  mkdir -p "$target"
  if command -v unzip >/dev/null 2>&1; then
    for pattern; do
      # unzip's `*` matches slashes too; 11: found none.
      unzip -qqoj "$wheel" "*/$pattern" -d "$target" 2>/dev/null || [ $? -eq 11 ] || return 1
    done
  else
    "${PYTHON:-python3}" - "$wheel" "$target" "$@" <<'PYTHON'
import fnmatch, pathlib, shutil, sys, zipfile
wheel, target, *patterns = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if any(fnmatch.fnmatchcase("/" + name, "*/" + pattern) for pattern in patterns) and not name.endswith("/"):
            with archive.open(name) as source, open(pathlib.Path(target, pathlib.PurePosixPath(name).name), "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
PYTHON
  fi
}

# Whether `installed.txt` of a folder names these packages, and every file it names has its size.
is_whole() { # is_whole FOLDER
  [ -f "$1/installed.txt" ] || return 1
  packages_of "$name" | while read -r package version _; do
    grep -qx "package $package $version" "$1/installed.txt" || exit 1
  done || return 1
  while read -r what file bytes; do
    [ "$what" = file ] || continue
    [ -f "$1/$file" ] && [ "$(($(wc -c <"$1/$file")))" = "$bytes" ] || return 1
  done <"$1/installed.txt"
}

name= place= given= wheels=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --to=*) given=${1#*=} ;;
    --wheels=*) wheels=${1#*=} ;;
    --to | --wheels)
      [ $# -ge 2 ] || fail "found $1 without a folder" "Give one: $1 DIR"
      if [ "$1" = --to ]; then given=$2; else wheels=$2; fi
      shift ;;
    openvino | cuda) name=$1 ;;
    *) fail "found \"$1\", expected openvino or cuda, and --to DIR or --wheels DIR" "$(usage | sed -n 3p)" ;;
  esac
  shift
done
[ -n "$name" ] || fail 'found no name, expected openvino or cuda' "$(usage | sed -n 3p)"

platform=$(uname -s)-$(uname -m)
[ "$platform" = Linux-x86_64 ] || fail "found $platform, expected Linux-x86_64" \
  'hira loads these libraries on Linux x86_64 alone; --device=cpu works everywhere, --device=webgpu needs no installation'
if command -v ldd >/dev/null 2>&1 && ldd --version 2>&1 | grep -qi musl; then
  fail 'found musl, expected glibc' 'The libraries are built for glibc: use Debian, Ubuntu, Fedora and the like'
fi

place=${given:-$(default_place "$name")}
use="--device=$name${given:+ --device_dir=$given}"
if is_whole "$place"; then
  echo "Found $name in $place: $(sed -n 's/^package //p' "$place/installed.txt" | tr '\n' ',' | sed 's/,$//; s/,/, /g'). Use it: $use"
  exit 0
fi
if [ -e "$place" ] && [ ! -f "$place/installed.txt" ] && [ -n "$(ls -A "$place" 2>/dev/null)" ]; then
  fail "found $place with other content, expected an empty folder or an earlier installation" 'Remove it, or give another: --to DIR'
fi

# What is still missing, in MiB: wheels that are not here, and what is kept of all of them.
part=$place.part
mkdir -p "$part/wheels" 2>/dev/null || fail "found no way to make the folder $part" 'Give another place: --to DIR'
needed=$(packages_of "$name" | while read -r package version sum packed kept _; do
  [ -n "$(find_wheel "${wheels:-$part/wheels}" "$package" "$version" "$sum")" ] && packed=0
  echo $((packed + kept))
done | awk '{ sum += $1 } END { print sum + 16 }')
# A file system that does not say has room.
free=$(df -Pk "$part" 2>/dev/null | awk 'NR == 2 && $4 ~ /^[0-9]+$/ { print int($4 / 1024) }')
[ "${free:-$needed}" -ge "$needed" ] || fail "found $free MiB free on the disk of $place, expected $needed" 'Make room, or give another place: --to DIR'

pip=
[ -n "$wheels" ] || pip=$(find_pip) || exit 2
command -v unzip >/dev/null 2>&1 || command -v "${PYTHON:-python3}" >/dev/null 2>&1 ||
  fail 'found neither unzip nor python3, expected one of them' 'Install one (Debian: apt install unzip)'

rm -rf "$part/new"
mkdir -p "$part/new"
packages_of "$name" >"$part/packages"
while read -r package version sum packed kept patterns; do
  wheel=$(find_wheel "${wheels:-$part/wheels}" "$package" "$version" "$sum")
  if [ -z "$wheel" ] && [ -n "$wheels" ]; then
    fail "found no wheel of $package $version in $wheels, expected one of SHA-256 sum $sum" \
      "Fetch it where there is a network: pip download --no-deps --only-binary=:all: --python-version=3.11 --platform=manylinux_2_28_x86_64 --platform=manylinux_2_27_x86_64 --platform=manylinux2014_x86_64 $package==$version"
  fi
  if [ -z "$wheel" ]; then
    echo "Fetching $package $version ($packed MiB)"
    echo "$package==$version --hash=sha256:$sum" >"$part/requirements.txt"
    # One Python's wheels for every machine: only the libraries in them are used, and sums can be pinned.
    # shellcheck disable=SC2086  # a command and its arguments
    $pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
      --implementation cp --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
      --platform manylinux2014_x86_64 -d "$part/wheels" -r "$part/requirements.txt" \
      >"$part/pip.log" 2>&1 </dev/null || explain_pip "$part/pip.log" "$package" "$version"
    wheel=$(find_wheel "$part/wheels" "$package" "$version" "$sum")
    [ -n "$wheel" ] || fail "pip brought no wheel of $package $version with SHA-256 sum $sum" "Remove $part and call this again"
  fi
  # Patterns are for the wheel, not for this folder.
  set -f
  # shellcheck disable=SC2086  # words
  set -- $patterns
  set +f
  unpack "$wheel" "$part/new" "$@" </dev/null || fail "could not unpack $wheel" "Is the disk full? Else remove $part and call this again"
  for pattern; do
    [ -n "$(find "$part/new" -maxdepth 1 -name "$pattern")" ] || fail "found no $pattern in $wheel, expected one" "Remove $part and call this again"
  done
  unpack "$wheel" "$part/new/licenses/$package" 'LICENSE*' 'License*' '*otices.txt' '*third-party-programs.txt' </dev/null || true
  echo "package $package $version" >>"$part/new/installed.txt"
done <"$part/packages"

for file in "$part/new"/lib*; do
  # A shared object begins so; a file of that name from elsewhere would be loaded all the same.
  [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || fail "found $(basename "$file") is no library" "Remove $part and call this again"
  echo "file $(basename "$file") $(($(wc -c <"$file")))" >>"$part/new/installed.txt"
done
rm -rf "$place"
mv "$part/new" "$place"
rm -rf "$part"
is_whole "$place" || fail "found $place incomplete after it was written" 'Call this again'
echo "Installed $name in $place ($(du -sm "$place" | cut -f1) MiB). Use it: $use"
