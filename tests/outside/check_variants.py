#!/usr/bin/env python3
"""Models with parts taken away or replaced: each is made, trained, evaluated and asked with the finished command.

    check_variants.py TOMO_BINARY REFERENCE_DIR [--only NAME ...]

Phantoms are the scans, and the parts of a tiny model of the reference. Ends with 0 when every check passed.
"""
import argparse
import glob
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import checking

CONNECTOR = {"width": 24, "heads": 4, "filter_bins": 5, "mlp_ratio": 2, "tokens": [2, 2, 2], "fusion_blocks": 1,
             "injection_layers": 1}
PRUNE = {"threshold": 0.98, "min_slices": 2, "max_slices": 6, "guard": None}


class Checks(checking.Checks):
    title = "variants"

    def __init__(self, tomo, reference, folder):
        self.tomo, self.folder = tomo, folder
        self.parts = self.find_parts(reference)
        self.run("phantom", "scans", "--count", "4", "--seed", "3", "--size", "16x32x32", "--split", "train", "--questions", "2")
        self.scan = str(sorted((folder / "scans" / "scans").glob("*.nii.gz"))[0])

    @staticmethod
    def find_parts(reference):
        """Encoder and language model of the first pipeline of the reference that talks in turns and has no adapter."""
        for path in sorted(glob.glob(os.path.join(reference, "pipeline", "*", "model", "config.json"))):
            c = json.load(open(path))
            if c["language"].get("adapter") is None and c["prompt"].get("format", "chat") == "chat":
                return [os.path.join(os.path.dirname(os.path.abspath(path)), c[part]["path"]) for part in ("encoder", "language")]
        sys.exit("no model in " + reference)

    # ------------------------------------------------------------------------ helpers

    def run(self, *arguments):
        """Exit status, stdout and stderr of the command, in the folder of the checks."""
        p = subprocess.run([self.tomo, *map(str, arguments), "--quiet"], capture_output=True, text=True, cwd=self.folder,
                           timeout=600)
        return p.returncode, p.stdout, p.stderr

    def new(self, name, encoder=None, language=None, only=False, **settings):
        """A model directory of the settings, beside the checks' own unless `only` these count."""
        given = {} if only else {"volume": {"max_slices": 16}, "prune": PRUNE, "connector": CONNECTOR}
        for section, members in settings.items():
            given[section] = dict(given.get(section, {}), **members)
        (self.folder / f"{name}.json").write_text(json.dumps(given))
        code, _, said = self.run("model", "new", name, "--encoder", encoder or self.parts[0], "--language",
                                 language or self.parts[1], "--config", f"{name}.json", "--seed", "1")
        self.expect(f"{name} is made", code == 0, said)

    def try_training(self, name, run, stage, config=None):
        """Exit status and what was said. Features are shared by all runs."""
        stage = dict({"name": "all", "train": ["connector", "language"], "learning_rate": 3e-3, "steps": 40, "batch": 4,
                      "warmup_steps": 3}, **stage)
        recipe = {"run": run, "model": name, "seed": 1, "data": {"path": "scans", "cache": "features"}, "stages": [stage]}
        (self.folder / f"{run}.json").write_text(json.dumps(dict(recipe, **({"config": config} if config else {}))))
        code, _, said = self.run("train", f"{run}.json")
        return code, said

    def train(self, name, run=None, config=None, **stage):
        """Trains the model `name`; returns its losses."""
        run = run or f"{name}-run"
        code, said = self.try_training(name, run, stage, config)
        self.expect(f"{run} trains", code == 0, said[-500:])
        if code != 0:
            return []
        lines = (self.folder / run / "metrics.jsonl").read_text().splitlines()
        return [s["loss"] for s in map(json.loads, lines) if "loss" in s]

    def works(self, name, **stage):
        """What everybody does with a model: training teaches it, and what comes out reads, answers and is evaluated."""
        losses = self.train(name, **stage)
        self.expect(f"{name} learns", losses and sum(losses[-4:]) < 0.8 * sum(losses[:4]), f"{losses[:4]} {losses[-4:]}")
        model = f"{name}-run/model"
        code, out, said = self.run("report", self.scan, "--model", model, "--max-tokens", "8", "--json")
        self.expect(f"{name} reports", code == 0 and json.loads(out)["report"], said)
        code, out, said = self.run("ask", self.scan, "Which?", "--choice", "one", "--choice", "two", "--model", model, "--json")
        self.expect(f"{name} chooses", code == 0, said)
        code, out, said = self.run("eval", "vqa-closed", "--data", "scans", "--split", "train", "-o", f"{name}-eval", "--model",
                                   model, "--max-tokens", "4")
        self.expect(f"{name} is evaluated", code == 0, said)
        code, out, said = self.run("inspect", self.scan, "--model", model, "--json")
        self.expect(f"{name} tells what it read", code == 0, said)
        code, info, said = self.run("model", "info", model, "--json")
        self.expect(f"{name} tells about itself", code == 0, said)
        return json.loads(out) if code == 0 else {}

    def entries(self):
        return len(glob.glob(str(self.folder / "features" / "*" / "*.features")))

    # ------------------------------------------------------------------------ checks

    def check_switches(self):
        """Every part of the connector can be left out, alone."""
        for name, settings in (("full", {}), ("no-frequency", {"frequency": False}), ("no-spatial", {"spatial": False}),
                               ("no-injection", {"injection_layers": 0}),
                               ("pooled", {"fusion_blocks": 0, "injection_layers": 0})):
            self.new(name, connector=settings)
            self.works(name)

    def check_choice(self):
        """Slices chosen without a look at them: as many as asked for, the same each time, others for other seeds."""
        kept = {}
        for name, settings in (("uniform", {"choice": "uniform"}), ("random", {"choice": "random"}),
                               ("random-2", {"choice": "random", "seed": 2})):
            before = self.entries()
            self.new(name, prune=settings)
            pruning = self.works(name)["pruning"]
            kept[name] = [d["slice"] for d in pruning["decisions"] if d["kept"]]
            rules = {d["rule"] for d in pruning["decisions"]}
            self.expect(f"{name} keeps as many as it may", len(kept[name]) == PRUNE["max_slices"] and kept[name][0] == 0, str(kept))
            self.expect(f"{name} tells why", rules == {"first", settings["choice"], "not_chosen"}, str(rules))
            self.expect(f"{name} has features of its own", self.entries() == before + 4, f"{before} {self.entries()}")
            code, out, said = self.run("inspect", self.scan, "--model", name, "--json", "--threads", "1")
            again = [d["slice"] for d in json.loads(out)["pruning"]["decisions"] if d["kept"]]
            self.expect(f"{name} repeats", again == kept[name], f"{again} {kept[name]}")
            code, out, said = self.run("trace", self.scan, "Which?", "-o", f"{name}.safetensors", "--model", name)
            self.expect(f"{name} is traced", code == 0, said)
        n = len(pruning["decisions"])
        self.expect("uniform is even", kept["uniform"] == [i * n // PRUNE["max_slices"] for i in range(PRUNE["max_slices"])],
                    str(kept))
        self.expect("seeds differ", kept["random"] != kept["random-2"], str(kept))
        other = str(sorted((self.folder / "scans" / "scans").glob("*.nii.gz"))[1])
        code, out, said = self.run("inspect", other, "--model", "random", "--json")
        self.expect("scans differ", [d["slice"] for d in json.loads(out)["pruning"]["decisions"] if d["kept"]] != kept["random"])
        code, out, said = self.run("model", "tune-prune", self.scan, "--model", "uniform")
        self.expect("nothing to tune", code == 3 and "prune.choice" in said, said)

    def check_blind(self):
        """No image: the encoder is not run, the prompt has no place for it, and every scan gets one answer."""
        before = self.entries()
        self.new("blind", prompt={"image": False})
        manifest = self.works("blind", train=["language"])
        self.expect("blind computes nothing", self.entries() == before and "pruning" not in manifest and
                    manifest["model"]["visual_tokens"] == 0, str(manifest)[:300])
        scans = sorted((self.folder / "scans" / "scans").glob("*.nii.gz"))
        said = {self.run("report", s, "--model", "blind-run/model", "--max-tokens", "12")[1] for s in scans}
        self.expect("blind sees no scan", len(said) == 1 and said != {""}, str(said))
        code, _, said = self.run("embed", self.scan, "-o", "blind.npy", "--model", "blind")
        self.expect("blind has no features", code == 3 and "prompt.image" in said, f"{code} {said}")
        # the same switch in a recipe, on a model that sees; and what makes no sense
        self.new("seeing")
        config = {"prompt": {"image": False}}
        self.train("seeing", run="shut", train=["lora"], lora={"rank": 2}, config=config, steps=3)
        said = {self.run("report", s, "--model", "shut/model", "--max-tokens", "12")[1] for s in scans}
        self.expect("a recipe shuts the eyes", len(said) == 1, str(said))
        code, said = self.try_training("seeing", "nothing", {"train": ["connector", "language"]}, config)
        self.expect("no connector to train", code == 3 and "prompt.image" in said, f"{code} {said}")

    def check_millimetres(self):
        self.new("mm", connector={"position": "mm"})
        manifest = self.works("mm")
        self.expect("the distance of slices is told", manifest.get("slices", {}).get("slice_mm", 0) > 0, str(manifest)[:300])
        before = self.entries()
        self.new("relative")
        self.train("relative", steps=2)
        self.expect("positions share features", self.entries() == before, f"{before} {self.entries()}")
        code, _, said = self.run("convert", self.scan, "plain.npy")
        code, _, said = self.run("report", "plain.npy", "--model", "mm", "--max-tokens", "2")
        self.expect("a scan without spacing is refused", code == 3 and "connector.position" in said and said.count("\n") == 1,
                    f"{code} {said}")
        code, _, said = self.run("report", "plain.npy", "--model", "relative", "--max-tokens", "2")
        self.expect("relative positions need none", code == 0, said)

    def check_vit3d(self):
        """A 3D transformer over pixels, from random weights, trained with the language model."""
        pixels = self.folder / "pixels"
        pixels.mkdir()
        (pixels / "config.json").write_text(json.dumps({"model_type": "pixels", "image_size": 32, "patch_size": 8}))
        vit3d = {"connector": {"kind": "vit3d", "width": 24, "heads": 3, "blocks": 2, "mlp_ratio": 2, "tokens": [2, 2, 2],
                               "slices": 8, "patch_slices": 2}}
        self.new("vit3d", encoder=pixels, only=True, **vit3d)
        manifest = self.works("vit3d")
        self.expect("vit3d reads every slice of a fixed number", [d["kept"] for d in manifest["pruning"]["decisions"]] == [True] * 8,
                    str(manifest)[:300])
        self.train("vit3d", run="vit3d-threads", steps=6)
        code, said = self.try_training("vit3d", "vit3d-more", {"steps": 6})
        same = [(self.folder / r / "model" / "connector.safetensors").read_bytes() for r in ("vit3d-threads", "vit3d-more")]
        start = (self.folder / "vit3d" / "connector.safetensors").read_bytes()
        self.expect("vit3d is trained and repeats", same[0] == same[1] != start)
        code, out, said = self.run("bench", "--model", "vit3d", "--repeats", "1", "--prompt-tokens", "16", "--decode-tokens", "2")
        self.expect("vit3d is measured", code == 0 and "connector" in out, said)
        for name, settings, word in (("short", {"volume": {"size": [6, 32, 32]}}, "volume.size"),
                                     ("pruned", {"prune": {"max_slices": 4}}, "prune"),
                                     ("fused", {"connector": {"fusion_blocks": 1}}, "connector.fusion_blocks")):
            merged = {s: dict(vit3d.get(s, {}), **settings.get(s, {})) for s in set(vit3d) | set(settings)}
            (self.folder / f"{name}.json").write_text(json.dumps(merged))
            code, _, said = self.run("model", "new", name, "--encoder", pixels, "--language", self.parts[1], "--config",
                                     f"{name}.json")
            self.expect(f"vit3d {name} is refused", code == 3 and word in said, f"{code} {said}")
        # pixels are an encoder like others, for what goes through pruning and fusion too
        self.new("raw", encoder=pixels)
        self.works("raw")

    def check_gguf(self):
        """A quantised language model as the frozen base of an adapter."""
        self.run("model", "new", "public", "--like", "vit-tiny,qwen2-tiny")  # rows of whole blocks, unlike the reference's
        self.new("float", language=self.folder / "public" / "language")
        code, _, said = self.run("model", "quantize", "small", "--model", "float", "--type", "q4_1")
        self.expect("gguf is made", code == 0, said)
        before = (self.folder / "small" / "language.gguf").read_bytes()
        self.works("small", train=["connector", "lora"], lora={"rank": 4, "alpha": 8}, learning_rate=1e-2)
        model = self.folder / "small-run" / "model"
        self.expect("gguf stays as it is", (model / "language.gguf").read_bytes() == before and
                    not (model / "language").exists() and (model / "adapter" / "adapter_model.safetensors").exists(),
                    str(sorted(os.listdir(model))))
        config = json.loads((model / "config.json").read_text())
        self.expect("gguf: paths", config["language"] == {"path": "language.gguf", "adapter": "adapter"}, str(config["language"]))
        code, said = self.try_training("small-run/model", "small-again", {"train": ["lora"], "steps": 4})
        self.expect("gguf: the adapter is trained further", code == 0, said)
        for precision in ("int8", "fast"):
            code, _, said = self.run("report", self.scan, "--model", model, "--max-tokens", "4", "--precision", precision)
            self.expect(f"gguf reads in {precision}", code == 0, said)
        code, said = self.try_training("small", "small-itself", {"train": ["language"]})
        self.expect("a gguf is not trained itself", code == 3 and "lora" in said and said.count("\n") == 1, f"{code} {said}")
        code, _, said = self.run("report", self.scan, "--model", model, "--merge-adapter", "--max-tokens", "4")
        self.expect("nor merged into", code == 3 and "merge" in said, f"{code} {said}")
        # a model directory from a GGUF file
        self.new("joined", language=self.folder / "small" / "language.gguf")
        code, out, said = self.run("report", self.scan, "--model", "joined", "--max-tokens", "4", "--json")
        self.expect("joined reads", code == 0 and (self.folder / "joined" / "language.gguf").exists(), said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tomo")
    parser.add_argument("reference")
    parser.add_argument("--only", nargs="*")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(os.path.abspath(a.tomo), a.reference, pathlib.Path(folder))
        checks.run_all(a.only)


if __name__ == "__main__":
    main()
