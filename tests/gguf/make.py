"""Writes blocks.safetensors: random blocks of each quantised GGUF type and what they mean.

    pip install gguf==0.19.0 numpy && python make.py > blocks.safetensors

NAME.blocks are bytes, NAME.values what gguf.quants.dequantize makes of them in float32. Scales are set to small
numbers (random bits would be infinities as half floats); all other bytes are random, seed 20261126.
"""
import json
import sys

import gguf
import numpy as np

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208]}
BLOCKS = 12

rng = np.random.default_rng(20261126)
tensors = {}
for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for at in HALVES[name]:
        data[:, at:at + 2] = rng.normal(0, 0.05, BLOCKS).astype(np.float16).view(np.uint8).reshape(BLOCKS, 2)
    tensors[name + ".blocks"] = ("U8", data.reshape(-1))
    tensors[name + ".values"] = ("F32", gguf.quants.dequantize(data, kind).astype(np.float32).reshape(-1))

header, offset = {}, 0
for name, (dtype, array) in sorted(tensors.items(), key=lambda item: item[1][0]):
    header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
    offset += array.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
sys.stdout.buffer.write(len(text).to_bytes(8, "little") + text)
for name, (dtype, array) in sorted(tensors.items(), key=lambda item: item[1][0]):
    sys.stdout.buffer.write(array.tobytes())
