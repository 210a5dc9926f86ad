"""Writes CASE/model.gguf beside the checkpoint of language-model cases: the same weights as a GGUF file, by gguf's writer.

    pip install gguf==0.19.0 numpy && python make_models.py ../reference/language

What llama.cpp's converter does is done here too: query and key rows of the architecture llama are interleaved,
llama3's rope scaling becomes a tensor of divisors, norms are F32, matrices stay BF16. ../fuzz/seeds/gguf/seed.gguf is a
tiny model with quantised matrices, tokenizer and chat template, from which fuzzing starts.
"""
import json
import math
import os
import sys

import gguf
import numpy as np

CASES = ["llama3", "qwen3", "qwen2_tied_bf16"]
LAYER = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
         "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "BF16", entry["dtype"]
        yield name, np.frombuffer(data[begin:end], np.uint16).reshape(entry["shape"])


def widen(half):
    return (half.astype(np.uint32) << 16).view(np.float32)


def translate(name):
    stem, ending = name.rsplit(".", 1)
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{ending}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}.{ending}"


def interleave(array, heads):
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def divisors(config):
    scaling, half = config["rope_scaling"], config["head_dim"] // 2
    frequency = config["rope_theta"] ** (-np.arange(half) * 2.0 / config["head_dim"])
    out = []
    for f in frequency:
        wavelength = 2 * math.pi / f
        low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
        high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
        smooth = min(1.0, max(0.0, (scaling["original_max_position_embeddings"] / wavelength
                                    - scaling["low_freq_factor"])
                              / (scaling["high_freq_factor"] - scaling["low_freq_factor"])))
        if wavelength < high:
            out.append(1.0)
        elif wavelength > low:
            out.append(scaling["factor"])
        else:
            out.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(out, np.float32)


def add_sizes(writer, config):
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])


def convert(folder, out):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    writer = gguf.GGUFWriter(out, config["model_type"])
    add_sizes(writer, config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
    writer.add_eos_token_id(config["eos_token_id"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, array in sorted(read_safetensors(os.path.join(folder, "model.safetensors"))):
        part = name.split(".")[-2]
        if config["model_type"] == "llama" and part in heads:
            array = interleave(array, heads[part])
        if array.ndim == 1:
            writer.add_tensor(translate(name), widen(array))
        else:
            writer.add_tensor(translate(name), array.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    if (config.get("rope_scaling") or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", divisors(config))
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def seed(out):
    rng = np.random.default_rng(7)
    letters = [chr(c) for c in range(33, 127)] + [chr(256 + i) for i in range(33)]
    tokens = letters + ["ab", "<|im_start|>", "<|im_end|>"]
    config = {"num_hidden_layers": 1, "max_position_embeddings": 64, "hidden_size": 32, "intermediate_size": 32,
              "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    writer = gguf.GGUFWriter(out, "llama")
    add_sizes(writer, config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t.startswith("<|") else 1 for t in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    shapes = {"token_embd": (len(tokens), 32), "blk.0.attn_q": (32, 32), "blk.0.attn_k": (16, 32),
              "blk.0.attn_v": (16, 32), "blk.0.attn_output": (32, 32), "blk.0.ffn_gate": (32, 32),
              "blk.0.ffn_up": (32, 32), "blk.0.ffn_down": (32, 32)}
    kinds = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
    for i, (name, shape) in enumerate(shapes.items()):
        kind = gguf.GGMLQuantizationType[kinds[i % len(kinds)]]
        data = gguf.quants.quantize(rng.normal(0, 0.1, shape).astype(np.float32), kind)
        writer.add_tensor(name + ".weight", data, raw_dtype=kind)
    for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]:
        writer.add_tensor(name + ".weight", np.ones(32, np.float32))
    finish(writer)


for case in CASES:
    convert(os.path.join(sys.argv[1], case, "model"), os.path.join(sys.argv[1], case, "model.gguf"))
seed("../fuzz/seeds/gguf/seed.gguf")
