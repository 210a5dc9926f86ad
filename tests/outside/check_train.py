#!/usr/bin/env python3
"""tomo train as its user meets it: it learns, and nothing that happens to a run changes what it ends with.

    check_train.py TOMO_BINARY REFERENCE_DIR [--kills N] [--only NAME ...]

Eight made-up scans with reports and a tiny model of the reference are used. Ends with 0 when every check passed.
"""
import argparse
import array
import csv
import glob
import hashlib
import json
import math
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import checking

REPORTS = [
    "No focal lesion. The lungs are clear.", "A nodule of 8 mm in the left lobe.", "Large effusion on the right side.",
    "The liver is enlarged; no mass.", "Fracture of two ribs is seen.", "Kidney stones on both sides.",
    "A cyst in the spleen, 12 mm.", "Normal heart and vessels."]


def write_npy(path, shape, value):
    data = array.array("f", (value(z, y, x) for z in range(shape[0]) for y in range(shape[1]) for x in range(shape[2])))
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': %r, }" % (tuple(shape),)
    header += " " * ((64 - (10 + len(header) + 1) % 64) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data.tobytes())


def write_scan(path, seed, change=lambda v: v):
    """Three blobs at places and of values that the seed decides."""
    r = random.Random(seed)
    blobs = [(r.random(), r.random(), r.random(), r.uniform(-500, 600)) for _ in range(3)]

    def value(z, y, x):
        v = -800.0
        for bz, by, bx, h in blobs:
            if (z / 16 - bz) ** 2 + (y / 32 - by) ** 2 + (x / 32 - bx) ** 2 < 0.06:
                v = h
        return change(v)
    write_npy(path, (16, 32, 32), value)


