#!/bin/bash
# check_cli.sh TOMO_BINARY REFERENCE_DIR DATA_DIR: the command as its user meets it.
#
# Exit statuses (0 done, 1 failed, 2 wrong usage, 3 refused input, 130 on Ctrl-C), the one-line form of errors,
# hostile input, a full disk, interruption, and results that do not depend on the number of threads. Walks the
# reference folder; no case of it is named here. What cannot be tried on this machine is listed and counted
# (STRICT=1 makes it a failure). Run it with a sanitizer build too: a report of a sanitizer is never one line.
set -uo pipefail

if [ $# -ne 3 ]; then
    echo "usage: check_cli.sh TOMO_BINARY REFERENCE_DIR DATA_DIR" >&2
    exit 2
fi
tomo=$(realpath "$1")
reference=$(realpath "$2")
data=$(realpath "$3")
# A model named by the environment must not take part.
unset TOMO_MODEL

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stdout=$work/stdout
stderr=$work/stderr
# Far above what a sanitizer build needs; a command that hangs fails with 124.
seconds=180

passed=0
failed=0
skipped=0
pass() { passed=$((passed + 1)); }
fail() {
    echo "cli $1: failed: $2"
    failed=$((failed + 1))
}
skip() {
    echo "cli $1: skipped: $2"
    skipped=$((skipped + 1))
}

# run COMMAND...: leaves $status, and the outputs in $stdout and $stderr.
run() {
    timeout "$seconds" "$@" >"$stdout" 2>"$stderr" </dev/null
    status=$?
}

last_words() { tail -n 1 "$stderr" | cut -c 1-300; }

# expect NAME STATUS[|STATUS] COMMAND...
expect() {
    local name=$1 wanted=$2
    shift 2
    run "$@"
    if [[ "|$wanted|" == *"|$status|"* ]]; then
        pass
    else
        fail "$name" "exit status $status, should be ${wanted//|/ or }: $(last_words)"
    fi
}

# expect_error NAME STATUS[|STATUS] WORD COMMAND...: also one line on stderr, "tomo: ...; ...", that holds WORD.
# Status 0 among those allowed: the input may also be read.
expect_error() {
    local name=$1 wanted=$2 word=$3 lines
    shift 3
    run "$@"
    lines=$(wc -l <"$stderr")
    if [[ "|$wanted|" != *"|$status|"* ]]; then
        fail "$name" "exit status $status, should be ${wanted//|/ or }: $(last_words)"
    elif [ "$status" -eq 0 ]; then
        pass
    elif [ "$lines" -ne 1 ]; then
        fail "$name" "$lines lines on stderr, should be one: $(head -n 1 "$stderr" | cut -c 1-200)"
    elif ! grep -q '^tomo: ' "$stderr"; then
        fail "$name" "not of the form \"tomo: FILE: what is wrong; what would be right\": $(last_words)"
    elif ! grep -qF -- "$word" "$stderr"; then
        fail "$name" "the message does not name $word: $(last_words)"
    elif [ -s "$stdout" ]; then
        fail "$name" "wrote to stdout although it failed"
    else
        pass
    fi
}

# ---------------------------------------------------------------- what there is to work with

# A model that takes any scan (its volume is scaled by its own range), and one whose encoder is a .bin file; from
# the project's own cases where another reference folder has none.
model=
bin_model=
own=$(realpath "$(dirname "$0")/../reference")
for config in "$reference"/pipeline/*/model/config.json "$own"/pipeline/*/model/config.json; do
    [ -f "$config" ] || continue
    folder=$(dirname "$config")
    grep -q '"windows": *"minmax"' "$config" && model=${model:-$folder}
    compgen -G "$folder/encoder/*.bin" >/dev/null && bin_model=${bin_model:-$folder}
done

# list_inputs WHAT: lines of "case<TAB>path<TAB>statuses", from every expected.json of the volume reference.
# error: inputs to refuse, with the exit statuses that are right; real: scans of DATA_DIR that can be read.
list_inputs() {
    python3 - "$1" "$reference/volume" "$data" <<'PYTHON'
import json, pathlib, sys
what, root, data = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
def exit_status(outcome):
    if outcome.get("status", "ok") == "ok":
        return "0"
    return "1" if outcome.get("error") == "E_IO" else "3"
seen = set()
for file in sorted(root.glob("*/expected.json")):
    for entry in json.loads(file.read_text(encoding="utf-8")).get("inputs", []):
        path, real = entry.get("path", ""), entry.get("path", "").startswith("data:")
        if not path:
            continue
        full = data / path[5:] if real else file.parent / path
        statuses = {exit_status(entry)}
        if entry.get("accept_instead"):
            statuses.add(exit_status(entry["accept_instead"]))
        if full in seen:
            continue
        seen.add(full)
        refused = entry.get("status", "ok") != "ok"
        if (what == "error" and refused) or (what == "real" and real and not refused):
            print(file.parent.name, full, "|".join(sorted(statuses)), sep="\t")
PYTHON
}

scan=$(find "$data" -name '*ct*.nii.gz' -type f | sort | head -n 1)

if [ ! -x "$tomo" ] || [ -z "$model" ] || [ -z "$scan" ]; then
    echo "check_cli.sh: needs a command that runs, a pipeline model with \"minmax\" and a scan *ct*.nii.gz in the data folder" >&2
    exit 1
fi

# ---------------------------------------------------------------- usage

check_usage() {
    local command
    expect help 0 "$tomo" --help
    grep -qi 'not for diagnosis' "$stdout" || fail help "does not say that it is not for diagnosis"
    expect version 0 "$tomo" --version
    for command in report ask inspect convert trace embed tokenize generate model bench; do
        expect "$command --help" 0 "$tomo" "$command" --help
        [ -s "$stdout" ] || fail "$command --help" "prints nothing"
        expect_usage "$command with a wrong option" "$command" --no-such-option
    done
    expect_usage "no command"
    expect_usage "an unknown command" no-such-command
    expect_usage "report without a scan" report
    expect_usage "ask without a question" ask "$scan" --model "$model"
    expect_usage "a number that is none" report "$scan" --model "$model" --threads many
    expect_usage "an option without its value" report "$scan" --model
}

# expect_usage NAME ARGUMENT...: status 2 and a first line "tomo: ..."; how to call it may follow.
expect_usage() {
    local name=$1
    shift
    expect "$name" 2 "$tomo" "$@"
    [ "$status" -ne 2 ] || head -n 1 "$stderr" | grep -q '^tomo: ' || fail "$name" "stderr does not begin with \"tomo: \""
}

# ---------------------------------------------------------------- files that cannot be used

check_bad_files() {
    local name path statuses
    expect_error "a missing scan" 1 no-such-scan.nii "$tomo" inspect "$work/no-such-scan.nii" --quiet
    expect_error "a missing scan, report" 1 no-such-scan.nii \
        "$tomo" report "$work/no-such-scan.nii" --model "$model" --quiet
    expect_error "a missing model" 1 no-such-model "$tomo" report "$scan" --model "$work/no-such-model" --quiet
    echo "This is a letter, not a scan." >"$work/letter.nii"
    expect_error "a text file called .nii" 3 letter.nii "$tomo" inspect "$work/letter.nii" --quiet
    expect_error "a text file called .nii, report" 3 letter.nii \
        "$tomo" report "$work/letter.nii" --model "$model" --quiet
    echo '{"model_type": "tomoscribe", "no_such_key": 1}' >"$work/config.json"
    expect_error "a model with an unknown key" 3 no_such_key "$tomo" model info "$work" --quiet
    rm "$work/config.json"

    while IFS=$'\t' read -r name path statuses; do
        if [ ! -e "$path" ] && [[ $path == "$data"/* ]]; then
            skip "$name $(basename "$path")" "not in the data folder"
            continue
        fi
        # Git keeps no empty folder; a file that is absent on purpose has a suffix.
        if [ ! -e "$path" ] && [[ $(basename "$path") != *.* ]]; then
            path=$work/$(basename "$path")
            mkdir -p "$path"
        fi
        expect_error "$name $(basename "$(dirname "$path")")/$(basename "$path")" "$statuses" "$(basename "$path")" \
            "$tomo" inspect "$path" --quiet
    done < <(list_inputs error)
}

# Each .bin file that must be refused takes the place of an encoder's weights.
check_hostile_weights() {
    local file copy=$work/model weights
    if [ -z "$bin_model" ]; then
        skip "hostile weights" "no pipeline model has a .bin encoder"
        return
    fi
    cp -rL "$bin_model" "$copy"
    chmod -R u+w "$copy"
    weights=$(compgen -G "$copy/encoder/*.bin" | head -n 1)
    for file in "$reference"/vision/*/refuse_*.bin; do
        [ -f "$file" ] || continue
        cp "$file" "$weights"
        expect_error "$(basename "$file")" 3 "$(basename "$weights")" \
            "$tomo" report "$scan" --model "$copy" --max-tokens 1 --quiet
    done
    rm -rf "$copy"
}

# ---------------------------------------------------------------- output that cannot be written

no_leftovers() { # NAME FOLDER
    if [ -n "$(ls -A "$2")" ]; then
        fail "$1" "leaves $(ls -A "$2" | tr '\n' ' ')"
        rm -rf "${2:?}"/* "${2:?}"/.[!.]*
    else
        pass
    fi
}

check_full_disk() {
    local folder=$work/full
    if [ -c /dev/full ]; then
        timeout "$seconds" "$tomo" report "$scan" --model "$model" --max-tokens 4 --quiet >/dev/full 2>"$stderr" </dev/null
        status=$?
        if [ "$status" -ne 1 ]; then
            fail "report to /dev/full" "exit status $status, should be 1: $(last_words)"
        elif [ "$(wc -l <"$stderr")" -ne 1 ]; then
            fail "report to /dev/full" "$(wc -l <"$stderr") lines on stderr, should be one"
        else
            pass
        fi
        expect_error "trace -o /dev/full" 1 /dev/full \
            "$tomo" trace "$scan" "?" --model "$model" --max-tokens 1 --quiet -o /dev/full
    else
        skip "/dev/full" "this system has none"
    fi

    # A small file system of its own, where this user may mount one.
    mkdir "$folder"
    local unshare=(unshare --mount)
    [ "$(id -u)" -eq 0 ] || unshare=(unshare --user --map-root-user --mount)
    if ! "${unshare[@]}" mount -t tmpfs -o size=16k tmpfs "$folder" 2>/dev/null; then
        skip "a full tmpfs" "this user may not mount one"
        return
    fi
    # shellcheck disable=SC2016
    "${unshare[@]}" bash -c '
        mount -t tmpfs -o size=16k tmpfs "$1" && cd "$1" || exit 99
        "${@:2}" -o "$1/trace.safetensors"
        status=$?
        [ -z "$(ls -A "$1")" ] || exit 98
        exit $status' full "$folder" timeout "$seconds" "$tomo" trace "$scan" "?" --model "$model" --max-tokens 1 --quiet \
        >"$stdout" 2>"$stderr" </dev/null
    status=$?
    case $status in
        1) if [ "$(wc -l <"$stderr")" -eq 1 ]; then pass; else fail "a full tmpfs" "not one line on stderr"; fi ;;
        98) fail "a full tmpfs" "leaves a partial file" ;;
        *) fail "a full tmpfs" "exit status $status, should be 1: $(last_words)" ;;
    esac
}

# ---------------------------------------------------------------- Ctrl-C

# A scan large enough that reading it takes a while: 320 x 320 x 300 16-bit voxels, 1 mm.
make_large_scan() {
    python3 - "$1" <<'PYTHON'
import array, struct, sys
nx, ny, nz = 320, 320, 300
header = bytearray(352)
struct.pack_into("<i", header, 0, 348)
struct.pack_into("<8h", header, 40, 3, nx, ny, nz, 1, 1, 1, 1)
struct.pack_into("<hh", header, 70, 4, 16)
struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
struct.pack_into("<f", header, 108, 352)
struct.pack_into("<f", header, 112, 1)
header[123] = 2
struct.pack_into("<h", header, 254, 1)
struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
header[344:348] = b"n+1\0"
with open(sys.argv[1], "wb") as file:
    file.write(header)
    for z in range(nz):
        file.write(array.array("h", ((x * 7 + z * 3) % 1500 - 1000 for x in range(nx))).tobytes() * ny)
PYTHON
}

# interrupted NAME FOLDER COMMAND...: sends SIGINT ever earlier until it meets the command at work. Whenever it
# comes, the command ends with 130 and FOLDER stays empty. To the process alone: else timeout(1) sends SIGCONT too, and
# where that meets the leak check of a sanitizer build, which stops the process to look at it, both wait forever.
interrupted() {
    local name=$1 folder=$2 delay
    shift 2
    for delay in 1.2 0.8 0.5 0.3 0.2 0.1 0.05 0.03; do
        mkdir -p "$folder"
        timeout --foreground --preserve-status --signal=INT --kill-after=30 "$delay" "$@" \
            >"$stdout" 2>"$stderr" </dev/null
        status=$?
        if [ "$status" -eq 0 ]; then # done before the signal came
            rm -rf "$folder"
            continue
        fi
        if [ "$status" -ne 130 ]; then
            fail "$name" "exit status $status after SIGINT at $delay s, should be 130: $(last_words)"
        else
            no_leftovers "$name" "$folder"
        fi
        rm -rf "$folder"
        return
    done
    skip "$name" "the command is done before it can be interrupted"
}

check_interruption() {
    local large=$work/large.nii out=$work/out
    make_large_scan "$large"
    interrupted "Ctrl-C during trace" "$out" \
        "$tomo" trace "$large" "?" --model "$model" --max-tokens 400 -o "$out/trace.safetensors"
    interrupted "Ctrl-C during convert" "$out" "$tomo" convert "$large" "$out/copy.nii.gz"
    interrupted "Ctrl-C during inspect" "$out" "$tomo" inspect "$large" --png "$out/sheet.png" --manifest "$out/m.json"
    interrupted "Ctrl-C during report" "$out" \
        "$tomo" report "$large" --model "$model" --max-tokens 400 --manifest "$out/manifest.json"
    check_doubled_signal "$large"
    rm -f "$large"
}

# Shells and timeout(1) may send one Ctrl-C to the process and to its group: that is one wish, and the command still
# ends in order.
check_doubled_signal() {
    local pid
    ASAN_OPTIONS=detect_leaks=0 "$tomo" trace "$1" "?" --model "$model" --max-tokens 400 \
        -o "$work/doubled.safetensors" >"$stdout" 2>"$stderr" </dev/null &
    pid=$!
    sleep 0.3
    kill -INT "$pid" && kill -INT "$pid"
    wait "$pid"
    status=$?
    if [ "$status" -eq 0 ]; then
        skip "Ctrl-C twice at once" "the command is done before it can be interrupted"
    elif [ "$status" -ne 130 ] || ! grep -q cancelled "$stderr"; then
        fail "Ctrl-C twice at once" "exit status $status, should be 130 with a word of it: $(last_words)"
    elif [ -e "$work/doubled.safetensors" ]; then
        fail "Ctrl-C twice at once" "leaves its output"
    else
        pass
    fi
}

# ---------------------------------------------------------------- results

check_threads() {
    local threads
    for threads in 1 2 4; do
        run "$tomo" trace "$scan" "Describe the findings." --model "$model" --max-tokens 16 --threads "$threads" \
            --quiet -o "$work/threads-$threads.safetensors"
        if [ "$status" -ne 0 ]; then
            fail "trace with $threads thread(s)" "exit status $status: $(last_words)"
        elif ! cmp -s "$work/threads-1.safetensors" "$work/threads-$threads.safetensors"; then
            fail "trace with $threads thread(s)" "differs from that with one thread"
        else
            pass
        fi
    done
}

is_json() { python3 -c 'import json, sys; json.load(open(sys.argv[1], encoding="utf-8"))' "$1" 2>/dev/null; }

check_json() {
    local name
    local -A commands=(
        [report]="report $scan --model $model --max-tokens 4"
        [inspect]="inspect $scan"
        [info]="model info $model"
    )
    for name in "${!commands[@]}"; do
        # shellcheck disable=SC2086
        run "$tomo" ${commands[$name]} --json --quiet
        if [ "$status" -ne 0 ]; then
            fail "$name --json" "exit status $status: $(last_words)"
        elif ! is_json "$stdout"; then
            fail "$name --json" "stdout is not one JSON value"
        else
            pass
        fi
    done
    run "$tomo" report "$scan" --model "$model" --max-tokens 4 --quiet --manifest "$work/manifest.json"
    if [ "$status" -eq 0 ] && is_json "$work/manifest.json"; then
        pass
    else
        fail "--manifest" "exit status $status or no JSON: $(last_words)"
    fi
}

check_closed_question() {
    run "$tomo" ask "$scan" "Which organ is enlarged?" --choice liver --choice spleen --choice none --model "$model" --quiet
    if [ "$status" -eq 0 ] && grep -q liver "$stdout" && grep -q spleen "$stdout"; then
        pass
    else
        fail "ask with choices" "exit status $status, or a choice is not in the answer: $(last_words)"
    fi
}

check_real_scans() {
    local name path statuses
    while IFS=$'\t' read -r name path statuses; do
        if [ ! -e "$path" ]; then
            skip "report on ${path#"$data"/}" "not in the data folder"
            continue
        fi
        expect "report on ${path#"$data"/}" "$statuses" "$tomo" report "$path" --model "$model" --max-tokens 8 --quiet
        if [ "$status" -eq 0 ] && [ ! -s "$stdout" ]; then
            fail "report on ${path#"$data"/}" "prints nothing"
        fi
    done < <(list_inputs real)
}

check_usage
check_bad_files
check_hostile_weights
check_full_disk
check_interruption
check_threads
check_json
check_closed_question
check_real_scans

if [ "${STRICT:-}" = 1 ]; then
    failed=$((failed + skipped))
    skipped=0
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
