#!/usr/bin/env python3
"""Writes the tables, numbers and figures of docs/data-efficiency.md from the result files of a plan.

    report.py [PLAN] [--check] [--page FILE]

Between <!-- NAME --> and <!-- end --> stands what TABLES or a figure makes; between <!-- = WORDS --> and <!-- / --> one
number (number()). Runs of the plan that have no result are "not run". --check writes nothing and ends with 1 when the
page or a figure is not what the results say.
"""
import argparse
import json
import pathlib
import re
import statistics
import sys

import bootstrap
import chart
import plan as plans
import score
from errors import StudyError

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOT_RUN = "not run"
MEASURES = {"closed": "closed questions", "several": "questions of several slices", "meteor": "METEOR", "bleu": "BLEU-1",
            "rouge1": "ROUGE-1", **{name: f"{name} questions" for name in score.TYPES.values()}}
PERCENT = {"closed", "several", *score.TYPES.values()}


class Results:
    """The results of a plan that are there."""

    def __init__(self, plan):
        self.plan, self.draws, self.found = plan, {}, {}
        facts = [plan.results / f"{piece.folder}.json" for piece in plan.pieces.values() if piece.kind == "test"]
        self.facts = json.loads(facts[0].read_text()) if facts[0].exists() else None
        self.draw = bootstrap.Draws(self.facts["questions"], plan.json.get("draws", 1000)) if self.facts else None
        for piece in plan.pieces.values():
            if piece.kind == "result" and plan.result_path(piece).exists():
                self.found[piece.name.removeprefix("result-")] = json.loads(plan.result_path(piece).read_text())

    def of(self, variant, n):
        """The results of a variant at N scans by seed, those that are there."""
        planned = [seed for v in self.plan.variants if v["name"] == variant for seed in v["sizes"].get(str(n), [])]
        found = {seed: self.found.get(f"{variant}-n{n}-s{seed}") for seed in planned}
        return {seed: result for seed, result in found.items() if result is not None}

    def sizes(self, variant):
        return sorted(int(n) for v in self.plan.variants if v["name"] == variant for n in v["sizes"])

    # ---------------------------------------------------------------- measures

    def values(self, result, measure):
        """What is averaged, and over which questions (None: a number a scan); None where the result has no such score."""
        if measure in ("meteor", "bleu", "rouge1"):
            return (result["captions"]["by_scan"][measure], None) if measure in result.get("captions", {}).get(
                "by_scan", {}) else None
        values = score.bits(result["closed"]["correct" if self.plan.headline == "accuracy" else self.plan.headline])
        return values, self.mask(measure)

    def mask(self, measure):
        if measure == "closed":
            return [True] * len(self.facts["type"])
        if measure == "several":
            return [c == "1" for c in self.facts["several_slices"]]
        number = next(n for n, name in score.TYPES.items() if name == measure)
        return [c == str(number) for c in self.facts["type"]]

    def mean_over(self, results, measure, sign=None):
        """Mean over results (with signs: a difference) of a measure, with the interval of scans drawn anew."""
        total, mask, used = None, None, len(results)
        for i, result in enumerate(results):
            values = self.values(result, measure)
            if values is None:
                return None
            factor = 1 if sign is None else sign[i]
            mask = values[1]
            scaled = [factor * v for v in values[0]]
            total = scaled if total is None else list(map(float.__add__, map(float, total), map(float, scaled)))
        if total is None:
            return None
        over = used if sign is None else used / 2
        total = [v / over for v in total]
        return self.draw.mean_of_scans(total) if mask is None else self.draw.mean(total, mask)

    def mean(self, variant, n, measure):
        return self.mean_over(list(self.of(variant, n).values()), measure)

    def by_seed(self, variant, n, measure):
        return {seed: self.mean_over([result], measure) for seed, result in self.of(variant, n).items()}

    def difference(self, one, other, n, measure):
        """one - other at N scans, in pairs of the same seed and the same questions: the mean over seeds with the interval
        of scans drawn anew, and each seed's own difference; None where no pair was run."""
        a, b = self.of(one, n), self.of(other, n)
        seeds = sorted(set(a) & set(b))
        if not seeds:
            return None
        results = [a[s] for s in seeds] + [b[s] for s in seeds]
        signs = [1] * len(seeds) + [-1] * len(seeds)
        mean = self.mean_over(results, measure, signs)
        each = [self.mean_over([a[s], b[s]], measure, [1, -1])["mean"] for s in seeds] if mean else []
        return None if mean is None else {**mean, "seeds": each}


# ------------------------------------------------------------------------------ words


