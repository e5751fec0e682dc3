#!/bin/sh
# Holds a device against the CPU, and its speed against PyTorch's, in one go: see docs/devices.md, or --help.
#
#   scripts/gpu-check.sh [--device=cuda|webgpu|openvino] [--dry_run] [--python=PY] [--out=DIR] ...
#
# Runs from a checkout with its packages (npm ci), tsx among them. Exit code 1: something is not ok, or did not end.
set -eu
cd "$(dirname "$0")/.."
if [ ! -d node_modules/tsx ]; then
  echo 'error: Cannot check a device: found no node_modules/tsx, expected the packages of this checkout' >&2
  echo '  Run npm ci; where there is no network, bring node_modules with tsx' >&2
  exit 2
fi
exec node --expose-gc --import=tsx scripts/gpu-check/run.ts "$@"
