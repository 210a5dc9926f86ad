"""A model folder with its weights in bfloat16: half the bytes, and what float32 training leaves below its noise is cut."""
import array
import json
import shutil
import struct
import sys


def to_bfloat16(raw):
    """float32 bytes -> bfloat16 bytes, rounded half to even; NaN stays one."""
    values = array.array("I")
    values.frombytes(raw)
    if sys.byteorder == "big":
        values.byteswap()
    out = array.array("H", (((v >> 16) | 0x40) if (v & 0x7fffffff) > 0x7f800000 else (v + 0x7fff + ((v >> 16) & 1)) >> 16
                            for v in values))
    if sys.byteorder == "big":
        out.byteswap()
    return out.tobytes()


def convert_file(source, target):
    """A safetensors file, its float32 tensors in bfloat16."""
    data = source.read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    out, parts, at = {}, [], 0
    if "__metadata__" in header:
        out["__metadata__"] = header["__metadata__"]
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        raw, dtype = data[8 + size + begin:8 + size + end], tensor["dtype"]
        if dtype == "F32":
            raw, dtype = to_bfloat16(raw), "BF16"
        parts.append(raw)
        out[name] = {"dtype": dtype, "shape": tensor["shape"], "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(out, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def convert_model(source, target):
    """Every file of a model folder; what holds no weights is copied."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(exist_ok=True)
        elif path.suffix == ".safetensors":
            convert_file(path, copy)
        else:
            shutil.copyfile(path, copy)
