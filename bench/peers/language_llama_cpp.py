#!/usr/bin/env python3
"""language_llama_cpp.py TOMO FILE.gguf: tomo bench beside llama.cpp on the same file, in turn, on this machine.

    pip install llama-cpp-python && python bench/peers/language_llama_cpp.py build/release/cli/tomo model.gguf

Prints tokens a second of a prompt and of decoding behind it, and the ratio of the medians of each pair. Both use the
same number of threads. llama-cpp-python is compiled for this CPU when pip installs it.
"""
import argparse
import json
import statistics
import subprocess
import time


def tomo_rates(o):
    done = subprocess.run([o.tomo, "bench", "--model", o.model, "--precision", o.precision, "--threads", str(o.threads),
                           "--prompt-tokens", str(o.prompt), "--decode-tokens", str(o.decode), "--repeats", "1", "--json",
                           "--quiet"], capture_output=True, text=True, check=True)
    values = {r["name"]: r["value"] for r in json.loads(done.stdout)["results"]}
    return values["prefill_tokens"], values["decode_tokens"]


def peer_rates(llama, o):
    llama.reset()
    start = time.perf_counter()
    llama.eval([i * 7 % 256 for i in range(o.prompt)])
    read = time.perf_counter()
    for i in range(o.decode):
        llama.eval([i % 100])
    return o.prompt / (read - start), o.decode / (time.perf_counter() - read)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomo")
    parser.add_argument("model")
    parser.add_argument("--precision", default="fast")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=320)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=9)
    o = parser.parse_args()
    from llama_cpp import Llama
    llama = Llama(o.model, n_ctx=o.prompt + o.decode + 8, n_threads=o.threads, n_threads_batch=o.threads, n_batch=512,
                  verbose=False)
    peer_rates(llama, o)  # pages are read and buffers made
    pairs = [(tomo_rates(o), peer_rates(llama, o)) for _ in range(o.pairs)]
    for i, name in enumerate(["prompt", "decode"]):
        ours, theirs = [p[0][i] for p in pairs], [p[1][i] for p in pairs]
        ratios = sorted(a / b for a, b in zip(ours, theirs))
        print(f"{name:7} tomo {statistics.median(ours):8.1f} tokens/s  llama.cpp {statistics.median(theirs):8.1f}"
              f"  ratio {statistics.median(ratios):.2f} ({ratios[len(ratios) // 4]:.2f} to "
              f"{ratios[len(ratios) * 3 // 4]:.2f})")


main()
