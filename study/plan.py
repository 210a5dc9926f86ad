"""A plan as pieces of work, each with a key that changes when its recipe or anything that it needs changes.

A plan is a JSON file (study/README.md tells every key). Nothing here touches products: what a plan asks for, and under
which keys, is known before anything has run.
"""
import copy
import dataclasses
import functools
import hashlib
import json
import pathlib

from errors import StudyError

UNTRAINED = 0  # a number of scans: the fresh model is evaluated as it is


@dataclasses.dataclass(eq=False)
class Piece:
    kind: str                # says how it is made (make.py)
    name: str                # for people; unique in a plan
    recipe: dict             # all that decides the product, but for what it needs
    needs: dict              # role -> Piece
    units: float = 1         # of work: scans, steps, samples; estimates are made with them
    optional: bool = False   # made only when asked for

    @functools.cached_property
    def key(self):
        parts = {"kind": self.kind, "recipe": without_comments(self.recipe),
                 "needs": {role: piece.key for role, piece in self.needs.items()}}
        return hashlib.sha256(canonical(parts).encode()).hexdigest()

    @property
    def folder(self):
        return f"{self.name}-{self.key[:12]}"


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def without_comments(value):
    if isinstance(value, dict):
        return {key: without_comments(item) for key, item in value.items() if key != "comment"}
    if isinstance(value, list):
        return [without_comments(item) for item in value]
    return value


