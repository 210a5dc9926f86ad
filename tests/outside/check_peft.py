#!/usr/bin/env python3
"""An adapter that tomo train made, loaded by PEFT, and one that PEFT made, trained further by tomo train.

    check_peft.py TOMO_BINARY REFERENCE_DIR

Needs torch, transformers, peft and safetensors from PyPI (pip install torch transformers peft), so it is no part
of make test. Both ways the greedy continuations of tomo and of transformers must be the same text.
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import peft
import safetensors.torch
import transformers

import check_train

PROMPTS = ["No focal", "The liver", "A nodule of 8 mm", "Fracture"]


def tomo_text(tomo, model, prompt):
    p = subprocess.run([tomo, "generate", prompt, "--model", model, "--max-tokens", "12", "--json", "--quiet"],
                       capture_output=True, text=True, check=True)
    return json.loads(p.stdout)["text"]


def library_text(model, tokenizer, prompt):
    ids = torch.tensor([tokenizer.encode(prompt)])
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    return tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)


def load(folder):
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "language", dtype=torch.float32)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "language" / "tokenizer.json"))
    plain = {n: p.clone() for n, p in base.named_parameters()}
    model = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    file = safetensors.torch.load_file(folder / "adapter" / "adapter_model.safetensors")
    state = peft.get_peft_model_state_dict(model)
    assert state.keys() == file.keys(), state.keys() ^ file.keys()
    assert all(torch.equal(state[k], file[k]) for k in file)
    return model, tokenizer, plain, len(file)


def compare(tomo, name, folder):
    model, tokenizer, _, count = load(folder)
    for prompt in PROMPTS:
        ours, theirs = tomo_text(tomo, folder, prompt), library_text(model, tokenizer, prompt)
        assert ours == theirs, (name, prompt, ours, theirs)
    with model.disable_adapter():
        moved = [p for p in PROMPTS if library_text(model, tokenizer, p) != tomo_text(tomo, folder, p)]
    assert moved, f"{name}: the adapter changes nothing that was compared"
    print(f"{name}: {count} tensors loaded by peft {peft.__version__}, {len(PROMPTS)} continuations are equal, "
          f"{len(moved)} of them differ without the adapter")


def main():
    tomo, reference = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        c = check_train.Checks(tomo, reference, folder, 0)
        stage = {"train": ["connector", "lora"], "lora": {"rank": 4, "alpha": 8, "rslora": True}, "steps": 40,
                 "learning_rate": 1e-2}
        code, said = c.train(c.recipe("made", stage), "--quiet")
        assert code == 0, said
        compare(tomo, "made by tomo train", folder / "made" / "model")

        # the other way: peft makes an adapter, tomo trains it further, peft loads it again
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "model" / "language", dtype=torch.float32)
        torch.manual_seed(0)
        config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
        adapted = peft.get_peft_model(base, config)
        with torch.no_grad():
            for n, p in adapted.named_parameters():
                if "lora_B" in n:
                    p.normal_(std=0.2)
        shutil.copytree(folder / "model", folder / "peft-model")
        adapted.save_pretrained(folder / "peft-model" / "adapter")
        settings = json.loads((folder / "peft-model" / "config.json").read_text())
        settings["language"]["adapter"] = "adapter"
        (folder / "peft-model" / "config.json").write_text(json.dumps(settings))
        compare(tomo, "made by peft", folder / "peft-model")
        more = {"train": ["connector", "lora"], "steps": 40, "learning_rate": 1e-2}
        code, said = c.train(c.recipe("further", more, model="peft-model"), "--quiet")
        assert code == 0, said
        compare(tomo, "made by peft, trained further by tomo train", folder / "further" / "model")


if __name__ == "__main__":
    main()
