#!/usr/bin/env python3
"""Checks tomo eval, tomo score and tomo data from outside, with the standard library alone.

    check_eval.py TOMO_BINARY REFERENCE_DIR

Scores the recorded CSV files; refuses broken ones; runs a reference model over the miniature M3D tree: whole, killed
with SIGKILL at random moments and resumed, in shards, and with the recorded predictions in place of the model's.
TOMO_REFERENCE in the environment takes the place of REFERENCE_DIR.
"""
import csv
import io
import json
import math
import os
import pathlib
import random
import re
import signal
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

SECONDS = 300
KILLS = int(os.environ.get("KILLS", "3"))
TOMO = REFERENCE = MODEL = None
KINDS = {"caption": "eval_caption", "vqa-open": "eval_open_vqa", "vqa-closed": "eval_close_vqa"}


def tomo(*arguments):
    return subprocess.run([TOMO, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=SECONDS, check=False)


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


class Case(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def run_well(self, *arguments):
        done = tomo(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    def refused(self, status, words, *arguments):
        done = tomo(*arguments)
        said = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, status, said)
        self.assertEqual(said.count("\n"), 1, said)
        for word in words:
            self.assertIn(word, said)

    def write(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


class Scores(Case):
    def test_recorded_files_are_written_again(self):
        for path in sorted((REFERENCE / "metrics" / "mini_eval").glob("*.csv")):
            with self.subTest(path.name):
                before = read_rows(path)
                kind = "caption" if "Ground Truth" in before[0] else "vqa"
                out = self.folder / path.name
                table = self.run_well("score", kind, path, "-o", out).decode()
                self.assertIn(path.name, table)
                after = read_rows(out)
                self.assertEqual(len(before), len(after))
                for a, b in zip(before, after):
                    a.pop("bert_f1", None)
                    self.assertEqual(a, b)

    def test_json_holds_what_the_table_shows(self):
        path = REFERENCE / "metrics" / "mini_eval" / "open_vqa.csv"
        scores = json.loads(self.run_well("score", "vqa", path, "--json", "--compare", path))
        self.assertEqual(len(scores["types"]), 5)
        for metric, e in scores["micro"].items():
            self.assertLessEqual(e["low"], e["mean"] + 1e-12, metric)
            self.assertLessEqual(e["mean"], e["high"] + 1e-12, metric)
            self.assertEqual(scores["difference"]["micro"][metric]["mean"], 0)
            types = [t["scores"][metric]["mean"] for t in scores["types"]]
            self.assertTrue(math.isclose(scores["macro"][metric]["mean"], sum(types) / len(types), abs_tol=1e-12))

    def test_broken_files_are_refused_with_row_and_column(self):
        head = b"Ground Truth,pred\n"
        for name, text, words in [
                ("empty.csv", b"", ["row 1, column 1"]),
                ("names.csv", head, ["row 2, column 1"]),
                ("short.csv", head + b"a,b\nc\n", ["row 3, column 2 (pred)"]),
                ("long.csv", head + b"a,b,c\n", ["row 2, column 3"]),
                ("quote.csv", head + b'a,"b\n', ["row 2, column 2 (pred)", "quote"]),
                ("utf8.csv", head + b"a,\xff\xfe\n", ["row 2, column 2 (pred)", "UTF-8"]),
                ("other.csv", b"x,y\n1,2\n", ['no column "Ground Truth"'])]:
            with self.subTest(name):
                self.refused(3, [name, *words], "score", "caption", self.write(name, text))
        self.refused(1, ["none.csv"], "score", "caption", self.folder / "none.csv")
        self.refused(2, ["caption or vqa"], "score", "captions", "x.csv")

    def test_meteor_needs_wordnet(self):
        path = self.write("a.csv", "Ground Truth,pred\nthe liver,the liver\n")
        self.refused(1, ["wordnet-base"], "score", "caption", path, "--wordnet", self.folder)


class Evaluations(Case):
    def evaluate(self, kind, out, *more):
        return [TOMO, "eval", kind, "--model", str(MODEL), "--data", str(REFERENCE / "metrics" / "tree"), "-o", str(out),
                "--max-tokens", "12", "--quiet", "--draws", "50", *map(str, more)]

    def run_evaluation(self, kind, out, *more):
        self.run_well(*self.evaluate(kind, out, *more)[1:])

    def results(self, folder, name):
        """Everything but times and the folder's own name."""
        out = {}
        for path in sorted(folder.glob(name + ".*")):
            text = path.read_bytes().replace(str(folder).encode(), b"FOLDER")
            if path.suffix == ".json":
                summary = json.loads(text)
                self.assertIn("timing", summary)
                del summary["timing"]
                text = json.dumps(summary).encode()
            if path.suffix == ".html":
                text = re.sub(rb"<h2>Time of the last process</h2>.*", b"", text, flags=re.S)
            out[path.name] = text
        self.assertEqual(len(out), 4, sorted(out))
        return out

    def test_a_killed_run_goes_on_as_if_nothing_had_happened(self):
        rng = random.Random(int(os.environ.get("SEED", "1")))
        whole = self.folder / "whole"
        start = time.monotonic()
        self.run_evaluation("vqa-closed", whole)
        seconds = time.monotonic() - start
        expected = self.results(whole, KINDS["vqa-closed"])
        kills = 0
        for attempt in range(KILLS):
            killed = self.folder / str(attempt)
            for _ in range(3):
                process = subprocess.Popen(self.evaluate("vqa-closed", killed), stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(rng.uniform(0.1, 0.8) * seconds)
                process.send_signal(signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
            self.run_evaluation("vqa-closed", killed)
            self.assertEqual(self.results(killed, KINDS["vqa-closed"]), expected)
        self.assertGreater(kills, 0)

    def test_features_are_encoded_once(self):
        cache, entries = self.folder / "cache", []
        scans = {row["Image Path"] for row in read_rows(REFERENCE / "metrics" / "tree" / "M3D-VQA" / "M3D_VQA_test.csv")}
        for name in ("first", "second"):
            self.run_evaluation("vqa-closed", self.folder / name, "--cache", cache)
            entries.append({p: p.stat().st_ino for p in cache.rglob("*") if p.is_file() and p.name != "size"})
            self.assertEqual(len(entries[-1]), len(scans))
        first, second = (self.results(self.folder / name, KINDS["vqa-closed"]) for name in ("first", "second"))
        self.assertEqual(first, second)
        self.assertEqual(entries[0], entries[1])  # what is encoded again is a new file in the old one's place
        # Another run than one that encodes: rounded features may change a word.
        self.refused(3, ["another run"], *self.evaluate("vqa-closed", self.folder / "first")[1:])
        self.refused(2, ["cache", "forced"], *self.evaluate("vqa-closed", self.folder / "third", "--cache", cache,
                                                            "--force-windows")[1:])

    def test_a_torn_line_is_made_again(self):
        out = self.folder / "out"
        self.run_evaluation("vqa-open", out, "--limit", 6)
        expected = self.results(out, KINDS["vqa-open"])
        journal = out / (KINDS["vqa-open"] + ".journal.jsonl")
        text = journal.read_bytes()
        for size in (0, 20, len(text) - 1, len(text) // 2):
            journal.write_bytes(text[:size])
            self.run_evaluation("vqa-open", out, "--limit", 6)
            self.assertEqual(self.results(out, KINDS["vqa-open"]), expected)

    def test_another_run_is_refused(self):
        out = self.folder / "out"
        self.run_evaluation("vqa-open", out, "--limit", 2)
        self.refused(3, ["another run"], *self.evaluate("vqa-open", out, "--limit", 3)[1:])
        (out / (KINDS["vqa-open"] + ".journal.jsonl")).write_text("mine")
        self.refused(3, ["another run"], *self.evaluate("vqa-open", out, "--limit", 2)[1:])

    def test_shards_are_the_whole(self):
        whole = self.folder / "whole"
        self.run_evaluation("vqa-closed", whole)
        files = []
        for i in (1, 2, 3):
            out = self.folder / str(i)
            self.run_evaluation("vqa-closed", out, "--shard", f"{i}/3")
            files += sorted(out.glob("*.csv"))
        self.assertEqual(len(files), 3)
        merged = self.folder / "merged.csv"
        merges = [x for f in files[1:] for x in ("--merge", f)]
        scores = json.loads(self.run_well("score", "vqa", files[0], *merges, "--json", "--draws", 50, "-o", merged))
        one = whole / (KINDS["vqa-closed"] + ".csv")
        self.assertEqual(merged.read_bytes(), one.read_bytes())
        alone = json.loads(self.run_well("score", "vqa", one, "--json", "--draws", 50))
        for part in ("types", "macro", "micro"):
            self.assertEqual(scores[part], alone[part])

    def test_recorded_predictions_give_the_recorded_results(self):
        """The journal of a benchmark run is filled with the recorded predictions, and the run goes on from there."""
        mini = REFERENCE / "metrics" / "mini_eval"
        for kind, name, more in [("caption", "caption", ["--captions", "M3D_Cap_npy/M3D_Cap_eval.json"]),
                                 ("vqa-open", "open_vqa", []), ("vqa-closed", "close_vqa", []),
                                 ("vqa-closed", "closed_cases", ["--questions", "M3D-VQA/closed_cases.csv"])]:
            with self.subTest(name):
                out = self.folder / name
                more = ["--protocol", "m3d", *more]
                self.run_evaluation(kind, out, *more)
                journal = out / (KINDS[kind] + ".journal.jsonl")
                lines = journal.read_text().splitlines()
                with open(mini / (name + "_inputs.jsonl"), encoding="utf-8") as f:
                    predictions = [json.loads(line)["pred"] for line in f]
                self.assertEqual(len(lines), len(predictions) + 1)
                for i, line in enumerate(lines[1:], 1):
                    entry = json.loads(line)
                    entry["prediction"] = predictions[entry["sample"]]
                    lines[i] = json.dumps(entry, ensure_ascii=False)
                journal.write_text("\n".join(lines) + "\n")
                self.run_evaluation(kind, out, *more)
                self.compare_csv(mini / (name + ".csv"), out / (KINDS[kind] + ".csv"))

    def compare_csv(self, recorded, written):
        """Byte for byte, but for the drawn instruction, the number of visual tokens and BERTScore."""
        def rows(path):
            for row in read_rows(path):
                row.pop("bert_f1", None)
                row["Question"] = re.sub(r"^(<im_patch>)+", "", row["Question"])
                if "Ground Truth" in row:
                    row.pop("Question")
                yield list(row.items())
        self.assertEqual(list(rows(recorded)), list(rows(written)))
        with open(written, newline="", encoding="utf-8") as f:
            text = f.read()
        out = io.StringIO(newline="")
        csv.writer(out).writerows(csv.reader(io.StringIO(text, newline="")))
        self.assertEqual(out.getvalue(), text)

    def test_a_broken_scan_scores_nothing_and_is_told(self):
        tree = self.folder / "tree"
        shutil.copytree(REFERENCE / "metrics" / "tree", tree)
        victim = next(iter(json.loads((tree / "M3D_Cap_npy" / "M3D_Cap.json").read_text())["test"]))["image"]
        (tree / victim).write_bytes(b"nothing")
        out = self.folder / "out"
        done = tomo("eval", "caption", "--model", MODEL, "--data", tree, "-o", out, "--max-tokens", 8, "--quiet")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"1 samples failed", done.stderr)
        summary = json.loads((out / "eval_caption.json").read_text())
        self.assertEqual(summary["failed"], 1)
        self.assertEqual(summary["scores"]["empty_predictions"], 1)

    def test_the_page_needs_nothing_else(self):
        out = self.folder / "out"
        self.run_evaluation("vqa-closed", out, "--limit", 10)
        page = (out / "eval_close_vqa.html").read_text()
        self.assertNotRegex(page, r"(?i)(src|href)=\"(?!data:)|<script|@import|url\(")
        self.assertIn("For research, not for diagnosis.", page)
        self.assertIn("data:image/png;base64,", page)

    def test_wrong_usage(self):
        self.refused(2, ["--data"], "eval", "caption", "-o", self.folder / "x", "--model", MODEL)
        self.refused(2, ["-o DIR"], "eval", "caption", "--data", "x", "--model", MODEL)
        self.refused(2, ["--shard"], *self.evaluate("caption", self.folder / "x", "--shard", "4/3")[1:])
        self.refused(2, ["vqa-open"], "eval", "vqa", "--data", "x", "-o", "y", "--model", MODEL)


class Data(Case):
    def make_reports(self, rng):
        """reports, some of which are copies or near copies of others"""
        words = [w for w in "the a liver spleen kidney left right normal enlarged small cyst stone in of with no seen".split()]
        reports = []
        for _ in range(150):
            if reports and rng.random() < 0.5:
                text = rng.choice(reports).split()
                for _ in range(rng.randrange(4)):
                    text[rng.randrange(len(text))] = rng.choice(words)
                text = " ".join(text)
                if rng.random() < 0.3:
                    text = text.upper().replace(" ", "  ")
            else:
                text = " ".join(rng.choice(words) for _ in range(rng.randrange(3, 60)))
            reports.append(text)
        return reports

    def test_shared_texts_are_all_found(self):
        rng = random.Random(3)
        scan = next(iter(sorted((REFERENCE / "metrics" / "tree").rglob("*.npy"))))
        rows = [(text, rng.choice(["train", "val", "test"])) for text in self.make_reports(rng)]
        path = self.folder / "list.csv"
        with open(path, "w", newline="") as f:
            w = csv.writer(f)
            w.writerow(["scan", "report", "split"])
            w.writerows([scan, text, split] for text, split in rows)
        got = json.loads(self.run_well("data", "check", path, "--json"))
        names = {"val": "validation"}
        texts = [(" ".join(t.lower().split()), names.get(s, s)) for t, s in rows]

        def grams(text):
            words = text.split()
            return {tuple(words[i:i + 5]) for i in range(len(words) - 4)} if len(words) >= 5 else {text}
        sets = {t: grams(t) for t, _ in texts}
        holders = {}
        for t, s in texts:
            holders.setdefault(t, set()).add(s)
        same, near = {}, {}
        for t, s in texts:
            others = set()
            for u, splits in holders.items():
                if u != t and len(sets[t] & sets[u]) >= 0.8 * len(sets[t] | sets[u]):
                    others |= splits
            for b in holders[t] - {s}:
                same[s, b] = same.get((s, b), 0) + 1
            for b in others - holders[t] - {s}:
                near[s, b] = near.get((s, b), 0) + 1
        self.assertTrue(same and near)
        for key, want in (("identical_texts", same), ("near_texts", near)):
            self.assertEqual({(p["split"], p["also_in"]): p["count"] for p in got[key]["pairs"]}, want)
        self.assertEqual(got["different_reports"], len(holders))
        volumes = {(p["split"], p["also_in"]): p["count"] for p in got["identical_volumes"]["pairs"]}
        self.assertEqual(volumes[("test", "train")], 1)

    def test_what_is_broken_is_told(self):
        self.write("broken.nii.gz", "no scan")
        scan = next(iter(sorted((REFERENCE / "metrics" / "tree").rglob("*.npy"))))
        shutil.copy(scan, self.folder / "copy.npy")
        path = self.write("list.csv", f"scan,report,split\n{scan},Fine.,train\ncopy.npy,Other.,test\n"
                                      "broken.nii.gz,Fine.,train\nnone.npy,Fine.,train\ncopy.npy,,train\n")
        done = tomo("data", "check", path, "--json")
        self.assertEqual(done.returncode, 3)
        got = json.loads(done.stdout)
        self.assertEqual(sorted(p["row"] for p in got["problems"]), [4, 5, 6])
        self.assertEqual(got["copies_of_volumes"], 1)
        self.assertIn({"split": "test", "also_in": "train", "count": 1}, got["identical_volumes"]["pairs"])
        table = tomo("data", "check", path)
        self.assertEqual(table.returncode, 3)
        self.assertIn(b"row 4: broken.nii.gz: ", table.stdout)
        self.refused(3, ["no data set"], "data", "check", REFERENCE / "metrics" / "prep")


def find_model():
    """a reference model that takes volumes of arbitrary intensities"""
    for config in sorted((REFERENCE / "pipeline").glob("*/model/config.json")):
        volume = json.loads(config.read_text()).get("volume", {})
        if not isinstance(volume.get("windows"), list):
            return config.parent
    raise SystemExit("no reference model takes every scan")


def main():
    global TOMO, REFERENCE, MODEL
    if len(sys.argv) != 3:
        print(__doc__.splitlines()[2].strip(), file=sys.stderr)
        return 2
    TOMO = os.path.abspath(sys.argv[1])
    REFERENCE = pathlib.Path(os.environ.get("TOMO_REFERENCE") or sys.argv[2]).resolve()
    MODEL = find_model()
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
