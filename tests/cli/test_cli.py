#!/usr/bin/env python3
"""Tests the command through its command line; the standard library is enough.

    test_cli.py TOMO_BINARY REFERENCE_DIR DATA_DIR [options|outputs]

options: parsing, messages and help, without a model. outputs: what every command prints and writes, with a model of
REFERENCE_DIR/pipeline that takes any scan (its volume is scaled by its own range), and a CT of DATA_DIR.
TOMO_REFERENCE and TOMO_DATA in the environment take the place of the two folders. No case is named here.
"""
import array
import csv
import json
import math
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

COMMANDS = ("report", "ask", "inspect", "convert", "trace", "embed", "tokenize", "generate", "data", "eval", "score", "phantom", "model",
            "bench")
NOTICE = "For research, not for diagnosis."
SECONDS = 300

TOMO = REFERENCE = DATA = None


def environment():
    # A model named by the environment must not take part.
    return {name: value for name, value in os.environ.items() if name != "TOMO_MODEL"}


def tomo(*arguments, stdin=None, stdout=subprocess.PIPE, cwd=None):
    """Runs the command; stdin is bytes."""
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run([TOMO, *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, env=environment(),
                          timeout=SECONDS, check=False, cwd=cwd, **source)


class CommandTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def run_well(self, *arguments, **keywords):
        done = tomo(*arguments, **keywords)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    def run_json(self, *arguments, **keywords):
        return json.loads(self.run_well(*arguments, "--json", **keywords))

    def refused(self, status, words, *arguments, **keywords):
        """One line on stderr, "tomo: ...", which holds each of the words; nothing on stdout."""
        done = tomo(*arguments, **keywords)
        said = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, status, f"{arguments}: {said}")
        self.assertEqual(said.count("\n"), 1, said)
        self.assertTrue(said.startswith("tomo: "), said)
        for word in words:
            self.assertIn(word, said)
        self.assertFalse(done.stdout)


