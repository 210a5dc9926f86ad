#!/bin/bash
# fuzz.sh BUILD_FOLDER RUNS: gives every libFuzzer target of a build the same fixed number of inputs.
#
# Target tests/fuzz/fuzz_NAME.c is the program fuzz_NAME. Its seeds, if it has any, lie in tests/fuzz/seeds/NAME/,
# its dictionary in tests/fuzz/NAME.dict. An input that fails is written to BUILD_FOLDER/found/.
# The seed of the random numbers is fixed, so two runs try the same inputs; fuzz for longer by calling a
# target by hand.
set -euo pipefail

cd "$(dirname "$0")/.."
build=$1
runs=$2
found=$build/found
mkdir -p "$found"

passed=0
failed=0
while IFS= read -r target; do
    name=$(basename "$target")
    name=${name#fuzz_}
    arguments=(-runs="$runs" -seed=1 -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$found/$name-")
    [ -f "tests/fuzz/$name.dict" ] && arguments+=(-dict="tests/fuzz/$name.dict")
    # New inputs of interest go to the first folder, which is thrown away with the build.
    corpus=$build/corpus/$name
    mkdir -p "$corpus"
    arguments+=("$corpus")
    [ -d "tests/fuzz/seeds/$name" ] && arguments+=("tests/fuzz/seeds/$name")
    if "$target" "${arguments[@]}" >"$found/$name.log" 2>&1; then
        echo "fuzz $name: passed ($runs inputs)"
        passed=$((passed + 1))
    else
        echo "fuzz $name: failed; the end of $found/$name.log:"
        tail -n 30 "$found/$name.log"
        failed=$((failed + 1))
    fi
done < <(find "$build" -type f -name 'fuzz_*' -executable | sort)

echo "fuzz: $passed passed, $failed failed"
if [ $((passed + failed)) -eq 0 ]; then
    echo "fuzz.sh: $build: no program named fuzz_*; build the preset \"fuzz\" first" >&2
    exit 1
fi
[ "$failed" -eq 0 ]
