#!/usr/bin/env python3
"""Compares `tomo trace` with the recorded pipeline cases, from outside.

    check_trace.py TOMO_BINARY REFERENCE_DIR DATA_DIR

Knows nothing of the program but its command line, and nothing of the files but the safetensors format and JSON;
the standard library is enough. Runs every folder of REFERENCE_DIR/pipeline. A case whose scan is not in DATA_DIR
is listed as skipped (STRICT=1 in the environment makes that a failure). Exit status 1 on any failure, or when
nothing passed.
"""
import array
import json
import math
import operator
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

MAX_TOKENS = 24
# From reference/pipeline/README.md: float32 itself is 7e-5 off where features reach 58.
RELATIVE = 1e-4
# The volume is only windowed, cropped and interpolated.
VOLUME = 1e-5
# Five times what float32 differs from float64 (reference/language/README.md).
LOGITS = 5e-4
TENSORS = ("pixel_values", "descriptors", "features", "compressed", "tokens")
SECONDS = 600


class Wrong(Exception):
    """What is wrong with one case, in one line."""


class Safetensors:
    """Reads tensors of one .safetensors file: 8 bytes of header size, a JSON header, the data."""

    CODES = {"F32": "f", "I64": "q"}

    def __init__(self, path):
        self.name = pathlib.Path(path).name
        blob = pathlib.Path(path).read_bytes()
        if len(blob) < 8:
            raise Wrong(f"{self.name}: {len(blob)} bytes are no safetensors file")
        (size,) = struct.unpack("<Q", blob[:8])
        if size > len(blob) - 8:
            raise Wrong(f"{self.name}: a header of {size} bytes in a file of {len(blob)}")
        self.header = json.loads(blob[8 : 8 + size])
        self.header.pop("__metadata__", None)
        self.data = memoryview(blob)[8 + size :]

    def shape(self, name):
        return self.header[name]["shape"]

    def read(self, name, dtype):
        """The elements as an array; refuses another dtype or a range that does not fit the shape."""
        if name not in self.header:
            raise Wrong(f"{self.name}: no tensor `{name}`")
        entry = self.header[name]
        if entry["dtype"] != dtype:
            raise Wrong(f"{self.name}: `{name}` is {entry['dtype']}, should be {dtype}")
        values = array.array(self.CODES[dtype])
        start, end = entry["data_offsets"]
        if end - start != math.prod(entry["shape"]) * values.itemsize or not 0 <= start <= end <= len(self.data):
            raise Wrong(f"{self.name}: `{name}` has offsets {start}..{end} for shape {entry['shape']}")
        values.frombytes(self.data[start:end])
        if sys.byteorder == "big":
            values.byteswap()
        return values


def distance(got, want):
    """Largest difference; infinite when any of it is not a number."""
    if len(got) != len(want):
        raise Wrong(f"{len(got)} values, should be {len(want)}")
    differences = list(map(operator.sub, got, want))
    if not math.isfinite(sum(differences)):
        return math.inf
    return max(map(abs, differences), default=0.0)


def every_4th_slice(values, shape):
    """values of [channels, S, H, W] -> those of slices 0, 4, 8, ... in the same order."""
    channels, slices, plane = shape[0], shape[1], shape[2] * shape[3]
    out = array.array("f")
    for channel in range(channels):
        for s in range(0, slices, 4):
            start = (channel * slices + s) * plane
            out.extend(values[start : start + plane])
    return out


def hold(name, found, allowed):
    if found > allowed:
        raise Wrong(f"`{name}` is off by {found:.2e}, at most {allowed:.2e} is right")
    return found / allowed


def hold_equal(name, got, want):
    if list(got) != list(want):
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        raise Wrong(f"`{name}` differs from position {at}: {list(got)[at:at + 4]}, should be {list(want)[at:at + 4]}"
                    f" ({len(got)} values, should be {len(want)})")


def compare_tensors(trace, expected):
    """The worst distance as a share of what is allowed."""
    worst = 0.0
    volume, want = trace.read("volume", "F32"), expected.read("volume.every_4th_slice", "F32")
    shape = trace.shape("volume")
    if len(shape) != 4:
        raise Wrong(f"`volume` has shape {shape}, should be [channels, S, H, W]")
    thinned = [shape[0], (shape[1] + 3) // 4, shape[2], shape[3]]
    if thinned != expected.shape("volume.every_4th_slice"):
        raise Wrong(f"`volume` has shape {shape}; every 4th slice should be {expected.shape('volume.every_4th_slice')}")
    worst = max(worst, hold("volume", distance(every_4th_slice(volume, shape), want), VOLUME))
    for name in TENSORS:
        got, want = trace.read(name, "F32"), expected.read(name, "F32")
        if trace.shape(name) != expected.shape(name):
            raise Wrong(f"`{name}` has shape {trace.shape(name)}, should be {expected.shape(name)}")
        largest = max(map(abs, want), default=0.0)
        worst = max(worst, hold(name, distance(got, want), RELATIVE * max(1.0, largest)))
    return worst


def compare_answer(trace, expected, answer):
    hold_equal("kept", trace.read("kept", "I64"), expected["kept"])
    hold_equal("prompt_ids", trace.read("prompt_ids", "I64"), answer["prompt_ids"])
    first = answer["first_logits"]
    worst = hold("logits", distance(trace.read("logits", "F32")[: len(first)], first), LOGITS)
    hold_equal("ids", trace.read("ids", "I64"), answer["ids"])
    return worst


def run_trace(tomo, scan, question, model, out):
    command = [tomo, "trace", str(scan), question, "--model", str(model), "--max-tokens", str(MAX_TOKENS), "-o", str(out)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          timeout=SECONDS, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Wrong(f"tomo trace ended with {done.returncode}: {said[-1] if said else 'and said nothing'}")


def run_case(tomo, folder, expected, scan, temporary):
    """How many questions were compared, and the worst distance as a share of what is allowed."""
    tensors = Safetensors(folder / "expected.safetensors")
    worst = 0.0
    for i, answer in enumerate(expected["answers"]):
        out = pathlib.Path(temporary) / f"{folder.name}-{i}.safetensors"
        run_trace(tomo, scan, answer["question"], folder / "model", out)
        trace = Safetensors(out)
        worst = max(worst, compare_tensors(trace, tensors), compare_answer(trace, expected, answer))
        out.unlink()
    return len(expected["answers"]), worst


def main():
    if len(sys.argv) != 4:
        print(__doc__.splitlines()[2].strip(), file=sys.stderr)
        return 2
    tomo, reference, data = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    passed = failed = skipped = 0
    pipeline = reference / "pipeline"
    folders = sorted(p.parent for p in pipeline.glob("*/expected.json")) if pipeline.is_dir() else []
    with tempfile.TemporaryDirectory() as temporary:
        for folder in folders:
            try:
                expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
                scan = data / expected["scan"]
                if not scan.exists():
                    print(f"trace {folder.name}: skipped: no scan {expected['scan']} in the data folder")
                    skipped += 1
                    continue
                questions, worst = run_case(tomo, folder, expected, scan, temporary)
                print(f"trace {folder.name}: passed: {questions} question(s), worst at {100 * worst:.1f} % of its tolerance")
                passed += 1
            except (Wrong, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as wrong:
                print(f"trace {folder.name}: failed: {wrong}")
                failed += 1
    if os.environ.get("STRICT") == "1":
        failed, skipped = failed + skipped, 0
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