def told(value, measure, interval=True, signed=False):
    if value is None:
        return NOT_RUN
    plus = "+" if signed else ""
    if measure in PERCENT:
        mean, ends = f"{100 * value['mean']:{plus}.1f}", f"[{100 * value['low']:{plus}.1f}, {100 * value['high']:{plus}.1f}]"
    else:
        mean, ends = f"{value['mean']:{plus}.3f}", f"[{value['low']:{plus}.3f}, {value['high']:{plus}.3f}]"
    return f"{mean} {ends}" if interval else mean


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *("| " + " | ".join(r) + " |" for r in rows)])


def label(variant):
    letter = f"({variant['letter']}) " if "letter" in variant else ""
    return letter + variant.get("about", variant["name"])


def millions(result):
    return "; ".join(f"{part} {count / 1e6:.2f}" for part, count in result["parameters"].items())


def spread(by_seed, measure):
    means = [v["mean"] for v in by_seed.values() if v is not None]
    if len(means) < 2:
        return "-"
    scale = 100 if measure in PERCENT else 1
    return f"{scale * statistics.stdev(means):.{1 if scale == 100 else 3}f}"


# ------------------------------------------------------------------------------ tables


def curved(results):
    """Variants with results planned at several numbers of scans."""
    return [v for v in results.plan.variants if len(results.sizes(v["name"])) > 1]


def main_size(results):
    """The number of scans at which most variants are planned with most seeds."""
    count = {}
    for v in results.plan.variants:
        for n, seeds in v["sizes"].items():
            if int(n) != plans.UNTRAINED:
                count[int(n)] = count.get(int(n), 0) + len(seeds)
    return max(count, key=lambda n: (count[n], n))


def table_curves(results):
    rows = []
    for v in curved(results):
        for n in results.sizes(v["name"]):
            seeds = results.of(v["name"], n)
            rows.append([label(v), f"{n:,}", str(len(seeds)) if seeds else NOT_RUN,
                         *(told(results.mean(v["name"], n, m), m) for m in ("closed", "several", "meteor", "bleu", "rouge1"))])
    return table(["variant", "scans", "seeds", "closed %", "several slices %", "METEOR", "BLEU-1", "ROUGE-1"], rows)


def table_variants(results):
    n, rows = main_size(results), []
    for v in results.plan.variants:
        if str(n) not in v["sizes"]:
            continue
        found = results.of(v["name"], n)
        closed = results.by_seed(v["name"], n, "closed")
        rows.append([label(v), millions(next(iter(found.values()))) if found else NOT_RUN, str(len(found)),
                     told(results.mean(v["name"], n, "closed"), "closed"), spread(closed, "closed"),
                     told(results.mean(v["name"], n, "several"), "several"),
                     *(told(results.mean(v["name"], n, m), m, False) for m in ("meteor", "bleu", "rouge1"))])
    return table(["variant", "parameters, million", "seeds", "closed %", "sd of seeds", "several slices %", "METEOR", "BLEU-1",
                  "ROUGE-1"], rows)


def verdict(difference):
    """Beyond noise: the interval leaves out 0, and every seed says the same."""
    seeds = difference["seeds"]
    if difference["low"] > 0 and min(seeds) > 0:
        return "better"
    return "worse" if difference["high"] < 0 and max(seeds) < 0 else "within noise"


def table_differences(results):
    n, rows = main_size(results), []
    first = results.plan.variants[base(results)]
    for v in results.plan.variants:
        if v is first or str(n) not in v["sizes"]:
            continue
        row = [label(v)]
        for m in ("closed", "several", "meteor"):
            d = results.difference(first["name"], v["name"], n, m)
            scale, digits = (100, 1) if m in PERCENT else (1, 3)
            row += [told(d, m, signed=True), ", ".join(f"{scale * s:+.{digits}f}" for s in d["seeds"]) if d else "-"]
            if m == "closed":
                row.append(f"full model {verdict(d)}" if d else "-")
        rows.append(row)
    return table(["full model minus", "closed, points", "by seed", "beyond noise?", "several slices, points", "by seed", "METEOR",
                  "by seed"], rows)


def base(results):
    """The place of the variant that the others are compared with: letter a, or the first."""
    return next((i for i, v in enumerate(results.plan.variants) if v.get("letter") == "a"), 0)


def table_types(results):
    if results.facts is None:
        return NOT_RUN
    n, rows = main_size(results), []
    asked = [name for number, name in score.TYPES.items() if str(number) in results.facts["type"]]
    for v in results.plan.variants:
        if str(n) in v["sizes"]:
            rows.append([label(v), *(told(results.mean(v["name"], n, t), t) for t in asked)])
    rows.append(["blind reader", *(told(blind(results, t), t) for t in asked)])
    return table(["variant", *asked], rows)


def blind(results, measure):
    return results.draw.mean(score.bits(results.facts["blind_reader"]), results.mask(measure))