class Options(CommandTest):
    def test_help_of_every_command(self):
        for command in COMMANDS + ("model new", "model info", "data check"):
            with self.subTest(command):
                text = self.run_well(*command.split(), "--help").decode()
                self.assertTrue(text.startswith(f"tomo {command}: "), text)
                for part in (f"\nusage: tomo {command}", "\nExample\n  tomo ", f"\n{NOTICE}\n"):
                    self.assertIn(part, text)
                self.assertLessEqual(max(map(len, text.splitlines())), 120)
                if command not in ("model", "data"):
                    self.assertIn("--json", text)

    def test_help_lists_every_command(self):
        text = self.run_well("--help").decode()
        for command in COMMANDS:
            self.assertRegex(text, rf"\n  {command} +\w")
        self.assertIn(NOTICE, text)

    def test_help_comes_before_other_faults(self):
        self.run_well("report", "--help", "--no-such-option")
        self.run_well("ask", "-h")

    def test_version(self):
        self.assertRegex(self.run_well("--version").decode(), r"^tomo \d+\.\d+\.\d+\n$")

    def test_unknown_options_and_commands_suggest_the_nearest(self):
        self.refused(2, ["--modle", "did you mean --model?"], "report", "x", "--modle", "y")
        self.refused(2, ["did you mean --temperature?"], "ask", "x", "y", "--temp=1")
        self.refused(2, ["did you mean tomo report?"], "reprot")
        self.refused(2, ["--qqqqqqqq", "--help"], "inspect", "--qqqqqqqq")
        self.refused(2, ["-x"], "inspect", "-x")
        self.refused(2, ["qqqqqqqq", "--help"], "qqqqqqqq")
        self.refused(2, ["command is missing"])

    def test_missing_values(self):
        self.refused(2, ["--model needs a value"], "report", "x", "--model")
        self.refused(2, ["--model needs a value"], "report", "x", "--model", "--json")
        self.refused(2, ["--output needs a value"], "report", "x", "-o")
        self.refused(2, ["--model", "empty"], "report", "x", "--model=")
        self.refused(2, ["--json takes no value"], "report", "x", "--json=yes")

    def test_numbers_out_of_range(self):
        for name, values in {
            "--threads": ("0", "257", "-1", "1.5", "many", "99999999999999999999"),
            "--max-tokens": ("0", "1e3", "x"),
            "--temperature": ("-1", "nan", "inf", "1x", ","),
            "--top-p": ("1.1", "-0.1"),
            "--seed": ("-1", "18446744073709551616", "0x1", " 1"),
        }.items():
            for value in values:
                with self.subTest(name + value):
                    self.refused(2, [name, f'"{value}"', "is wanted"], "report", "x", f"{name}={value}")

    def test_words_and_windows(self):
        self.refused(2, ["--what", "slices|features|tokens|volume"], "embed", "x", "-o", "y", "--what", "nothing")
        for value in ("40", "40,", ",40", "40,0", "40,-1", "a,b", "1,2,3"):
            with self.subTest(value):
                self.refused(2, ["--window"], "inspect", "x", f"--window={value}")
        # A negative level is a value, not an option: the scan is what is missing then.
        self.refused(1, ["no-such-scan"], "inspect", "no-such-scan", "--window", "-600,1500")

    def test_values_stand_apart_or_behind_an_equals_sign(self):
        for arguments in (["--threads", "2"], ["--threads=2"], ["--series=1", "--threads", "2"]):
            self.refused(1, ["no-such-scan"], "inspect", *arguments, "no-such-scan")

    def test_two_dashes_end_the_options(self):
        self.refused(1, ["--json"], "inspect", "--", "--json")

    def test_operands(self):
        self.refused(2, ["SCAN is missing"], "report")
        self.refused(2, ["SCAN is missing"], "ask")
        self.refused(2, ["QUESTION is missing"], "ask", "x")
        self.refused(2, ["OUT is missing"], "convert", "x")
        self.refused(2, ['"z"', "too much"], "inspect", "x", "z")
        self.refused(2, ['"z"', "too much"], "ask", "x", "y", "z")
        self.refused(2, ["a command is missing"], "model")
        self.refused(2, ["is wanted", "other"], "model", "other")

    def test_options_that_belong_together(self):
        self.refused(2, ["-o FILE is missing"], "trace", "x", "y")
        self.refused(2, ["-o FILE is missing"], "embed", "x")
        self.refused(2, ["exclude"], "report", "x", "--batch", "y")
        self.refused(2, ["--manifest", "--with-manifest"], "report", "--batch", "y", "--manifest", "z")
        self.refused(2, ["exclude"], "bench", "--model", "x", "--like", "y")
        self.refused(2, ["--like", "--encoder"], "model", "new", "x")
        self.refused(2, ["--like", "--encoder"], "model", "new", "x", "--encoder", "y")
        self.refused(2, ["--choice"], "ask", "x", "y", "--choice", "z")
        self.refused(2, ["--choice", "26"], "ask", "x", "y", *["--choice=z"] * 27)
        self.refused(2, ["format"], "convert", "x", "out.xyz")
        self.refused(2, ["standard output"], "convert", "x", "-", "--format", "npy")
        self.refused(2, ["--decode"], "tokenize", "1", "--decode", "--special")
        self.refused(2, ["--manifest"], "model", "tune-prune", "x", "--manifest", "y")
        self.refused(2, ["--manifest"], "model", "quantize", "--check", "x", "--manifest", "y")

    def test_other_devices_are_refused(self):
        self.refused(2, ["cuda", "cpu"], "inspect", "x", "--device", "cuda")

    def test_no_model(self):
        if tomo("model", "info", cwd=self.folder).returncode == 0:
            self.skipTest("a demo model is installed")
        self.refused(2, ["--model", "TOMO_MODEL"], "tokenize", "x", cwd=self.folder)

    def test_a_file_name_cannot_forge_lines(self):
        done = tomo("inspect", "a\ntomo: done\x1b[2J\u009b2Jä")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertNotIn(b"\x1b", done.stderr)
        self.assertNotIn("\u009b", done.stderr.decode())
        self.assertIn("2Jä", done.stderr.decode())

    @unittest.skipUnless(os.path.exists("/dev/full"), "this system has no /dev/full")
    def test_a_full_standard_output_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            done = tomo("report", "--help", stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)

    def test_a_reader_that_goes_away_is_a_failure(self):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            done = tomo("--help", stdout=pipe)
        self.assertEqual(done.returncode, 1)


