#!/bin/bash
# ctest.sh PRESET [ARGUMENT...]: runs the tests of one preset.
#
# TOMO_REFERENCE and TOMO_DATA may be relative to where the command was typed; the tests run in the build
# folder, so they are made absolute here.
set -euo pipefail

for name in TOMO_REFERENCE TOMO_DATA; do
    if [ -n "${!name:-}" ]; then
        folder=${!name}
        if [ ! -d "$folder" ]; then
            echo "ctest.sh: $folder: no such folder; $name must name one" >&2
            exit 2
        fi
        export "$name=$(cd "$folder" && pwd)"
    fi
done
cd "$(dirname "$0")/.."
preset=$1
shift
exec ctest --preset "$preset" --no-tests=error "$@"
