#!/usr/bin/env python3
"""check_gguf.py TOMO FILE.gguf CASES [--precision P]: a GGUF language model against recorded greedy answers.

CASES is a folder with cases.json: prompts with their ids, greedy ids and the margin between the two best logits at
each step, tokenizer cases. Ids must be equal; where they are not, the margin at the first difference is told, and a
difference is excused only with --precision other than f32 and a margin below --gap.
"""
import argparse
import json
import os
import subprocess
import sys


def run(tomo, *arguments):
    done = subprocess.run([tomo, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)[:120]}: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tomo")
    parser.add_argument("model")
    parser.add_argument("cases")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--gap", type=float, default=0.5)
    o = parser.parse_args()
    with open(os.path.join(o.cases, "cases.json"), encoding="utf-8") as file:
        cases = json.load(file)
    passed = failed = 0
    for case in cases["tokenizer"]:
        ids = run(o.tomo, "tokenize", case["text"], "--model", o.model, "--json", "--parse-control")["ids"]
        good = ids == case["ids"]
        passed, failed = passed + good, failed + (not good)
        if not good:
            print(f"tokenizer {case['text']!r}: {ids}; {case['ids']} is recorded")
    for case in cases["cases"]:
        got = run(o.tomo, "generate", case["prompt"], "--chat", "--model", o.model, "--json", "--quiet",
                  "--max-tokens", str(len(case["greedy_ids"])), "--precision", o.precision)
        want = case["greedy_ids"][:len(got["ids"])]
        first = next((i for i, (a, b) in enumerate(zip(got["ids"], want)) if a != b), None)
        if first is None and got["prompt_tokens"] == len(case["prompt_ids"]):
            passed += 1
            continue
        gap = case["margins"][first] if first is not None and "margins" in case else None
        excused = o.precision != "f32" and gap is not None and gap < o.gap
        passed, failed = passed + excused, failed + (not excused)
        print(f"{case['prompt']!r}: token {first} differs, the two best logits are {gap} apart"
              f"{' (excused)' if excused else ''}; {got['prompt_tokens']} prompt tokens")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


sys.exit(main())