def change(base, changes):
    """base with changes laid over it: members of objects replace those of their name, null takes them away. A list of
    objects with names (stages) is changed by an object from name to changes."""
    if isinstance(base, list) and isinstance(changes, dict):
        names = [item.get("name") for item in base]
        for name in changes:
            if name not in names:
                raise StudyError(f"\"{name}\" is changed; there is {', '.join(map(str, names))}")
        return [change(item, changes[item["name"]]) if item.get("name") in changes else copy.deepcopy(item)
                for item in base if changes.get(item.get("name"), {}) is not None]
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return copy.deepcopy(changes)
    out = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif key in out:
            out[key] = change(out[key], value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: {error}; a JSON file is wanted") from error


def check_keys(where, section, known):
    for key in section:
        if key not in known:
            raise StudyError(f"{where}: unknown key \"{key}\"; possible are {', '.join(known)}")


def file_digests(folder, names):
    """What files hold, for the key of a piece that copies them."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names if (folder / name).exists()}


TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"]
TOP = ["comment", "version", "work", "results", "allowance_minutes", "headline", "draws", "data", "encoders", "languages", "model",
       "train", "sizes", "evaluate", "variants", "estimates", "demo"]
VARIANT = ["comment", "name", "letter", "about", "encoder", "language", "model", "train", "sizes", "optional"]


class Plan:
    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()
        self.root = self.path.parent
        self.json = read_json(self.path)
        if "base" in self.json:  # another plan, of which this one says what is different
            self.json = change(read_json(self.root / self.json["base"]), {k: v for k, v in self.json.items() if k != "base"})
        check_keys(self.path, self.json, TOP)
        self.work = (self.root / self.json["work"]).resolve()
        self.results = (self.root / self.json["results"]).resolve()
        self.headline = self.json.get("headline", "accuracy")
        self.variants = self.json["variants"]
        self.pieces = {}
        for variant in self.variants:
            check_keys(f"{self.path}: variant {variant.get('name')}", variant, VARIANT)
        self.expand()

    def expand(self):
        """Every piece that the plan asks for."""
        self.test_facts()
        for variant in self.variants:
            for n, seeds in variant["sizes"].items():
                for seed in seeds:
                    self.result(variant, int(n), seed)
        if "demo" in self.json:
            self.demo()

    # ---------------------------------------------------------------- parts

    def add(self, *arguments, **more):
        piece = Piece(*arguments, **more)
        known = self.pieces.setdefault(piece.name, piece)
        if known.key != piece.key:
            raise StudyError(f"{self.path}: {piece.name} would be two different things")
        return known

    def data(self, name):
        d = self.json["data"][name]
        check_keys(f"{self.path}: data {name}", d, ["comment", "file", "options"])
        return self.add("data", f"data-{name}", {"options": d["options"], "version": self.json.get("version", 1)}, {}, units=d["options"]["count"])

    def data_file(self, name):
        return self.json["data"][name].get("file", "scans.csv")

    def recipe(self, section):
        """The recipe that a section names, with its changes, without the paths, which make.py sets."""
        path = (self.root / section["recipe"]).resolve()
        recipe = change(read_json(path), {"run": None, "model": None, "comment": None})
        for part in [recipe, *recipe["stages"]]:
            for key in ("path", "cache"):
                part.get("data", {}).pop(key, None)
            for key in ("encoder", "language"):
                part.pop(key, None)
        return path, self.change_recipe(path, recipe, section.get("change", {}))

    def change_recipe(self, path, recipe, changes):
        try:
            return change(recipe, changes)
        except StudyError as error:
            raise StudyError(f"{self.path}: {path.name}: {error}") from error

    def language_shape(self, section):
        """A language model's folder without weights: its tokenizer, and config.json with the plan's sizes."""
        folder = (self.root / section["folder"]).resolve()
        return {"folder": section["folder"], "config": change(read_json(folder / "config.json"), section.get("config", {})),
                "files": file_digests(folder, TOKENIZER_FILES)}

    def language(self, name):
        section = self.json["languages"][name]
        if "wheel" in section:
            return self.add("wheel", f"language-{name}", section["wheel"], {}, units=1, optional=True)
        _, recipe = self.recipe(section)
        shape = self.language_shape(section)
        return self.add("language", f"language-{name}", {"train": recipe, "language": shape, "file": self.data_file(
            section["data"])}, {"data": self.data(section["data"])}, units=steps_of(recipe))

    def encoder(self, name):
        section = self.json["encoders"][name]
        if "pixels" in section:
            return self.add("pixels", f"encoder-{name}", section["pixels"], {})
        _, recipe = self.recipe(section)
        return self.add("encoder", f"encoder-{name}", {
            "train": recipe, "config": section["config"], "language": self.language_shape(section["language"]),
            "file": self.data_file(section["data"])}, {"data": self.data(section["data"])}, units=steps_of(recipe))

    def model(self, variant, seed):
        config = change(self.json["model"], variant.get("model", {}))
        needs = {"encoder": self.encoder(variant.get("encoder", "small")),
                 "language": self.language(variant.get("language", "small"))}
        return self.add("model", f"model-{variant['name']}-s{seed}", {"config": config, "seed": seed}, needs,
                        optional=variant.get("optional", False))

    def table(self, n, seed, most=None, extra=None):
        """N scans of the training set: those of another seed are others as long as the set has enough. most: rows of
        questions in the same words; extra: the name of a data set whose scans are added."""
        needs = {role: self.data(role) for role in ("train", "validation")}
        if extra is not None:
            needs["extra"] = self.data(extra)
        count = self.json["data"]["train"]["options"]["count"]
        if n > count:
            raise StudyError(f"{self.path}: {n} scans of {count}; data.train.options.count must be larger")
        recipe = {"first": (seed - 1) * n if seed * n <= count else 0, "count": n}
        if "balance" in self.json["train"]:
            recipe["balance"] = self.json["train"]["balance"]
        if most is not None:
            recipe["most"] = most
        name = f"table-n{n}-s{seed}" + (f"-most{most}" if most is not None else "") + (f"-{extra}" if extra is not None else "")
        return self.add("table", name, recipe, needs)

    # ---------------------------------------------------------------- runs

    def aligned(self, variant, seed, sections):
        """The variant's model after runs on slices, single or a few neighbours, and their captions."""
        start = self.model(variant, seed)
        for number, section in enumerate(sections, 1):
            _, recipe = self.recipe(section)
            recipe["seed"] = seed
            settings = {"train": recipe, "file": self.data_file(section["data"])}
            if "balance" in section:
                settings["balance"] = section["balance"]
            start = self.add("align", f"aligned-{number}-{variant['name']}-s{seed}", settings,
                             {"model": start, "data": self.data(section["data"])}, units=steps_of(recipe))
        return start

    def run_recipe(self, seed, *several):
        """The plan's recipe of runs with changes, one after another."""
        path, recipe = self.recipe(self.json["train"])
        for changes in several:
            recipe = self.change_recipe(path, recipe, changes)
        return {**recipe, "seed": seed}

    def run(self, variant, n, seed, align=None):
        recipe = self.run_recipe(seed, self.json["sizes"].get(str(n), {}), variant.get("train", {}))
        start = self.model(variant, seed)
        if align is not None:  # what it changed in the model's settings is changed back
            config, start = start.recipe["config"], self.aligned(variant, seed, align)
            recipe["config"] = {section: {key: config[section][key] for key in members}
                                for section, members in changed_settings(start).items()}
        needs = {"model": start, "table": self.table(n, seed)}
        name = f"run{'' if align is None else '-aligned'}-{variant['name']}-n{n}-s{seed}"
        return self.add("run", name, {"train": recipe}, needs, units=steps_of(recipe), optional=variant.get("optional", False))

    def runs_again(self, before, variant, n, seed, sections):
        """The last of runs that go on from a finished one, each from that before: on questions that are asked more
        evenly, perhaps with another set's scans among them."""
        for number, section in enumerate(sections, 1):
            check_keys(f"{self.path}: demo.again", section, ["comment", "most", "extra", "change"])
            recipe = self.run_recipe(seed, variant.get("train", {}), section["change"])
            table = self.table(n, seed, section["most"], section.get("extra"))
            before = self.add("run", f"run-again-{number}-{variant['name']}-n{n}-s{seed}", {"train": recipe},
                              {"model": before, "table": table}, units=steps_of(recipe))
        return before

    def evaluation(self, which, name, trained, optional):
        """which: captions or closed."""
        count = self.json["data"]["test"]["options"]["count"]
        return self.add("evaluation", f"{which}-{name}", {"which": which, **self.json["evaluate"][which]},
                        {"model": trained, "data": self.data("test")}, units=count, optional=optional)

    def result(self, variant, n, seed):
        name, optional = f"{variant['name']}-n{n}-s{seed}", variant.get("optional", False)
        trained = self.model(variant, seed) if n == UNTRAINED else self.run(variant, n, seed)
        needs = {"trained": trained, "test": self.test_facts()}
        needs.update({which: self.evaluation(which, name, trained, optional) for which in self.json["evaluate"]})
        recipe = {"variant": variant["name"], "scans": n, "seed": seed, "draws": self.json.get("draws", 1000)}
        return self.add("result", f"result-{name}", recipe, needs, optional=optional)

    def test_facts(self):
        """What is true of the test questions, and how a reader fares who sees no image."""
        return self.add("test", "test", {"version": 1}, {"train": self.data("train"), "test": self.data("test")})

    def demo(self):
        d = self.json["demo"]
        check_keys(f"{self.path}: demo", d, ["comment", "variant", "scans", "seed", "folder", "megabytes", "card", "align",
                                            "again"])
        variant = next(v for v in self.variants if v["name"] == d["variant"])
        run = self.run(variant, d["scans"], d["seed"], d.get("align"))
        run = self.runs_again(run, variant, d["scans"], d["seed"], d.get("again", []))
        small = self.add("bfloat16", "demo-model", {"megabytes": d["megabytes"]}, {"run": run})
        needs = {which: self.evaluation(which, "demo", small, False) for which in self.json["evaluate"]}
        recipe = {"variant": d["variant"], "scans": d["scans"], "seed": d["seed"], "draws": self.json.get("draws", 1000)}
        result = self.add("result", "result-demo", recipe, {"trained": small, "test": self.test_facts(), **needs})
        self.add("demo", "demo", {"folder": d["folder"], "card": file_digests(self.root, [d["card"]])}, {
            "model": small, "result": result, "test": self.test_facts()})

    # ---------------------------------------------------------------- results

    def result_path(self, piece):
        return self.results / f"{piece.folder.removeprefix('result-')}.json"

    def find_result(self, variant, n, seed):
        """The result of a planned run: its path, whether it is there or not; None where the plan has no such run."""
        piece = self.pieces.get(f"result-{variant}-n{n}-s{seed}")
        return self.result_path(piece) if piece is not None else None


def changed_settings(piece):
    """Names of the model's settings that runs on slices changed, by section."""
    changed = {}
    while piece.kind == "align":
        for section, members in piece.recipe["train"].get("config", {}).items():
            changed.setdefault(section, set()).update(members)
        piece = piece.needs["model"]
    return changed


def steps_of(recipe):
    """Work of a recipe in samples that go through; epochs count as 1,000 samples each, for estimates alone."""
    return sum((stage.get("steps") or 1000 * stage.get("epochs", 0)) * stage.get("batch", 1) * stage.get("accumulation", 1)
               for stage in recipe["stages"])