def find_model():
    """A model that takes any scan; from the project's own cases where another reference folder has none."""
    own = pathlib.Path(__file__).resolve().parent.parent / "reference"
    for root in (REFERENCE, own):
        for config in sorted(root.glob("pipeline/*/model/config.json")):
            if json.loads(config.read_text(encoding="utf-8")).get("volume", {}).get("windows") == "minmax":
                return config.parent
    return None


def read_npy(blob):
    """Shape and values of a float32 .npy file of version 1."""
    assert blob[:8] == b"\x93NUMPY\x01\x00", blob[:8]
    (size,) = struct.unpack("<H", blob[8:10])
    assert (10 + size) % 64 == 0 and blob[9 + size : 10 + size] == b"\n"
    found = re.fullmatch(r"\{'descr': '<f4', 'fortran_order': False, 'shape': \((.*)\), \} *\n", blob[10 : 10 + size].decode())
    shape = [int(number) for number in found.group(1).split(",") if number.strip()]
    values = array.array("f", blob[10 + size :])
    assert len(values) == math.prod(shape)
    return shape, values


def lines_of(path):
    text = path.read_bytes()
    assert text.endswith(b"\n"), text[-80:]
    return [json.loads(line) for line in text.splitlines()]


class Outputs(CommandTest):
    @classmethod
    def setUpClass(cls):
        cls.model = find_model()
        scans = sorted(DATA.rglob("*ct*.nii.gz"), key=lambda path: (path.stat().st_size, path))
        assert cls.model and scans, "needs a pipeline model with \"minmax\" and a scan *ct*.nii.gz"
        cls.scan = scans[0]
        cls.few = ("--model", cls.model, "--max-tokens", 6)

    # ------------------------------------------------------------------ report, ask

    def test_report_in_all_its_forms_says_the_same(self):
        text = self.run_well("report", self.scan, *self.few).decode()
        value = self.run_json("report", self.scan, *self.few)
        self.assertTrue(text.endswith(f"\n\n{NOTICE}\n"), text)
        self.assertEqual(text[: -len(NOTICE) - 2].removesuffix("\n"), value["report"].removesuffix("\n"))
        self.assertEqual(value["scan"], str(self.scan))
        self.assertEqual(value["notice"], NOTICE)
        self.assertEqual(set(value["seconds"]), {"model", "scan", "read", "prefill", "decode"})
        self.assertIn(value["finish"], ("stop", "length"))
        self.assertLessEqual(value["tokens"], 6)
        self.assertEqual(value["kept_slices"], sorted(value["kept_slices"]))
        out = self.folder / "report.txt"
        self.assertEqual(self.run_well("report", self.scan, *self.few, "-o", out), b"")
        self.assertEqual(out.read_text(encoding="utf-8"), text)
        self.assertEqual(os.listdir(self.folder), ["report.txt"])

    def test_a_file_is_replaced_behind_its_link_with_its_permissions(self):
        real, link = self.folder / "real.json", self.folder / "link.json"
        real.write_text("old")
        real.chmod(0o640)
        link.symlink_to(real)
        self.run_well("report", self.scan, *self.few, "--json", "-o", link)
        self.assertTrue(link.is_symlink())
        self.assertEqual(real.stat().st_mode & 0o777, 0o640)
        json.loads(real.read_text(encoding="utf-8"))

    def test_manifest(self):
        out = self.folder / "manifest.json"
        self.run_well("report", self.scan, *self.few, "--manifest", out)
        manifest = json.loads(out.read_text(encoding="utf-8"))
        value = self.run_json("report", self.scan, *self.few, "--with-manifest")
        self.assertEqual(value["manifest"], manifest)

    def test_seeds_decide_what_is_drawn(self):
        draw = ("ask", self.scan, "What is seen?", "--model", self.model, "--max-tokens", 12, "--temperature", 2)
        first, again, other = (self.run_well(*draw, "--seed", seed) for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_choices(self):
        question = ("ask", self.scan, "Which organ?", "--choice", "liver", "--choice=spleen, left", "--model", self.model)
        value = self.run_json(*question)
        self.assertEqual([choice["letter"] for choice in value["choices"]], ["A", "B"])
        self.assertEqual([choice["choice"] for choice in value["choices"]], ["liver", "spleen, left"])
        self.assertAlmostEqual(sum(choice["probability"] for choice in value["choices"]), 1, places=5)
        best = max(value["choices"], key=lambda choice: choice["probability"])
        self.assertEqual(value["best"], best["letter"])
        table = self.run_well(*question).decode()
        self.assertRegex(table, rf"\n  \*{value['best']}  {re.escape(best['choice'])} +[01]\.\d+")

    def test_a_question_from_standard_input(self):
        given = self.run_well("ask", self.scan, "What is seen?", *self.few)
        read = self.run_well("ask", self.scan, "-", *self.few, stdin=b"What is seen?")
        self.assertEqual(given, read)

    # ------------------------------------------------------------------ many scans

    def make_scans(self, names):
        folder = self.folder / "scans"
        folder.mkdir()
        for name in names:
            shutil.copyfile(self.scan, folder / name)
        return folder

    def batch(self, source, out, status):
        done = tomo("report", "--batch", source, "-o", out, *self.few, "--quiet")
        self.assertEqual(done.returncode, status, done.stderr.decode(errors="replace"))
        return done

    def test_a_folder_of_scans(self):
        folder = self.make_scans(["b.nii.gz", "a.nii.gz", ".hidden.nii.gz"])
        (folder / "c.nii").write_text("This is a letter, not a scan.")
        out = folder / "out.jsonl"
        done = self.batch(folder, out, 1)
        lines = lines_of(out)
        self.assertEqual([line["scan"] for line in lines], [f"{folder}/{name}" for name in ("a.nii.gz", "b.nii.gz", "c.nii")])
        self.assertEqual(lines[0]["report"], lines[1]["report"])
        self.assertIn("c.nii", lines[2]["error"])
        self.assertEqual(lines[2]["status"], "E_FORMAT")
        self.assertIn(b"1 of 3 scans failed", done.stderr)
        before = out.read_bytes()
        self.batch(folder, out, 1)
        self.assertEqual(out.read_bytes(), before)

    def test_a_torn_line_is_cut_off_and_done_again(self):
        folder, out = self.make_scans(["a.nii.gz", "b.nii.gz", "c.nii.gz"]), self.folder / "out.jsonl"
        self.batch(folder, out, 0)
        whole = out.read_bytes().splitlines(keepends=True)
        for cut in (1, 5, len(whole[2]) // 2, len(whole[2]) - 1):
            with self.subTest(cut):
                out.write_bytes(whole[0] + whole[1] + whole[2][:cut])
                self.batch(folder, out, 0)
                self.assertTrue(out.read_bytes().startswith(whole[0] + whole[1]))
                self.assertEqual([pathlib.Path(line["scan"]).name for line in lines_of(out)],
                                 ["a.nii.gz", "b.nii.gz", "c.nii.gz"])

    def test_other_files_are_not_taken_for_results(self):
        folder, out = self.make_scans(["a.nii.gz"]), self.folder / "notes.txt"
        for text in ("one\ntwo\n", "no line feed", '{"other": 1}\n', '{"scan": 1}\n'):
            with self.subTest(text):
                out.write_text(text)
                done = self.batch(folder, out, 3)
                self.assertIn(b"notes.txt", done.stderr)
                self.assertEqual(out.read_text(), text)

    def interrupt_batch(self, signal_number):
        """Stops a batch after its first line; returns folder, output, exit status and messages."""
        folder, out = self.make_scans([f"{i:02}.nii.gz" for i in range(12)]), self.folder / "out.jsonl"
        command = [TOMO, "report", "--batch", str(folder), "-o", str(out), *map(str, self.few)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()) as process:
            end = time.monotonic() + SECONDS
            while process.poll() is None and time.monotonic() < end and not (out.exists() and out.stat().st_size):
                time.sleep(0.005)
            process.send_signal(signal_number)
            said = process.communicate(timeout=SECONDS)[1].decode(errors="replace")
        return folder, out, process.returncode, said

    def check_resumed(self, folder, out, kept):
        self.batch(folder, out, 0)
        self.assertTrue(out.read_bytes().startswith(kept))
        self.assertEqual([pathlib.Path(line["scan"]).name for line in lines_of(out)], sorted(os.listdir(folder)))

    def test_a_killed_batch_goes_on(self):
        folder, out, _, _ = self.interrupt_batch(signal.SIGKILL)
        text = out.read_bytes()
        self.check_resumed(folder, out, text[: text.rfind(b"\n") + 1])

    def test_a_cancelled_batch_holds_whole_lines_and_goes_on(self):
        folder, out, status, said = self.interrupt_batch(signal.SIGINT)
        self.assertIn(status, (0, 130), said)
        self.assertTrue(lines_of(out))
        self.check_resumed(folder, out, out.read_bytes())

    def test_csv_names(self):
        names = ["plain.nii.gz", "a, comma.nii.gz", 'a "quote".nii.gz', "a\nline.nii.gz", "ü.nii.gz"]
        folder = self.make_scans(names)
        table = folder / "list.csv"
        for ending, mark in (("\r\n", "\ufeff"), ("\n", "")):
            with self.subTest(repr(ending)):
                with open(table, "w", encoding="utf-8", newline="") as file:
                    file.write(mark)
                    writer = csv.writer(file, lineterminator=ending)
                    writer.writerow(["id", "scan", "note"])
                    writer.writerows([[i, name, "x, y"] for i, name in enumerate(names)])
                    file.write(ending)
                    writer.writerow([9, names[0], "named twice"])
                done = tomo("report", table, *self.few, "--quiet")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual([json.loads(line)["scan"] for line in done.stdout.splitlines()], names)

    def test_csv_files_that_make_no_sense(self):
        table = self.folder / "list.csv"
        for text, word in (
            ("path,id\nx,1\n", "path, id"),
            ('scan\n"open\n', "line 2"),
            ("id,scan\n1,a\n2\n", "line 3"),
            ("id,scan\n1,\n", "line 2"),
            ("scan\n", "names no scan"),
            ("", "scan"),
            ("scan\na\0b\n", "zero byte"),
        ):
            with self.subTest(text):
                table.write_text(text)
                self.refused(3, ["list.csv", word], "report", table, "-o", self.folder / "out.jsonl", *self.few)
                self.assertFalse((self.folder / "out.jsonl").exists())
        self.refused(1, ["no-such.csv"], "report", self.folder / "no-such.csv", *self.few)

    # ------------------------------------------------------------------ scans

    def test_inspect(self):
        value = self.run_json("inspect", self.scan)
        self.assertIsInstance(value, dict)
        text = self.run_well("inspect", self.scan).decode()
        for word in (str(self.scan), "spacing", "intensities", NOTICE):
            self.assertIn(word, text)
        sheet, manifest = self.folder / "sheet.png", self.folder / "manifest.json"
        read = self.run_json("inspect", self.scan, "--model", self.model, "--png", sheet, "--manifest", manifest)
        self.assertTrue(sheet.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"))
        self.assertEqual(json.loads(manifest.read_text(encoding="utf-8")), read)
        self.assertGreater(len(read), len(value))

    def test_a_warning_is_told_once(self):
        gap = pathlib.Path(__file__).resolve().parent.parent / "reference" / "volume" / "dicom_missing_slice" / "input"
        done = tomo("convert", next(path for path in sorted(gap.iterdir()) if path.is_dir()), self.folder / "out.nii")
        self.assertEqual(done.returncode, 0, done.stderr)
        told = [line for line in done.stderr.decode().splitlines() if "W_" in line]
        self.assertEqual(len(told), len(set(line.split("W_")[1] for line in told)), told)
        self.assertGreaterEqual(len(told), 1)

    def test_convert(self):
        self.run_well("convert", self.scan, self.folder / "v.npy")
        shape, values = read_npy((self.folder / "v.npy").read_bytes())
        self.assertEqual(len(shape), 3)
        self.run_well("convert", self.scan, self.folder / "v.nii")
        header = (self.folder / "v.nii").read_bytes()
        self.assertEqual(list(struct.unpack_from("<3h", header, 42)), shape[::-1])
        self.run_well("convert", self.folder / "v.nii", self.folder / "again.npy")
        self.assertEqual(read_npy((self.folder / "again.npy").read_bytes()), (shape, values))
        self.run_well("convert", self.scan, self.folder / "m3d.npy", "--format", "m3d")
        unit, levels = read_npy((self.folder / "m3d.npy").read_bytes())
        self.assertEqual((len(unit), unit[0]), (4, 1))
        self.assertTrue(0 <= min(levels) < max(levels) <= 1)
        self.run_well("convert", self.scan, self.folder / "slices", "--format", "png", "--window", "-600,1500")
        self.assertEqual(len(os.listdir(self.folder / "slices")), shape[0])

    def test_phantoms_are_data_sets(self):
        names = {}
        for form in ("nifti", "npy", "dicom", "m3d", "nii"):
            out = self.folder / form
            said = self.run_json("phantom", out, "--count", "3", "--seed", "9", "--size", "16x32x32", "--format", form)
            self.assertEqual(sum(said["scans"].values()), 3)
            check = self.run_json("data", "check", out)
            self.assertEqual(check["problems"], [])
            self.assertEqual(sum(split["reports"] for split in check["splits"]), 3)
            names[form] = [json.loads((out / "truth" / f"{i:06}.json").read_text())["scan"] for i in range(3)]
        for nifti, dicom in zip(names["nifti"], names["dicom"]):
            self.run_well("convert", self.folder / "nifti" / nifti, self.folder / "a.npy")
            self.run_well("convert", self.folder / "dicom" / dicom, self.folder / "b.npy")
            self.assertEqual((self.folder / "a.npy").read_bytes(), (self.folder / "b.npy").read_bytes())
        self.refused(1, ["new or empty"], "phantom", self.folder / "nifti", "--size", "8x16x16")
        self.refused(2, ["--size", "64x128x128"], "phantom", self.folder / "x", "--size", "64x128")
        self.assertEqual([p for p in os.listdir(self.folder) if p.endswith(".part")], [])

    def test_phantoms_are_slices_and_texts(self):
        out = self.folder / "slices"
        said = self.run_json("phantom", out, "--contents", "slices", "--count", "12", "--size", "32x40")
        self.assertEqual(sum(said["slices"].values()), 12)
        check = self.run_json("data", "check", out)
        self.assertEqual((check["problems"], sum(split["reports"] for split in check["splits"])), ([], 12))
        with open(out / "scans.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["scan"] for row in rows], [f"scans/{i:06}.nii" for i in range(12)])
        self.assertTrue(all(10 <= len(row["report"].split()) <= 100 and row["report"].endswith(".") for row in rows))
        self.run_well("convert", out / rows[0]["scan"], self.folder / "one.npy")
        shape, values = read_npy((self.folder / "one.npy").read_bytes())
        self.assertEqual((shape, min(values) < -500), ([1, 32, 40], True))
        said = self.run_json("phantom", self.folder / "text", "--contents", "text", "--count", "5", "--seed", "3")
        lines = [json.loads(line) for line in (self.folder / "text" / "text.jsonl").read_text().splitlines()]
        self.assertEqual(sum("Impression: " in line["text"] for line in lines), 5)
        self.assertEqual(len(lines), 5 + 2 * said["questions"])
        for question in (line["text"] for line in lines if " Choices: A. " in line["text"]):
            # the answer is one of the choices, with its letter
            self.assertRegex(question, r"^.+[?.] Choices: A\. .+ B\. .+ C\. .+ D\. .+ [A-D]\. .+$")
            choices, answer = question.split(" Choices: ")[1], re.search(r"(?<= )[A-D]\. [^.]+$", question).group()
            self.assertIn(answer, choices[:-len(answer)])
        self.refused(2, ["format"], "phantom", self.folder / "x", "--contents", "text", "--format", "npy")
        self.refused(2, ["--size"], "phantom", self.folder / "x", "--contents", "scans", "--size", "32x40")

    def test_embed(self):
        shapes = {}
        for what in ("slices", "features", "tokens", "volume"):
            out = self.folder / f"{what}.npy"
            value = self.run_json("embed", self.scan, "--model", self.model, "--what", what, "-o", out)
            shapes[what], values = read_npy(out.read_bytes())
            self.assertEqual(value["shape"], shapes[what])
            self.assertTrue(all(map(math.isfinite, values)))
            piped = self.run_well("embed", self.scan, "--model", self.model, "--what", what, "-o", "-")
            self.assertEqual(piped, out.read_bytes())
        self.assertEqual([len(shapes[what]) for what in ("slices", "features", "tokens", "volume")], [2, 5, 2, 1])
        self.assertEqual(shapes["volume"][0], shapes["slices"][1])

    def test_trace_says_what_ask_says(self):
        out = self.folder / "trace.safetensors"
        value = self.run_json("trace", self.scan, "What is seen?", *self.few, "-o", out)
        blob = out.read_bytes()
        (size,) = struct.unpack("<Q", blob[:8])
        header = json.loads(blob[8 : 8 + size])
        for name in ("volume", "pixel_values", "descriptors", "kept", "features", "compressed", "tokens", "prompt_ids",
                     "logits", "ids"):
            self.assertIn(name, header)
        self.assertEqual(header["ids"]["shape"], [value["tokens"]])
        answer = self.run_json("ask", self.scan, "What is seen?", *self.few)
        self.assertEqual(value["answer"], answer["answer"])

    # ------------------------------------------------------------------ text

    def test_tokens_go_round(self):
        for text in ("Is the liver enlarged?", "  two  spaces ", "äöü 肝臓 🫁", "a\n\nb\t", "<|im_start|>user", "-"):
            with self.subTest(text):
                value = self.run_json("tokenize", "-", "--model", self.model, stdin=text.encode())
                self.assertEqual(len(value["ids"]), len(value["tokens"]))
                ids = " ".join(map(str, value["ids"]))
                self.assertEqual(self.run_well("tokenize", "-", "--model", self.model, stdin=text.encode()).decode(), ids + "\n")
                self.assertEqual(self.run_json("tokenize", ids, "--decode", "--model", self.model), {"text": text})
                decoded = self.run_well("tokenize", "-", "--decode", "--model", self.model, stdin=json.dumps(value["ids"]).encode())
                self.assertEqual(decoded.decode(), text + "\n")

    def test_control_tokens_are_text_unless_asked_for(self):
        text = "<|im_start|>"
        plain = self.run_json("tokenize", text, "--model", self.model)["ids"]
        control = self.run_json("tokenize", text, "--model", self.model, "--parse-control")["ids"]
        self.assertGreaterEqual(len(plain), len(control))

    def test_ids_that_make_no_sense(self):
        for text in ("1 two", "-- -5", "99999999999", "1.5"):
            done = tomo("tokenize", *(text.split() if text.startswith("--") else [text]), "--decode", "--model", self.model)
            self.assertEqual(done.returncode, 2, done.stderr)

    def test_generate(self):
        value = self.run_json("generate", "The liver", *self.few)
        self.assertEqual(self.run_well("generate", "The liver", *self.few).decode().removesuffix("\n"),
                         value["text"].removesuffix("\n"))
        self.assertEqual(self.run_json("generate", "-", "--chat", *self.few, stdin=b"Hello")["prompt"], "Hello")

    def test_model_info(self):
        value = self.run_json("model", "info", self.model)
        self.assertIsInstance(value, dict)
        self.assertEqual(self.run_json("model", "info", "--model", self.model), value)
        self.assertIn(str(self.model), self.run_well("model", "info", self.model).decode())

    def test_new_models_follow_their_seed_and_can_be_measured(self):
        def weights(name, seed):
            self.run_well("model", "new", self.folder / name, "--like", "vit-tiny,qwen2-tiny", "--seed", seed, "--quiet")
            return (self.folder / name / "connector.safetensors").read_bytes()

        first = weights("first", 1)
        self.assertEqual(first, weights("again", 1))
        self.assertNotEqual(first, weights("other", 2))
        self.refused(1, ["first"], "model", "new", self.folder / "first", "--like", "vit-tiny,qwen2-tiny")
        self.run_well("model", "new", f"{self.folder / 'slash'}/", "--like", "vit-tiny,qwen2-tiny", "--quiet")
        self.run_well("model", "quantize", f"{self.folder / 'small'}//", "--type", "q8_0", "--model", self.folder / "slash", "--quiet")
        self.assertTrue((self.folder / "small" / "config.json").exists())
        few = ("--slices", 2, "--prompt-tokens", 40, "--decode-tokens", 2, "--repeats", 1)
        value = self.run_json("bench", "--model", self.folder / "first", *few)
        self.assertIn("machine", value)
        names = {result["name"] for result in value["results"]}
        self.assertLessEqual({"encoder", "prefill", "decode"}, names)
        table = self.run_well("bench", "--model", self.folder / "first", *few).decode()
        for name in names:
            self.assertIn(f"\n{name} ", table)

    def test_settings_of_a_new_model_from_a_file(self):
        made, other, settings = self.folder / "made", self.folder / "other", self.folder / "settings.json"

        def new(given, *arguments):
            settings.write_text(json.dumps(given))
            return ("model", "new", *arguments, "--like", "vit-tiny,qwen2-tiny", "--config", settings, "--quiet")
        given = {"encoder": {"layers": [1, 2]}, "volume": {"windows": "minmax"}, "prune": {"guard": None},
                 "connector": {"width": 24, "heads": 3, "frequency": False, "injection_layers": 1},
                 "prompt": {"report": "Read it."}}
        self.run_well(*new(given, made))
        config = json.loads((made / "config.json").read_text())
        for section, members in given.items():
            for key, value in members.items():
                self.assertEqual(config[section][key], value)
        self.assertEqual(config["connector"]["layers"], 2)
        self.run_well("report", self.scan, "--model", made, "--max-tokens", 2, "--quiet")
        for wrong, word in (({"connector": {"widht": 3}}, "connector.widht"), ({"conector": {}}, "conector"),
                            ({"encoder": {"path": "x"}}, "encoder.path"), ({"encoder": {"layers": [999]}}, "encoder.layers"),
                            ({"connector": {"encoder_width": 3}}, "connector.encoder_width"),
                            ({"connector": {"width": 25}}, "connector.width")):
            self.refused(3, [word, "settings.json"], *new(wrong, other))
        self.assertEqual(sorted(os.listdir(self.folder)), ["made", "settings.json"])

    def test_a_model_made_for_measuring_is_removed(self):
        few = ("--slices", 2, "--prompt-tokens", 40, "--decode-tokens", 2, "--repeats", 1)
        with unittest.mock.patch.dict(os.environ, TMPDIR=str(self.folder)):
            self.run_json("bench", "--like", "vit-tiny,qwen2-tiny", *few)
            self.assertEqual(os.listdir(self.folder), [])
            self.refused(2, ["no-such"], "bench", "--like", "no-such,qwen2-tiny")
        self.assertEqual(os.listdir(self.folder), [])

    # ------------------------------------------------------------------ failures

    @unittest.skipUnless(os.path.exists("/dev/full"), "this system has no /dev/full")
    def test_full_disks(self):
        for arguments in (
            ["report", self.scan, *self.few, "-o", "/dev/full"],
            ["report", self.scan, *self.few, "--json", "-o", "/dev/full"],
            ["report", "--batch", self.make_scans(["a.nii.gz"]), *self.few, "-o", "/dev/full"],
            ["embed", self.scan, "--model", self.model, "-o", "/dev/full"],
            ["inspect", self.scan, "--manifest", "/dev/full"],
            ["convert", self.scan, "/dev/full", "--format", "npy"],
        ):
            with self.subTest(arguments[0]):
                self.refused(1, ["/dev/full"], *arguments, "--quiet")
        for arguments in (["ask", self.scan, "?"], ["report", self.scan], ["generate", "x"]):
            with self.subTest(arguments[0]), open("/dev/full", "wb") as full:
                done = tomo(*arguments, *self.few, "--quiet", stdout=full)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(done.stderr.count(b"\n"), 1)

    def test_folders_that_are_not_there(self):
        out = self.folder / "none" / "file"
        self.refused(1, [str(out)], "report", self.scan, *self.few, "--quiet", "-o", out)
        self.refused(1, [str(out)], "embed", self.scan, "--model", self.model, "--quiet", "-o", out)
        self.refused(1, [str(self.folder)], "embed", self.scan, "--model", self.model, "--quiet", "-o", self.folder)


def main():
    global TOMO, REFERENCE, DATA
    if len(sys.argv) not in (4, 5) or (len(sys.argv) == 5 and sys.argv[4] not in ("options", "outputs")):
        print(__doc__.splitlines()[2].strip(), file=sys.stderr)
        return 2
    TOMO = os.path.abspath(sys.argv[1])
    REFERENCE = pathlib.Path(os.environ.get("TOMO_REFERENCE") or sys.argv[2]).resolve()
    DATA = pathlib.Path(os.environ.get("TOMO_DATA") or sys.argv[3]).resolve()
    wanted = {"options": [Options], "outputs": [Outputs]}.get(sys.argv[4] if len(sys.argv) == 5 else "", [Options, Outputs])
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(case) for case in wanted)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