class Checks(checking.Checks):
    title = "train"

    def __init__(self, tomo, reference, folder, kills):
        self.tomo, self.folder, self.kills, self.reference = tomo, folder, kills, reference
        self.make_model(reference)
        rows = [("scan", "report", "split")]
        for i, text in enumerate(REPORTS):
            write_scan(folder / f"scan{i}.npy", i)
            rows.append((f"scan{i}.npy", text, "train"))
        for i in range(2):
            write_scan(folder / f"held{i}.npy", 100 + i)
            rows.append((f"held{i}.npy", REPORTS[i], "validation"))
        with open(folder / "data.csv", "w", newline="") as f:
            csv.writer(f).writerows(rows)

    def make_model(self, reference):
        """The first model of the reference's pipelines without an adapter, set to scans without HU."""
        for config in sorted(glob.glob(os.path.join(reference, "pipeline", "*", "model", "config.json"))):
            c = json.load(open(config))
            if c["language"].get("adapter") is None and c["prompt"].get("format", "chat") == "chat":
                shutil.copytree(os.path.dirname(config), self.folder / "model")
                c["volume"] = {"windows": "minmax", "max_slices": 24}
                (self.folder / "model" / "config.json").write_text(json.dumps(c))
                return
        sys.exit("no model in " + reference)

    def recipe(self, run, stage=None, **top):
        stages = stage if isinstance(stage, list) else [dict({
            "name": "all", "train": ["connector", "language"], "learning_rate": 3e-3, "steps": 60, "batch": 4,
            "accumulation": 2, "warmup_steps": 5, "checkpoint_every": 3}, **(stage or {}))]
        r = dict({"run": run, "model": "model", "seed": 1, "data": {"path": "data.csv", "cache": "features"},
                  "stages": stages}, **top)
        path = self.folder / f"{run}.json"
        path.write_text(json.dumps(r, indent=1))
        return path

    def train(self, recipe, *options, limit=None):
        """Exit status and what was said; limit: bytes that a file may have."""
        def setup():
            if limit is not None:
                import resource
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        p = subprocess.run([self.tomo, "train", recipe, *options], stderr=subprocess.PIPE, text=True, timeout=900,
                           preexec_fn=setup)
        return p.returncode, p.stderr

    def losses(self, run):
        for line in (self.folder / run / "metrics.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry["kind"] == "train":
                yield entry["loss"]

    def product(self, run):
        """Digests of what was trained, without what the encoder's part is linked from."""
        h = {}
        for part in ("model/connector.safetensors", "model/language/model.safetensors",
                     "model/adapter/adapter_model.safetensors", "language/model.safetensors", "encoder/model.safetensors"):
            path = self.folder / run / part
            if path.exists():
                h[part] = hashlib.sha256(path.read_bytes()).hexdigest()
        return h

    def stop_and_resume(self, name, stages, **top):
        """Ctrl-C after a few steps, then --resume: what comes out is that of the run `name`, which did not stop."""
        run = name + "-stopped"
        recipe = self.recipe(run, stages, **top)
        p = subprocess.Popen([self.tomo, "train", recipe, "--every", "1"], stderr=subprocess.PIPE, text=True)
        for _ in range(4):
            p.stderr.readline()
        p.send_signal(signal.SIGINT)
        said = p.stderr.read()
        self.expect(f"{name}: interrupted", p.wait() == 130, f"status {p.returncode}")
        self.expect(f"{name}: nothing is lost", "--resume goes on there" in said, said[-300:])
        code, said = self.train(recipe, "--resume", "--quiet")
        self.expect(f"{name}: resumed", code == 0 and self.product(run) and self.product(run) == self.product(name), said)

    # ------------------------------------------------------------------------ checks

    def check_learns(self):
        recipe = self.recipe("learns", {"steps": 300, "checkpoint_every": 300})
        code, said = self.train(recipe, "--quiet")
        self.expect("learns", code == 0, said)
        for i, text in enumerate(REPORTS):
            p = subprocess.run([self.tomo, "report", self.folder / f"scan{i}.npy", "--model",
                                self.folder / "learns" / "model", "--json", "--quiet"], capture_output=True, text=True)
            got = json.loads(p.stdout)["report"] if p.returncode == 0 else p.stderr
            self.expect(f"learns scan{i}", got == text, f"{got!r}; {text!r} was learned")
        for name in ("metrics.jsonl", "metrics.csv", "curves.png", "curves.svg", "recipe.json"):
            self.expect(f"writes {name}", (self.folder / "learns" / name).stat().st_size > 0)

    def check_threads(self):
        for name, stage, top in (("threads", {}, {}), ("half", {}, {"trained_precision": "bf16"}),
                                 ("fast", {"train": ["connector", "lora"]}, {"precision": "fast"})):
            found = []
            for threads in (1, 2, 4):
                recipe = self.recipe(f"{name}{threads}", dict({"steps": 12}, **stage), **top)
                code, said = self.train(recipe, "--quiet", "--threads", str(threads))
                self.expect(f"{name} {threads}", code == 0, said)
                found.append(self.product(f"{name}{threads}"))
            self.expect(f"{name}: threads give the same bits", found[0] and found[0] == found[1] == found[2])
        # Factors rounded to 2^-9 move the loss of a step by far less than a step of training does.
        exact, half = (list(self.losses(f"{name}1")) for name in ("threads", "half"))
        self.expect("half: losses are those of float32", exact != half and len(exact) == len(half) == 12 and
                    all(abs(a - b) <= 0.02 * a for a, b in zip(exact, half)), f"{exact} {half}")

    def check_kills(self):
        """A run that is killed at random moments ends as one that is not."""
        longer = max(1, self.kills // 4)
        stages = [{"name": "first", "train": ["connector"], "learning_rate": 2e-3, "steps": 25 * longer, "batch": 2,
                   "checkpoint_every": 2, "evaluate_every": 8},
                  {"name": "second", "train": ["connector", "lora"], "learning_rate": {"connector": 1e-3, "lora": 4e-3},
                   "lora": {"rank": 4}, "steps": 35 * longer, "batch": 2, "accumulation": 2, "checkpoint_every": 2,
                   "evaluate_every": 7, "augment": True}]
        code, said = self.train(self.recipe("whole", stages), "--quiet")
        self.expect("whole run", code == 0, said)
        total = len(self.steps("whole"))
        r, kills, options = random.Random(5), 0, []
        recipe = self.recipe("killed", stages)
        metrics = self.folder / "killed" / "metrics.jsonl"
        while True:
            p = subprocess.Popen([self.tomo, "train", recipe, "--quiet", *options], stderr=subprocess.DEVNULL)
            options = ["--resume"]
            if kills == self.kills:
                p.wait(900)
                break
            # After a random number of steps, none of them for one in four, and a random moment more. A third of the
            # run at most is spent on all of it, so that the last attempt has something left to do.
            lines = lambda: metrics.read_bytes().count(b"\n") if metrics.exists() else 0
            until = lines() + max(0, r.randint(-total // (6 * self.kills), total // (2 * self.kills)))
            while lines() < until and p.poll() is None:
                time.sleep(0.002)
            time.sleep(r.uniform(0, 0.1))
            if p.poll() is not None:
                break
            p.send_signal(signal.SIGKILL)
            p.wait()
            kills += 1
        print(f"train kills: {kills} in a run of {total} steps and evaluations")
        self.expect("killed run ends", p.returncode == 0 and kills == self.kills, f"status {p.returncode} after {kills} kills")
        whole, killed = self.product("whole"), self.product("killed")
        self.expect("killed run ends with the same bits", len(whole) == 3 and whole == killed, f"{whole} {killed}")
        lines = [self.steps(run) for run in ("whole", "killed")]
        self.expect("killed run has the same metrics", lines[0] == lines[1])

    def steps(self, run):
        """What is the same in every run of a recipe."""
        keys = ("stage", "step", "kind", "loss", "learning_rate", "gradient_norm", "tokens")
        return [{k: json.loads(line)[k] for k in keys} for line in open(self.folder / run / "metrics.jsonl")]

    def check_nan(self):
        code, said = self.train(self.recipe("nan", {"learning_rate": 1e30, "schedule": "constant", "nan_limit": 3}))
        self.expect("no number", code == 1 and "skipped" in said and "in a row" in said, f"status {code}: {said[-300:]}")

    def check_no_answer_left(self):
        """Texts that are cut behind their visual tokens: nothing can be learned, and the cause is named."""
        tokens = math.prod(json.loads((self.folder / "model" / "config.json").read_text())["connector"]["tokens"])
        said = "too small"
        while "too small" in said:
            data = {"path": "data.csv", "cache": "features", "max_length": tokens}
            code, said = self.train(self.recipe("cut", {"nan_limit": 2}, data=data))
            tokens += 1
        self.expect("no answer left", code == 2 and "data.max_length" in said and "2 steps in a row" in said,
                    f"status {code}: {said[-300:]}")

    def check_full_disk(self):
        """No file may grow past what metrics need: no checkpoint can be written; the run goes on and says so."""
        recipe = self.recipe("full", {"steps": 12, "checkpoint_every": 4})
        # once without the limit, so that features are cached and a checkpoint is there
        self.train(self.recipe("full-warm", {"steps": 2}), "--quiet")
        code, said = self.train(recipe, limit=100000)
        self.expect("full disk", code == 1 and "no checkpoint at step 4" in said and "no checkpoint at step 12" in said,
                    f"status {code}: {said[-400:]}")
        self.expect("full disk leaves nothing half-written",
                    not [p for p in (self.folder / "full" / "checkpoints").iterdir()])
        code, said = self.train(recipe, "--resume", "--quiet")
        self.expect("full disk, resumed", code == 0, said)

    def check_missing_scan(self):
        """A scan that goes away during a run costs its sample alone."""
        recipe = self.recipe("missing", {"steps": 100, "checkpoint_every": 1000, "data": {"memory_gb": 0}})
        scan, away = self.folder / "scan3.npy", self.folder / "away.npy"
        p = subprocess.Popen([self.tomo, "train", recipe, "--every", "1"], stderr=subprocess.PIPE, text=True)
        said = [p.stderr.readline() for _ in range(3)]
        scan.rename(away)
        said += p.stderr.readlines()
        p.wait()
        away.rename(scan)
        told = [line for line in said if "left out" in line]
        self.expect("missing scan", p.returncode == 0 and len(told) == 1, "".join(said)[-400:])

    def check_damage(self):
        """A damaged checkpoint is passed over, a damaged cache entry is made again."""
        recipe = self.recipe("damage", {"steps": 12, "checkpoint_every": 4, "keep": 3})
        self.train(recipe, "--quiet")
        before = self.product("damage")
        for folder in sorted((self.folder / "damage" / "checkpoints").iterdir())[-2:]:
            path = folder / "state.safetensors"
            data = bytearray(path.read_bytes())
            data[-5] ^= 1
            path.write_bytes(data)
        for entry in glob.glob(str(self.folder / "features" / "*" / "*.features"))[:2]:
            data = bytearray(open(entry, "rb").read())
            data[len(data) // 2] ^= 1
            open(entry, "wb").write(data)
        code, said = self.train(recipe, "--resume")
        self.expect("damage", code == 0 and said.count("passed over") == 2, f"status {code}: {said[-400:]}")
        self.expect("damage changes nothing", before == self.product("damage"))

    def check_refusals(self):
        def refused(name, recipe, word, *options, code=3):
            status, said = self.train(recipe, *options)
            last = said.strip().splitlines()[-1] if said.strip() else ""
            self.expect(name, status == code and word in last, f"status {status}: {last}")
        refused("unknown key", self.recipe("r1", {"leraning_rate": 1}), "leraning_rate")
        refused("unknown part", self.recipe("r2", {"train": ["encoder"]}), "train")
        refused("unknown precision", self.recipe("r2p", trained_precision="fp16"), "trained_precision")
        refused("weights of another shape", self.recipe("r2c", config={"connector": {"width": 8}}), "config.connector.width")
        refused("no steps", self.recipe("r3", {"steps": 0}), "steps")
        refused("a name that breaks tables", self.recipe("r3n", {"name": "a, \"b\""}), "name")
        text = {"name": "text", "kind": "language", "language": "model/language", "data": {"path": "text.txt"}, "steps": 1,
                "batch": 1}
        refused("no rate for what learns", self.recipe("r3r", [dict(text, learning_rate={"connector": 1e-3})]), "learning_rate")
        scans = {"train": ["connector"], "learning_rate": 1e-3, "steps": 1, "batch": 1}
        refused("text between stages on scans", self.recipe("r3t", [
            dict(scans, name="one"), dict(text, learning_rate=1e-3), dict(scans, name="two")]), "between one and two")
        rows = (self.folder / "data.csv").read_text()
        (self.folder / "broken.csv").write_text(rows + "nowhere.npy,Nothing.,train\n")
        broken = self.recipe("r4", {"steps": 2}, data={"path": "broken.csv"})
        refused("broken data", broken, "skip-broken")
        code, said = self.train(broken, "--skip-broken")
        self.expect("skip broken", code == 0 and "nowhere.npy" in said, said[-300:])
        again = self.recipe("r5", {"steps": 2})
        self.train(again, "--quiet")
        refused("a run that is there", again, "--resume", code=1)
        refused("another recipe", self.recipe("r5", {"steps": 3}), "stages[0].steps", "--resume")
        # the state of another architecture, under the same recipe
        lora = {"train": ["lora"], "lora": {"rank": 2}, "steps": 6, "checkpoint_every": 3, "keep": 1}
        for run, rank in (("a", 2), ("b", 3)):
            self.train(self.recipe(run, dict(lora, lora={"rank": rank})), "--quiet")
        for run in ("a", "b"):
            shutil.rmtree(self.folder / run / "checkpoints" / "01-00000000", ignore_errors=True)
        shutil.rmtree(self.folder / "b" / "checkpoints")
        self.train(self.recipe("c", dict(lora, steps=3)), "--quiet")
        shutil.copytree(self.folder / "c" / "checkpoints", self.folder / "b" / "checkpoints")
        for name in os.listdir(self.folder / "b" / "checkpoints"):
            if name.startswith("01"):
                shutil.rmtree(self.folder / "b" / "checkpoints" / name)
        for name in os.listdir(self.folder / "c" / "checkpoints"):
            if name.startswith("01"):
                shutil.copytree(self.folder / "c" / "checkpoints" / name, self.folder / "b" / "checkpoints" / "00-00000003",
                                dirs_exist_ok=True)
        state = self.folder / "b" / "checkpoints" / "00-00000003" / "state.json"
        s = json.loads(state.read_text())
        s.update(stage=0, step=3)
        state.write_text(json.dumps(s))
        sums = "".join(f"{hashlib.sha256((state.parent / n).read_bytes()).hexdigest()}  {n}\n"
                       for n in ("state.safetensors", "state.json"))
        (state.parent / "SHA256SUMS").write_text(sums)
        refused("another architecture", self.folder / "b.json", "lora_A", "--resume")

    def check_fewer_tokens(self):
        """A run with fewer visual tokens, then one with as many as before: the same weights serve both."""
        config = json.loads((self.folder / "model" / "config.json").read_text())
        wanted = config["connector"]["tokens"]
        few = {"connector": {"tokens": [1, 1, 2]}}
        code, said = self.train(self.recipe("few", {"steps": 4}, config=few), "--quiet")
        told = json.loads((self.folder / "few" / "model" / "config.json").read_text())["connector"]["tokens"]
        self.expect("fewer tokens", code == 0 and told == [1, 1, 2], f"{told} {said}")
        many = {"connector": {"tokens": wanted}}
        code, said = self.train(self.recipe("many", {"steps": 4}, model="few/model", config=many), "--quiet")
        told = json.loads((self.folder / "many" / "model" / "config.json").read_text())["connector"]["tokens"]
        self.expect("as many again", code == 0 and told == wanted, f"{told} {said}")

    def check_early_stop(self):
        recipe = self.recipe("early", {"steps": 200, "evaluate_every": 5, "patience": 2, "checkpoint_every": 50})
        code, said = self.train(recipe, "--quiet")
        steps = self.steps("early")
        losses = [s["loss"] for s in steps if s["kind"] == "validation"]
        self.expect("early stopping", code == 0 and len(losses) >= 3 and losses[-3] == min(losses) and
                    max(s["step"] for s in steps) < 200, f"status {code}, {losses}")

    def check_language(self):
        """Next-token training from random weights."""
        shutil.copytree(self.folder / "model" / "language", self.folder / "blank")
        for path in (self.folder / "blank").glob("*.safetensors"):
            path.unlink()
        (self.folder / "text.jsonl").write_text("".join(
            json.dumps({"text": t, "split": "train"}) + "\n" for t in REPORTS * 4) +
            json.dumps({"text": REPORTS[0], "split": "validation"}) + "\n")
        stages = [{"name": "words", "kind": "language", "language": "blank", "learning_rate": 3e-3,
                   "epochs": 20, "batch": 4, "evaluate_every": 20, "data": {"path": "text.jsonl"}}]
        code, said = self.train(self.recipe("words", stages, model=None), "--quiet")
        self.expect("language", code == 0, said)
        self.stop_and_resume("words", stages, model=None)
        steps = self.steps("words")
        self.expect("language learns", steps[-1]["loss"] < steps[0]["loss"] / 2, f"{steps[0]} {steps[-1]}")
        p = subprocess.run([self.tomo, "generate", "Normal", "--model", self.folder / "words" / "language", "--max-tokens",
                            "4", "--quiet"], capture_output=True, text=True)
        self.expect("language opens", p.returncode == 0, p.stderr)

    def make_m3d(self):
        """The miniature M3D tree of the reference, with made-up volumes where it has only their names."""
        tree = self.folder / "m3d"
        shutil.copytree(os.path.join(self.reference, "metrics", "tree"), tree)
        names = {e["image"] for entries in json.load(open(tree / "M3D_Cap_npy" / "M3D_Cap.json")).values() for e in entries}
        for table in (tree / "M3D-VQA").glob("M3D_VQA_*.csv"):
            names |= {row["Image Path"] for row in csv.DictReader(open(table))}
        for i, name in enumerate(sorted(names)):
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_scan(path, i, lambda v: (v + 800) / 1400)
        return tree

    def check_recipes(self):
        """The recipes as they are written, but for where model, data and run are; a tiny model stands for the real one."""
        here = pathlib.Path(__file__).resolve().parents[2] / "recipes"
        data = {"m3d-two-stage": str(self.make_m3d()), "own-scans": "data.csv"}
        for path in sorted(here.glob("*.json")):
            r = json.loads(path.read_text())
            r.update(run=path.stem, model="model")
            r["data"]["path"] = data[path.stem]
            recipe = self.folder / f"{path.stem}.json"
            recipe.write_text(json.dumps(r))
            code, said = self.train(recipe, "--quiet")
            self.expect(f"recipe {path.stem}", code == 0, said)
            stages = {s["stage"] for s in self.steps(path.stem)} if code == 0 else set()
            self.expect(f"recipe {path.stem} runs every stage", stages == {s["name"] for s in r["stages"]}, str(stages))
            p = subprocess.run([self.tomo, "report", self.folder / "scan0.npy", "--model", self.folder / path.stem / "model",
                                "--json", "--quiet", "--max-tokens", "4"], capture_output=True, text=True)
            self.expect(f"recipe {path.stem}: its model reads a scan", p.returncode == 0, p.stderr)

    def check_phantom_recipes(self):
        """recipes/phantom one after the other, as docs/train.md has them, with few phantoms and steps."""
        root, here = self.folder / "from-nothing", pathlib.Path(__file__).resolve().parents[2] / "recipes" / "phantom"
        shutil.copytree(here, root / "recipes" / "phantom")
        for path in (root / "recipes" / "phantom").glob("*.json"):
            r = json.loads(path.read_text())
            for stage in r.get("stages", []):
                stage.update(steps=2, batch=2)
                stage.pop("evaluate_every", None)  # so few phantoms need not have a validation split
            path.write_text(json.dumps(r))
        aligned = json.loads((root / "recipes" / "phantom" / "two-stage.json").read_text())
        model = json.loads((root / "recipes" / "phantom" / "model.json").read_text())
        aligned.update(model="../../runs/phantom-align/model", run="../../runs/phantom-aligned", config={
            "connector": {key: model["connector"][key] for key in ("tokens", "summary")},
            "prompt": {"report": model["prompt"]["report"]}})
        (root / "recipes" / "phantom" / "aligned.json").write_text(json.dumps(aligned))

        def run(*arguments):
            p = subprocess.run([self.tomo, *arguments, "--quiet"], cwd=root, capture_output=True, text=True, timeout=300)
            self.expect(f"from nothing: {' '.join(arguments[:2])}", p.returncode == 0, p.stderr[-400:])
        run("phantom", "data/phantom-slices", "--contents", "slices", "--count", "12", "--size", "128x128")
        run("phantom", "data/phantom-text", "--contents", "text", "--count", "12", "--answer", "text", "--all-questions")
        run("phantom", "data/phantoms", "--count", "8", "--format", "nii", "--size", "16x64x64")
        for name in ("encoder", "language"):
            run("train", f"recipes/phantom/{name}.json")
        run("model", "new", "models/phantom-blank", "--encoder", "runs/phantom-encoder/encoder", "--language",
            "runs/phantom-language/language", "--config", "recipes/phantom/model.json")
        for name in ("two-stage", "align", "aligned"):
            run("train", f"recipes/phantom/{name}.json")
        run("eval", "vqa-closed", "--model", "runs/phantom-aligned/model", "--data", "data/phantoms/scans.csv", "-o", "results",
            "--split", "train", "--max-tokens", "4")

    def check_contrastive(self):
        """A small ViT beside a text tower, both from random weights."""
        encoder = self.folder / "blank-encoder"
        encoder.mkdir()
        (encoder / "config.json").write_text(json.dumps({
            "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "hidden_act": "quick_gelu"}))
        words = self.folder / "blank-words"
        shutil.copytree(self.folder / "model" / "language", words)
        for path in words.glob("*.safetensors"):
            path.unlink()
        recipe = self.recipe("clip", [{"name": "clip", "kind": "contrastive", "encoder": "blank-encoder",
                                       "language": "blank-words", "learning_rate": 1e-3, "steps": 120, "batch": 8,
                                       "embedding": 32, "checkpoint_every": 40}], model=None)
        code, said = self.train(recipe, "--quiet")
        self.expect("contrastive", code == 0, said)
        losses = [s["loss"] for s in self.steps("clip")]
        self.stop_and_resume("clip", json.loads(recipe.read_text())["stages"], model=None)
        self.expect("contrastive learns", sum(losses[-10:]) < 0.7 * sum(losses[:10]), f"{losses[0]} {losses[-1]}")
        stage = json.loads(recipe.read_text())["stages"][0]
        again = self.recipe("clip-again", [dict(stage, encoder="clip/encoder", steps=5, warmup_steps=0)], model=None)
        code, said = self.train(again, "--quiet")
        self.expect("contrastive: the encoder opens", code == 0, said)
        self.alike_texts_meet()

    def alike_texts_meet(self):
        """With `together` a contrastive batch holds samples whose texts begin with the same sentence. Here those are equal
        to the end, so a batch of them cannot be told apart: its loss is at least that of guessing."""
        rows = [f'scan{i % 4}.npy,"{text}",,,,train' for i in range(16)
                for text in [("The chest. No nodule.", "The belly. No stone.")[i % 2]]]
        (self.folder / "alike.csv").write_text("\n".join(["scan,report,question,answer,choices,split", *rows]) + "\n")
        losses = {}
        for together in (1, 8):
            data = {"path": "alike.csv", "together": together}
            recipe = self.recipe(f"alike{together}", [{
                "name": "clip", "kind": "contrastive", "encoder": "blank-encoder", "language": "blank-words", "learning_rate": 1e-3,
                "steps": 80, "batch": 8, "embedding": 32}], model=None, data=data)
            code, said = self.train(recipe, "--quiet")
            self.expect(f"contrastive, together {together}", code == 0, said)
            losses[together] = [s["loss"] for s in self.steps(f"alike{together}")]
        guessing = math.log(8)
        self.expect("contrastive: alike texts meet", min(losses[8]) > guessing - 1e-4, str(min(losses[8])))
        self.expect("contrastive: without it they do not", min(losses[1]) < guessing - 0.2, str(min(losses[1])))

    def check_processes(self):
        """mpirun -n 2 gives the losses of one process, but for the order of sums."""
        if shutil.which("mpirun") is None or "libmpi" not in subprocess.run(
                ["ldd", self.tomo], capture_output=True, text=True).stdout:
            print("train processes: skipped: no mpirun, or a build without MPI")
            return
        found = []
        for n in (1, 2, 3):
            recipe = self.recipe(f"ranks{n}", {"steps": 20, "evaluate_every": 10})
            p = subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(n), self.tomo, "train",
                                recipe, "--quiet", "--threads", "1"], capture_output=True, text=True, timeout=300)
            self.expect(f"processes {n}", p.returncode == 0, p.stderr[-400:])
            found.append([s["loss"] for s in self.steps(f"ranks{n}")])
        for n in (1, 2):
            off = max(abs(a - b) for a, b in zip(found[0], found[n]))
            # sums of the same float32 gradients in another order: 7e-7 measured over 30 steps
            self.expect(f"processes {n + 1} learn as one does", len(found[0]) == len(found[n]) and off < 2e-5, str(off))
        losses = {}
        for n in (1, 2):  # the only evaluation is the last, whose weights are then the best
            for name, stage in (("last", {"steps": 6, "evaluate_every": 1000}),
                                ("means", {"steps": 6, "normalisation": "microbatch_mean", "batch": 8, "accumulation": 1})):
                recipe = self.recipe(f"{name}{n}", stage)
                p = subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(n), self.tomo, "train",
                                    recipe, "--quiet", "--threads", "1"], capture_output=True, text=True, timeout=120)
                self.expect(f"processes {n}, {name}", p.returncode == 0, p.stderr[-400:])
                losses[name, n] = [s["loss"] for s in self.steps(f"{name}{n}") if s["kind"] == "train"]
        # a mean of two means in place of one: not the same where texts differ in length, but not twice as much
        self.expect("micro-batches of processes are averaged", len(losses["means", 1]) == len(losses["means", 2]) and all(
            0.7 < b / a < 1.4 for a, b in zip(losses["means", 1], losses["means", 2])), str(losses))
        recipe = self.recipe("dying", {"steps": 400, "checkpoint_every": 5})
        p = subprocess.Popen(["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", self.tomo, "train", recipe,
                              "--threads", "1", "--every", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             text=True)
        for _ in range(8):
            p.stderr.readline()
        ranks = subprocess.run(["pgrep", "-P", str(p.pid), "-f", "dying.json"], capture_output=True, text=True).stdout.split()
        os.kill(int(ranks[-1]), signal.SIGKILL)
        said = p.stderr.read()
        self.expect("a process that dies ends the run with a message", p.wait() != 0 and said.strip() != "", said[-300:])
        code, said = self.train(self.folder / "dying.json", "--resume", "--quiet", "--threads", "1")
        self.expect("and leaves a state to go on from", code == 0, said)

    def check_together(self):
        """Several texts a scan, which share what the scan looks like: a run stops, goes on and is shared out as any other."""
        rows = [("scan", "report", "question", "answer", "choices", "split")]
        for i, text in enumerate(REPORTS):
            split = "validation" if i > 5 else "train"
            rows.append((f"scan{i}.npy", text, "", "", "", split))
            for k in range(i % 4):
                rows.append((f"scan{i}.npy", "", f"Question {k}?", "yes" if (i + k) % 2 else "no", "yes|no" if k else "", split))
        with open(self.folder / "several.csv", "w", newline="") as f:
            csv.writer(f).writerows(rows)
        data = {"path": "several.csv", "cache": "features", "together": 3}
        stage = {"steps": 24, "batch": 3, "evaluate_every": 8}
        code, said = self.train(self.recipe("together", stage, data=data), "--quiet")
        self.expect("together", code == 0, said)
        self.stop_and_resume("together", stage, data=data)
        code, said = self.train(self.recipe("together-threads", stage, data=data), "--quiet", "--threads", "3")
        self.expect("together: threads give the same bits", self.product("together") == self.product("together-threads"), said)
        code, said = self.train(self.recipe("apart", {"steps": 2}, data=dict(data, together=0)))
        self.expect("together 0 is refused", code == 3 and "data.together" in said, said)
        if shutil.which("mpirun") is None or "libmpi" not in subprocess.run(
                ["ldd", self.tomo], capture_output=True, text=True).stdout:
            print("train together: processes skipped: no mpirun, or a build without MPI")
            return
        recipe = self.recipe("together-ranks", stage, data=data)
        p = subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", self.tomo, "train", recipe,
                            "--quiet", "--threads", "1"], capture_output=True, text=True, timeout=300)
        self.expect("together: processes", p.returncode == 0, p.stderr[-400:])
        losses = [[s["loss"] for s in self.steps(run)] for run in ("together", "together-ranks")]
        off = max(abs(a - b) for a, b in zip(*losses))
        # as for processes: sums in another order
        self.expect("together: processes learn as one does", len(losses[0]) == len(losses[1]) and off < 2e-5, str(off))

    def check_interrupt(self):
        stage = {"steps": 40, "checkpoint_every": 1000}
        self.train(self.recipe("unstopped", stage), "--quiet")
        self.stop_and_resume("unstopped", stage)
        # Scans are read in every step, which takes most of it.
        stage["augment"] = True
        self.train(self.recipe("read", stage), "--quiet")
        self.stop_and_resume("read", stage)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tomo")
    parser.add_argument("reference")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(os.path.abspath(a.tomo), a.reference, pathlib.Path(folder), a.kills)
        checks.run_all(a.only)


if __name__ == "__main__":
    main()
