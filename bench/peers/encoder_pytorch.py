#!/usr/bin/env python3
"""encoder_pytorch.py TOMO MODEL: tomo bench's encoder beside the same ViT-B/16 in PyTorch, in turn, on this machine.

    pip install torch && python bench/peers/encoder_pytorch.py build/release/cli/tomo MODEL

MODEL is a directory with a BiomedCLIP-shaped encoder (tomo model new MODEL --like biomedclip,qwen2-tiny). PyTorch runs
timm's block structure (fused qkv, scaled_dot_product_attention) with random weights, in float32 and bfloat16, plainly and
through torch.compile where that works; its best is what counts. Prints ms a slice and the ratio of each pair's medians.
"""
import argparse
import json
import statistics
import subprocess
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    def __init__(self, width=768, depth=12, heads=12, size=224, patch=16):
        super().__init__()
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def tomo_slice(o):
    done = subprocess.run([o.tomo, "bench", "--model", o.model, "--precision", o.precision, "--threads", str(o.threads),
                           "--slices", str(o.slices), "--prompt-tokens", "1", "--decode-tokens", "1", "--repeats", "1",
                           "--json", "--quiet"], capture_output=True, text=True, check=True)
    return {r["name"]: r["value"] for r in json.loads(done.stdout)["results"]}["encoder_slice"]


def torch_slice(run, dtype, o):
    pixels = torch.randn(o.batch, 3, 224, 224, dtype=dtype)
    start = time.perf_counter()
    for _ in range(o.slices // o.batch):
        run(pixels)
    return (time.perf_counter() - start) * 1e3 / (o.slices // o.batch * o.batch)


def variants(o):
    for dtype in (torch.float32, torch.bfloat16):
        model = Vit().eval().to(dtype)
        for name, make in (("plain", lambda m: m), ("compiled", torch.compile)):
            try:
                run = make(model)
                torch_slice(run, dtype, o)
            except Exception as error:  # torch.compile needs a compiler that not every machine has
                print(f"PyTorch {dtype} {name}: does not run ({type(error).__name__})")
                continue
            yield f"{str(dtype)[6:]} {name}", run, dtype


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomo")
    parser.add_argument("model")
    parser.add_argument("--precision", default="fast")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=9)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    with torch.inference_mode():
        runs = list(variants(o))
        ours, theirs = [], {name: [] for name, _, _ in runs}
        for _ in range(o.pairs):
            ours.append(tomo_slice(o))
            for name, run, dtype in runs:
                theirs[name].append(torch_slice(run, dtype, o))
    print(f"tomo {o.precision}: {statistics.median(ours):.1f} ms a slice")
    for name, times in theirs.items():
        ratios = sorted(b / a for a, b in zip(ours, times))
        print(f"PyTorch {torch.__version__} {name}: {statistics.median(times):.1f} ms a slice; tomo is "
              f"{statistics.median(ratios):.2f} times as fast ({ratios[len(ratios) // 4]:.2f} to "
              f"{ratios[len(ratios) * 3 // 4]:.2f})")


main()
