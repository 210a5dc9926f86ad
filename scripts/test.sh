#!/bin/bash
# test.sh: everything that "make test" promises, in one go.
#
# Builds release and asan, runs all tests of both, fuzzes every parser with a fixed number of inputs, and
# checks the finished command from outside. Goes on after a failed step (unless what it needs is missing), so
# that one run shows everything; ends with the closing lines of both test runs and one line of summary.
#
#   TOMO_REFERENCE  another folder of reference cases in the layout of tests/reference
#   TOMO_DATA       another folder of scans (default tests/data)
#   STRICT=1        cases that are skipped count as failures
#   JOBS, FUZZ_RUNS
set -euo pipefail

jobs=${JOBS:-$(nproc)}
fuzz_runs=${FUZZ_RUNS:-5000}
reference=${TOMO_REFERENCE:-}
data=${TOMO_DATA:-}
[ -n "$reference" ] && reference=$(cd "$reference" && pwd)
[ -n "$data" ] && data=$(cd "$data" && pwd)
cd "$(dirname "$0")/.."
root=$PWD
reference=${reference:-$root/tests/reference}
data=${data:-$root/tests/data}
export TOMO_REFERENCE=$reference TOMO_DATA=$data

# Old sanitizer runtimes do not find room for their shadow when addresses are drawn from more than 28 bits, and die at
# random; where the system allows it, everything runs without drawing.
drawn_bits=$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28)
if [ "$drawn_bits" -gt 28 ] && setarch -R true 2>/dev/null && [ -z "${TOMO_NOT_DRAWN:-}" ]; then
    TOMO_NOT_DRAWN=1 exec setarch -R "$root/scripts/test.sh" "$@"
fi

# With a full disk dozens of tests fail, each for a reason that reads like its own.
needed_mb=2500
free_mb=$(df -Pm "$root" | awk 'NR == 2 {print $4}')
if [ "$free_mb" -lt "$needed_mb" ]; then
    echo "make test: $root: $free_mb MB of disk are free; $needed_mb are wanted" >&2
    exit 1
fi

logs=$root/build/test-logs
mkdir -p "$logs"
rm -f "$logs"/*.log # what is shown below is of this run
built=() # presets
summary=()
failed=() # steps
failures=0

# step NAME COMMAND...: runs one step, keeps its output as a log too, and notes how it ended.
step() {
    local name=$1 status=0 start=$SECONDS
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$logs/$name.log" || status=$?
    if [ "$status" -eq 0 ]; then
        summary+=("$name ok ($((SECONDS - start)) s)")
    else
        summary+=("$name FAILED ($((SECONDS - start)) s)")
        failures=$((failures + 1))
        failed+=("$name")
    fi
    return "$status"
}

build() {
    cmake --preset "$1" && cmake --build --preset "$1" -j "$jobs"
}

# check_binary PRESET: the command of one build as a user meets it.
check_binary() {
    local tomo=$root/build/$1/cli/tomo status=0
    python3 tests/outside/check_trace.py "$tomo" "$reference" "$data" || status=1
    python3 tests/outside/check_eval.py "$tomo" "$reference" || status=1
    python3 tests/outside/check_variants.py "$tomo" "$reference" || status=1
    bash tests/outside/check_cli.sh "$tomo" "$reference" "$data" || status=1
    return "$status"
}

# kernel_paths: the parity tests on every path that this CPU runs, forced one by one; says which it cannot.
kernel_paths() {
    local flags path status=0
    flags=$(grep -m1 '^flags' /proc/cpuinfo || true)
    for path in generic avx2 avx512 amx; do
        case $path in
            avx2) [[ $flags == *" avx2"* && $flags == *" fma"* ]] || path="" ;;
            amx) [[ $flags == *" amx_bf16"* && $flags == *" amx_int8"* ]] || path="" ;;
            avx512) [[ $flags == *" avx512f"* && $flags == *" avx512bw"* && $flags == *" avx512vl"* ]] || path="" ;;
        esac
        if [ -n "$path" ]; then
            echo "-- kernels: $path"
            TOMO_KERNELS=$path scripts/ctest.sh release -L parity -j "$jobs" || status=1
        else
            echo "-- a path that this CPU cannot run is left out (see the flags in /proc/cpuinfo)"
        fi
    done
    for flag in avx512_bf16 avx512_vnni amx_bf16; do
        [[ $flags == *" $flag"* ]] || echo "-- no $flag on this CPU: its packed products were not run"
    done
    return "$status"
}

# The BERTScore cases need a model that is too large for the repository.
scripts/fetch-bert.sh || true

is_built() {
    [[ " ${built[*]} " == *" $1 "* ]]
}

for preset in release asan; do
    if step "build-$preset" build "$preset"; then
        built+=("$preset")
        step "test-$preset" scripts/ctest.sh "$preset" -j "$jobs" || true
    fi
done
if step build-fuzz build fuzz; then
    step fuzz scripts/fuzz.sh build/fuzz "$fuzz_runs" || true
fi
for preset in release asan; do
    if is_built "$preset"; then
        step "outside-$preset" check_binary "$preset" || true
    else
        summary+=("outside-$preset FAILED (not built)")
        failures=$((failures + 1))
    fi
done

step map python3 scripts/make_map.py --check || true
if is_built release; then
    step kernel-paths kernel_paths || true
    step train python3 tests/outside/check_train.py build/release/cli/tomo "$reference" || true
    step study python3 tests/outside/check_study.py build/release/cli/tomo || true
fi

for preset in asan release; do
    echo
    echo "== ctest, $preset"
    # ctest's closing lines: from "N% tests passed" to the end.
    if [ -f "$logs/test-$preset.log" ]; then
        sed -n '/% tests passed/,$p' "$logs/test-$preset.log"
    fi
done
# What failed once more, here, where it is seen without the whole log.
for log in "${failed[@]}"; do
    echo
    echo "== $log: lines that tell of a failure"
    grep -nE "(failed|FAILED|FAIL|Failed|Error|ERROR|error):|\*\*\*|Assertion|Sanitizer" "$logs/$log.log" | tail -n 40 || true
done
echo
printf '%s\n' "${summary[@]}"
if [ "$failures" -eq 0 ]; then
    echo "make test: all ${#summary[@]} steps passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
else
    echo "make test: $failures of ${#summary[@]} steps failed"
    exit 1
fi
