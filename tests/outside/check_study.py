#!/usr/bin/env python3
"""The study's machinery on a plan of minutes: every piece runs, nothing runs twice, and training helps.

    check_study.py TOMO_BINARY

Works in build/study-quick, which is made anew. Ends with 0 when every check passed.
"""
import copy
import json
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "study"))
sys.dont_write_bytecode = True
import bfloat16  # noqa: E402
import bootstrap  # noqa: E402
import checking  # noqa: E402
import make  # noqa: E402
import plan as plans  # noqa: E402
import report  # noqa: E402
from errors import StudyError  # noqa: E402

QUICK = ROOT / "study" / "quick.json"


class Checks(checking.Checks):
    title = "study"

    def __init__(self, tomo):
        self.tomo = str(pathlib.Path(tomo).resolve())
        self.plan = plans.Plan(QUICK)

    def command(self, *options):
        return [sys.executable, "-B", str(ROOT / "study" / "study.py"), str(QUICK), "--tomo", self.tomo, *options]

    def study(self, *options):
        p = subprocess.run(self.command(*options), capture_output=True, text=True, timeout=1200)
        return p.returncode, p.stdout + p.stderr

    def result(self, variant, n):
        return json.loads(self.plan.find_result(variant, n, 1).read_text())

    # ------------------------------------------------------------------------ parts alone

    def check_keys(self):
        """A changed recipe changes the keys of what depends on it, and no others."""
        def keys(changed):
            p = copy.copy(self.plan)
            p.json, p.pieces = changed, {}
            p.variants = changed["variants"]
            p.expand()
            return {name: piece.key for name, piece in p.pieces.items()}
        before = keys(self.plan.json)
        self.expect("the same plan has the same keys", before == keys(copy.deepcopy(self.plan.json)))
        changed = copy.deepcopy(self.plan.json)
        changed["variants"][1]["train"] = {"stages": {"all": {"steps": 7}}}
        after = keys(changed)
        differ = {name for name in before if before[name] != after[name]}
        self.expect("a run's recipe", differ == {n for n in before if re.match("(run|run-aligned|run-again-\\d|closed|captions|result)-full|demo|.*-demo", n)},
                    str(sorted(differ)))
        changed = copy.deepcopy(self.plan.json)
        changed["comment"] = changed["encoders"]["small"]["config"]["comment"] = "other words"
        self.expect("comments change nothing", keys(changed) == before)
        changed["data"]["text"]["options"]["seed"] += 1
        after = keys(changed)
        differ = {name for name in before if before[name] != after[name]}
        self.expect("a data set reaches its model", {"data-text", "language-small", "model-full-s1"} <= differ and
                    not differ & {"data-train", "encoder-small", "test"}, str(sorted(differ)))
        changed = copy.deepcopy(self.plan.json)
        changed["variants"][1]["train"] = {"stages": {"nowhere": {"steps": 7}}}
        try:
            keys(changed)
            self.expect("a stage that is not there is refused", False)
        except StudyError as error:
            self.expect("a stage that is not there is refused", "nowhere" in str(error), str(error))

    def check_plans(self):
        """The plans that ship expand, and their recipes have what they name."""
        for name in ("plan", "demo"):
            p = plans.Plan(ROOT / "study" / f"{name}.json")
            self.expect(f"{name}.json", len(p.pieces) > 10)
        study, demo = (plans.Plan(ROOT / "study" / f"{name}.json").pieces for name in ("plan", "demo"))
        for name in ("data-slices", "encoder-small", "language-small", "data-train", "data-test"):
            self.expect(f"study and demo share {name}", study[name].key == demo[name].key)

    def check_balance(self):
        """Common answers are thinned out to the mean of the others, evenly; reports and rarer answers stay."""
        answers = ["none"] * 8 + ["one", "two", "two"]
        rows = [{"question": "How many?", "answer": answer, "row": i} for i, answer in enumerate(answers)]
        rows += [{"question": "", "answer": "", "row": 90 + i} for i in range(3)]
        left = [row["row"] for row in make.balanced(rows, 1)]
        self.expect(f"balanced rows: {left}", left == [3, 7, 8, 9, 10, 90, 91, 92])
        self.expect("twice as often", [row["row"] for row in make.balanced(rows, 2)] == [2, 5, 7, 8, 9, 10, 90, 91, 92])
        same = [{"question": "Which?", "answer": "this"}] * 4
        self.expect("an only answer stays", list(make.balanced(same, 1)) == same)

    def check_evened(self):
        """Questions in the same words are thinned out to so many, evenly; reports and rarer questions stay."""
        rows = [{"question": "How many?", "row": i} for i in range(9)]
        rows += [{"question": "Where?", "row": 90}] + [{"question": "", "row": 91 + i} for i in range(5)]
        left = [row["row"] for row in make.evened(rows, 3)]
        self.expect(f"evened rows: {left}", left == [2, 5, 8, 90, 91, 92, 93, 94, 95])
        self.expect("few enough", list(make.evened(rows, 9)) == rows)

    def check_tokenizer(self):
        """config.json and tokenizer.json agree; every word of a report is one token."""
        folder = ROOT / "recipes" / "phantom" / "language"
        config = json.loads((folder / "config.json").read_text())
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        self.expect("tokenizer's size", config["vocab_size"] == len(vocabulary) == max(vocabulary.values()) + 1)
        special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
        self.expect("control tokens", set(special) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>"} and
                    config["eos_token_id"] == special["<|im_end|>"] and config["pad_token_id"] == special["<|endoftext|>"])
        words = re.findall(r"\w+", "nodule effusion liver spleen kidney aneurysm fracture ascites craniocaudal")
        self.expect("words are tokens", all("\u0120" + word in vocabulary for word in words))

    def check_bfloat16(self):
        def there_and_back(value):
            return struct.unpack("<f", b"\0\0" + bfloat16.to_bfloat16(struct.pack("<f", value)))[0]
        for value, want in ((1.0, 1.0), (-2.5, -2.5), (1 + 2 ** -8, 1.0), (1 + 3 * 2 ** -8, 1 + 2 ** -6), (0.0, 0.0),
                            (3.4e38, float("inf")), (float("-inf"), float("-inf"))):
            self.expect(f"bfloat16 of {value}", there_and_back(value) == want, str(there_and_back(value)))
        self.expect("bfloat16 of no number", there_and_back(float("nan")) != there_and_back(float("nan")))

    def check_bootstrap(self):
        draws = bootstrap.Draws([2, 0, 3, 1], 200)
        every = [True] * 6
        got = draws.mean([1] * 6, every)
        self.expect("what never varies has no spread", got == {"mean": 1, "low": 1, "high": 1}, str(got))
        got = draws.mean([1, 0, 1, 0, 1, 0], every)
        self.expect("a mean lies in its interval", got["mean"] == 0.5 and 0 <= got["low"] < 0.5 < got["high"] <= 1, str(got))
        self.expect("nothing asked, nothing told", draws.mean([1] * 6, [False] * 6) is None)
        # Of n independent scans the interval is as wide as theory says.
        many = bootstrap.Draws([1] * 400, 1000)
        got = many.mean([i % 2 for i in range(400)], [True] * 400)
        self.expect("an interval of 400 coins", abs(got["high"] - got["low"] - 2 * 1.96 * 0.025) < 0.02, str(got))

    # ------------------------------------------------------------------------ the whole

    def interrupt(self):
        """Ctrl-C in the middle of the first run; the next call goes on with it."""
        # A shell that puts this test into the background has Ctrl-C ignored; the study is to hear it all the same.
        p = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        said = ""
        for line in p.stdout:
            said += line
            if " run-full-" in line:
                break
        part = next(piece.folder for piece in self.plan.pieces.values() if piece.name.startswith("run-full-")) + ".part"
        metrics = self.plan.work / part / "run" / "metrics.jsonl"
        until = time.monotonic() + 120
        while time.monotonic() < until and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 5):
            time.sleep(0.05)
        p.send_signal(signal.SIGINT)
        said += p.stdout.read()
        self.expect("Ctrl-C stops", p.wait() == 130, f"status {p.returncode}: {said[-500:]}")
        self.expect("Ctrl-C leaves a run to go on with", (self.plan.work / part / "run" / "recipe.json").exists())

    def check_whole(self):
        shutil.rmtree(self.plan.work, ignore_errors=True)
        self.interrupt()
        code, said = self.study("--jobs", "2")
        self.expect("a plan is worked through", code == 0 and "every piece is there" in said, said[-800:])
        self.expect("what was made is not made again", " data-train-" not in said, said)
        if code != 0:
            return
        code, said = self.study()
        self.expect("the second call makes nothing", code == 0 and "[1/" not in said, said[-500:])
        code, said = self.study("--list")
        self.expect("the list says so", code == 0 and " 0 to make" in said, said[-500:])
        code, said = self.study("--only", "no-such-piece")
        self.expect("a pattern without a piece is refused", code == 2, said)
        left = [path.name for path in self.plan.work.iterdir() if path.name.endswith((".part", ".new"))]
        self.expect("nothing half-made is left", not left, str(left))
        self.trained_beats_untrained()
        self.page()
        self.demo()

    def trained_beats_untrained(self):
        """By margins far above what chance does with so few questions."""
        results = report.Results(self.plan)
        full, fresh = self.result("full", 80), self.result("untrained", 0)
        for training in full["training"]:
            first, last = training["loss"]["first"], training["loss"]["last"]
            self.expect(f"{training['piece']} learns", last < 0.85 * first, f"loss {first} -> {last}")
        run = full["training"][-1]["loss"]
        self.expect("validation too", run["validation"] < 0.85 * run["first"], str(run))
        gain = results.mean_over([full, fresh], "closed", [1, -1])
        self.expect("trained answers more questions than untrained", gain["low"] > 0.05, str(gain))
        gain = results.mean_over([full, fresh], "meteor", [1, -1])
        self.expect("trained writes better reports than untrained", gain["low"] > 0.1, str(gain))
        print(f"study: closed {fresh['closed']['scores']['accuracy']['mean']:.3f} -> "
              f"{full['closed']['scores']['accuracy']['mean']:.3f}, METEOR "
              f"{fresh['captions']['scores']['meteor']['mean']:.3f} -> {full['captions']['scores']['meteor']['mean']:.3f}")
        own, told = results.mean_over([full], "closed"), full["closed"]["scores"]["accuracy"]
        self.expect("answers join as tomo eval counts them", abs(own["mean"] - told["mean"]) < 1e-6, f"{own} {told}")

    def page(self):
        """Tables and figures come from results; --check knows whether they do."""
        page = self.plan.work / "page.md"
        shutil.copyfile(ROOT / "docs" / "data-efficiency.md", page)
        page.write_text(page.read_text() + "\n<!-- = full - untrained 80 closed --><!-- / -->, <!-- = full 80 closed --><!-- / -->, <!-- = full 80 meteor --><!-- / -->\n")
        command = [sys.executable, "-B", str(ROOT / "study" / "report.py"), str(QUICK), "--demo", str(QUICK), "--page", str(page)]

        def run(*options):
            return subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
        self.expect("an old page is found out", run("--check").returncode == 1)
        p = run()
        self.expect("the page is written", p.returncode == 0, p.stderr)
        self.expect("and is up to date then", run("--check").returncode == 0)
        text = page.read_text()
        accuracy = self.result("full", 80)["closed"]["scores"]["accuracy"]["mean"]
        self.expect("the page has the score", f"{100 * accuracy:.1f} [" in text)
        self.expect("a run that is not there is not run", "<!-- = full - untrained 80 closed -->not run" in text)
        for figure in report.FIGURES:
            xml.etree.ElementTree.parse(page.with_name(f"page-{figure}.svg"))
        p = subprocess.run([sys.executable, "-B", str(ROOT / "study" / "report.py"), "--check"], capture_output=True, text=True)
        self.expect("docs/data-efficiency.md is what the results say", p.returncode == 0, p.stderr)

    def demo(self):
        """The small model reads, and its card has its numbers."""
        folder = self.plan.root / self.plan.json["demo"]["folder"]
        card = (folder / "README.md").read_text()
        self.expect("the card has no hole", "{{" not in card, card)
        result = json.loads(next(self.plan.results.glob("demo-*.json")).read_text())
        mean = result["captions"]["scores"]["meteor"]["mean"]
        self.expect("the card has the score", f"{mean:.3f} [" in card)
        scan = next((self.plan.work).glob("data-test-*")) / "data" / "scans" / "000000.nii"
        p = subprocess.run([self.tomo, "report", scan, "--model", folder, "--quiet", "--max-tokens", "20"], capture_output=True,
                           text=True)
        self.expect("the demo model reads a scan", p.returncode == 0 and len(p.stdout.split()) > 3, p.stdout + p.stderr)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    checks = Checks(sys.argv[1])
    checks.run_all()


if __name__ == "__main__":
    main()