def table_levels(results):
    if results.facts is None:
        return NOT_RUN
    rows = [["chance", f"{100 * results.facts['chance']:.1f}", f"{100 * results.facts['chance']:.1f}"],
            ["blind reader: the answer that was right most often in training", told(blind(results, "closed"), "closed"),
             told(blind(results, "several"), "several")]]
    return table([f"{len(results.facts['type']):,} questions about {len(results.facts['scans'])} scans", "closed %",
                  f"several slices % ({results.facts['several_slices'].count('1'):,} questions)"], rows)


def table_training(results):
    """What each pre-training and each run took; pre-training is shared by the runs."""
    seen = {}
    for result in results.found.values():
        for t in result["training"]:
            seen[t["piece"], t["key"]] = t
    rows = [[t["piece"], str(t["steps"]), f"{t['seconds'] / 60:.1f}", str(t["threads"]), t["cpu"],
             f"{t['loss']['first']} -> {t['loss']['last']}", str(t["loss"]["validation"] or "-")]
            for _, t in sorted(seen.items())]
    return table(["training", "steps", "minutes", "threads", "CPU", "loss", "validation"], rows) if rows else NOT_RUN


def table_demo(results):
    """The demo model by question type, from the result that make demo-model leaves."""
    result = results.found.get("demo")
    if result is None:
        return NOT_RUN
    rows = [[t, told(results.mean_over([result], t), t)] for t in ["closed", "several", *score.TYPES.values()]
            if results.mean_over([result], t)]
    rows += [[MEASURES[m], told(results.mean_over([result], m), m)] for m in ("meteor", "bleu", "rouge1")]
    return table(["demo model", "score"], rows)


TABLES = {"curves": table_curves, "variants": table_variants, "differences": table_differences, "types": table_types,
          "levels": table_levels, "training": table_training}
FIGURES = {"closed": "Closed questions answered rightly", "several": "Questions of several slices answered rightly",
           "meteor": "METEOR of reports"}


def figure(results, measure):
    curves, sizes, levels = [], set(), []
    for v in curved(results):
        means = [(n, results.mean(v["name"], n, measure)) for n in results.sizes(v["name"]) if n != plans.UNTRAINED]
        sizes |= {n for n, _ in means}
        points = [(n, mean) for n, mean in means if mean is not None]
        if points:
            curves.append((label(v), points))
    if measure in PERCENT and results.facts:
        levels = [("chance", results.facts["chance"]), ("blind reader", blind(results, measure)["mean"])]
    return chart.draw(FIGURES[measure], curves, levels, sorted(sizes or {1}), percent=measure in PERCENT)


def number(results, words):
    """One number of the prose: "full 200 closed", or a difference, "full - vit3d 200 closed"."""
    match = re.fullmatch(r"([\w-]+?)(?: - ([\w-]+))? (\d+) (\w+)", words)
    if match is None or match.group(4) not in MEASURES:
        raise StudyError(f"<!-- = {words} -->: VARIANT [- VARIANT] SCANS MEASURE is wanted, MEASURE one of "
                         f"{', '.join(MEASURES)}")
    one, other, n, measure = match.group(1), match.group(2), int(match.group(3)), match.group(4)
    value = results.difference(one, other, n, measure) if other else results.mean(one, n, measure)
    return told(value, measure, signed=bool(other))


# ------------------------------------------------------------------------------ the page


def fill(page, results, demo):
    def part(match):
        name = match.group(1)
        if name == "demo":
            made = table_demo(demo)
        elif name in TABLES:
            made = TABLES[name](results)
        else:
            raise StudyError(f"<!-- {name} -->: unknown; possible are demo, {', '.join(TABLES)}")
        return f"<!-- {name} -->\n{made}\n<!-- end -->"
    page = re.sub(r"<!-- ([a-z]+) -->\n.*?<!-- end -->", part, page, flags=re.S)
    return re.sub(r"<!-- = (.*?) -->.*?<!-- / -->", lambda m: f"<!-- = {m.group(1)} -->{number(results, m.group(1))}<!-- / -->",
                  page, flags=re.S)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", nargs="?", type=pathlib.Path, default=ROOT / "study" / "plan.json")
    parser.add_argument("--demo", type=pathlib.Path, default=ROOT / "study" / "demo.json", help="the demo model's plan")
    parser.add_argument("--page", type=pathlib.Path, default=ROOT / "docs" / "data-efficiency.md")
    parser.add_argument("--check", action="store_true", help="only tell whether page and figures are what the results say")
    return parser.parse_args()


def main():
    options = read_options()
    try:
        results, demo = Results(plans.Plan(options.plan)), Results(plans.Plan(options.demo))
        made = {options.page: fill(options.page.read_text(encoding="utf-8"), results, demo)}
        made.update({options.page.with_name(f"{options.page.stem}-{m}.svg"): figure(results, m) for m in FIGURES})
    except StudyError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    old = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in old:
        if options.check:
            print(f"{path}: not what the results say; python3 study/report.py writes it anew", file=sys.stderr)
        else:
            path.write_text(made[path], encoding="utf-8")
            print(path)
    return 1 if options.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
