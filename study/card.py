"""The demo model's card: the words of a template, the numbers of its evaluation."""
import json
import re

import score
from errors import StudyError


def percent(value):
    return f"{100 * value['mean']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def share(text):
    return f"{100 * text.count('1') / len(text):.1f} %"


def types_table(closed):
    lines = ["| type | questions | accuracy |", "| --- | --- | --- |"]
    for number, scores in sorted(closed["types"].items()):
        lines.append(f"| {score.TYPES[int(number)]} | {scores['rows']} | {percent(scores['accuracy'])} |")
    return "\n".join(lines)


def values(plan, result, facts, folder):
    closed, captions, p = result["closed"], result["captions"], result["parameters"]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    options = plan.json["data"]
    training = result["training"]
    return {
        "size_mb": f"{size / 1e6:.1f}", "parameters": f"{sum(p.values()) / 1e6:.2f} million",
        **{f"parameters_{part}": f"{count:,}" for part, count in p.items()},
        "scans": str(result["scans"]), "seed": str(result["seed"]),
        **{f"{name.replace('-', '_')}_{key}": str(d["options"].get(key, usual)) for name, d in options.items()
           for key, usual in (("count", 1), ("seed", 0), ("slab", 1))},
        "minutes": f"{sum(t['seconds'] for t in training) / 60:.0f}",
        "cpu": training[-1]["cpu"], "threads": str(training[-1]["threads"]),
        "stages": "\n".join(f"- {t['piece']}: {t['steps']} steps, {t['seconds'] / 60:.0f} min, loss {t['loss']['first']} -> "
                            f"{t['loss']['last']}" for t in training),
        "questions": str(len(facts["type"])), "accuracy": percent(closed["scores"]["accuracy"]),
        "several": percent(closed["several_slices"]["accuracy"]), "several_questions": str(closed["several_slices"]["rows"]),
        "types": types_table(closed), "chance": f"{100 * facts['chance']:.1f} %", "blind": share(facts["blind_reader"]),
        **{name: f"{v['mean']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for name, v in captions["scores"].items()},
        "commit": result["made_with"]["commit"], "version": result["made_with"]["tomo"],
        "recipe": json.dumps(plan.path.name).strip('"')}


def write(plan, result, facts, folder):
    """The plan's template, `{{name}}` replaced."""
    template = (plan.root / plan.json["demo"]["card"]).read_text(encoding="utf-8")
    known = values(plan, result, facts, folder)

    def replace(match):
        if match.group(1) not in known:
            raise StudyError(f"the card asks for {match.group(1)}; known are {', '.join(sorted(known))}")
        return known[match.group(1)]
    return re.sub(r"\{\{(\w+)\}\}", replace, template)
