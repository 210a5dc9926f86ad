"""Scores of one evaluation as a small result: tomo eval's own numbers, and what joins them with the phantoms' truth.

Answers are kept question by question as a text of 0 and 1, in the order of the test set's closed questions, so that two
results can be compared in pairs later (report.py) without the predictions.
"""
import collections
import csv
import json

import bootstrap
from errors import StudyError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TYPES = {1: "plane", 2: "phase", 3: "organ", 4: "abnormality", 5: "location"}


def all_rows(data):
    return list(csv.DictReader(open(data / "scans.csv", newline="", encoding="utf-8")))


def closed_rows(data):
    return [row for row in all_rows(data) if row["choices"]]


def with_choices(question, choices):
    """The question as tomo eval asks and records it."""
    return f"{question} Choices: " + " ".join(f"{LETTERS[i]}. {text}" for i, text in enumerate(choices))


# ------------------------------------------------------------------------------ the test set


def several_slices(data):
    """(scan, question) -> whether several slices are needed, from the truth."""
    marks = {}
    for path in sorted((data / "truth").glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        for q in truth["questions"]:
            marks[truth["scan"], with_choices(q["question"], q["choices"])] = q["several_slices"]
    return marks


def blind_reader(train):
    """How often each answer was right for each question of the training set, and over all."""
    by_question, over_all = collections.defaultdict(collections.Counter), collections.Counter()
    for row in closed_rows(train):
        by_question[row["question"]][row["answer"]] += 1
        over_all[row["answer"]] += 1
    return by_question, over_all


def blind_answer(reader, question, choices):
    """The choice that was right most often; the first of equals (letters are drawn, so it is any of them)."""
    by_question, over_all = reader
    counts = by_question.get(question) or over_all
    return max(range(len(choices)), key=lambda i: (counts[choices[i]], -i))


def test_facts(train, test):
    """Of each closed question: type, whether it needs several slices, whether the blind reader is right; and how many
    questions each scan has, in order. Some scans have none."""
    rows, marks, reader = closed_rows(test), several_slices(test), blind_reader(train)
    scans = dict.fromkeys((row["scan"] for row in all_rows(test)), 0)
    types, several, blind, chance = "", "", "", 0.0
    for row in rows:
        choices = row["choices"].split("|")
        key = row["scan"], with_choices(row["question"], choices)
        if key not in marks:
            raise StudyError(f"{test}: {row['scan']}: \"{row['question']}\" is not in its truth")
        scans[row["scan"]] += 1
        types += row["type"]
        several += "01"[marks[key]]
        blind += "01"[choices[blind_answer(reader, row["question"], choices)] == row["answer"]]
        chance += 1 / len(choices)
    return {"scans": list(scans), "questions": list(scans.values()), "type": types, "several_slices": several,
            "blind_reader": blind, "chance": round(chance / len(rows), 6)}


# ------------------------------------------------------------------------------ one evaluation


def parameters(info):
    """Numbers of weights by part, from tomo model info."""
    return {part: info[part]["parameters"] for part in ("encoder", "connector", "language") if "parameters" in info.get(part, {})}


def closed(folder, facts, draws):
    summary = json.loads((folder / "eval_close_vqa.json").read_text())
    rows = list(csv.DictReader(open(folder / "eval_close_vqa.csv", newline="", encoding="utf-8")))
    scans = [name for name, count in zip(facts["scans"], facts["questions"]) for _ in range(count)]
    journal = [json.loads(line) for line in open(folder / "eval_close_vqa.journal.jsonl", encoding="utf-8")][1:]
    journal = {line["sample"]: line for line in journal if "sample" in line}
    if len(rows) != len(scans):
        raise StudyError(f"{folder}: {len(rows)} answers; {len(scans)} questions were asked")
    for i, (row, scan) in enumerate(zip(rows, scans)):
        if not journal[i]["scan"].endswith(scan) or row["Question Type"] != facts["type"][i]:
            raise StudyError(f"{folder}: answer {i} is of {journal[i]['scan']}; {scan} was asked about")
    correct = "".join(row["Correct"] for row in rows)
    ranked = "".join("01"[row["Ranked By Text"] == row["Answer Choice"]] for row in rows)
    draw = bootstrap.Draws(facts["questions"], draws)
    of_several = [c == "1" for c in facts["several_slices"]]
    return {"correct": correct, "ranked_text": ranked, "scores": summary["scores"]["micro"],
            "macro": summary["scores"]["macro"],
            "types": {str(t["type"]): dict(t["scores"], rows=t["rows"]) for t in summary["scores"]["types"]},
            "several_slices": {"rows": sum(of_several), "accuracy": draw.mean(bits(correct), of_several),
                               "ranked_text": draw.mean(bits(ranked), of_several)},
            "empty": summary["scores"].get("empty_predictions", 0), **shared(summary)}


def captions(folder):
    summary = json.loads((folder / "eval_caption.json").read_text())
    rows = list(csv.DictReader(open(folder / "eval_caption.csv", newline="", encoding="utf-8")))
    scores = {name: summary["scores"]["scores"][name] for name in ("meteor", "bleu", "rouge1")
              if name in summary["scores"]["scores"]}
    return {"scores": scores, "empty": summary["scores"].get("empty_predictions", 0), **shared(summary),
            "by_scan": {name: [round(float(row[name]), 4) for row in rows] for name in scores}}


def shared(summary):
    """What tomo eval says about both kinds of evaluation."""
    return {"failed": summary["failed"], "model_sha256": summary["model_sha256"], "data_sha256": summary["data_sha256"],
            "per_sample": summary["per_sample"], "seconds": round(summary["timing"]["seconds"], 1)}


def evaluations(folders, facts, draws):
    """folders: of "closed" and "captions", those that were made."""
    value = {}
    if "closed" in folders:
        value["closed"] = closed(folders["closed"], facts, draws)
    if "captions" in folders:
        value["captions"] = captions(folders["captions"])
    return value


def bits(text):
    return [int(c) for c in text]
