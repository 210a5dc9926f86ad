#!/usr/bin/env python3
"""What make demo shows: the demo model reads a phantom's DICOM series, the truth beside it, and a real CT.

demo.py TOMO MODEL CT FOLDER: TOMO is the command, CT the real scan, FOLDER a place for the phantom (made anew).
"""
import json
import pathlib
import shutil
import subprocess
import sys
import textwrap

SEED = 424242  # of no data that the model was trained, chosen or scored with (models/demo/README.md)
QUESTIONS = 4


def show(title, text):
    print(f"  {title:9} " + textwrap.fill(text, 100, initial_indent="", subsequent_indent=" " * 12))


def run(tomo, *arguments):
    """A command as a user would type it, and what it prints."""
    print("$ tomo " + " ".join(f'"{a}"' if " " in str(a) else str(a) for a in arguments), flush=True)
    done = subprocess.run([tomo, *map(str, arguments), "--json", "--quiet"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def main():
    tomo, model, ct, folder = sys.argv[1], sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4])
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    print("A phantom that the model has not seen, as a DICOM series:\n")
    run(tomo, "phantom", folder, "--seed", SEED, "--format", "dicom", "--questions", 8)
    truth = json.loads((folder / "truth" / "000000.json").read_text(encoding="utf-8"))
    scan = folder / "scans" / "000000"
    show("report:", run(tomo, "report", scan, "--model", model)["report"])
    show("truth:", truth["report"])
    for question in truth["questions"][:QUESTIONS]:
        choices = [part for choice in question["choices"] for part in ("--choice", choice)]
        answer = run(tomo, "ask", scan, question["question"], *choices, "--model", model)
        show("answer:", question["choices"]["ABCD".index(answer["best"])])
        show("truth:", question["choices"]["ABCD".index(question["letter"])])
    print("\nA real CT, which the model knows nothing of: it was trained with phantoms alone.\n")
    show("report:", run(tomo, "report", ct, "--model", model)["report"])
    print("\nFor research, not for diagnosis. What the model is worth on phantoms: models/demo/README.md.")


if __name__ == "__main__":
    main()
