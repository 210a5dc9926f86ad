#!/usr/bin/env python3
"""Works through a plan of data sets, pre-training, runs and evaluations, piece by piece, and goes on where it stopped.

    study.py [PLAN] [--list] [--dry-run] [--only PATTERN] [--limit-minutes N] [--jobs N] [--threads N] [--optional]
             [--commit]

PLAN is study/plan.json unless named. A piece that is there is not made again; study/README.md tells the rest. Exit
status: 0 done or out of time, 1 something failed, 2 wrong usage or plan, 130 after Ctrl-C.
"""
import argparse
import concurrent.futures
import contextlib
import fcntl
import fnmatch
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

import make
import plan as plans
from errors import Stopped, StudyError

ROOT = pathlib.Path(__file__).resolve().parent.parent
INTERRUPTED = "interrupted"
IN_RESULTS = ("result", "test")  # their product is a file among the results, and is all that they leave


class Study:
    def __init__(self, plan, options):
        self.plan, self.options = plan, options
        self.binary = str(pathlib.Path(options.tomo).resolve())
        self.threads = options.threads or max(1, os.cpu_count() // options.jobs)
        self.interrupted = False  # by Ctrl-C, or one of the commands was
        self.publishing = threading.Lock()
        self.deadline = time.monotonic() + 60 * options.limit_minutes if options.limit_minutes else None

    # ---------------------------------------------------------------- where things are

    def folder(self, piece):
        return self.plan.work / piece.folder

    def product(self, piece):
        if piece.kind == "test":
            return self.plan.results / f"{piece.folder}.json"
        return self.plan.result_path(piece) if piece.kind == "result" else self.folder(piece)

    def is_done(self, piece):
        return self.product(piece).exists()

    def begun(self, piece):
        return self.plan.work / (piece.folder + ".part")

    def note(self, piece):
        """What a finished piece left about itself, or {}."""
        path = self.folder(piece) / "piece.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def ancestors(self, piece):
        """The piece and all that it needs, each once, what is needed first."""
        found = []

        def visit(p):
            for need in p.needs.values():
                visit(need)
            if p not in found:
                found.append(p)
        visit(piece)
        return found

    # ---------------------------------------------------------------- what a result says of its making

    @functools.cache
    def made_with(self):
        version = subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        git = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=False)
        commit = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        if commit and git(["git", "status", "--porcelain", "--", "src", "cli", "include", "recipes"]).stdout.strip():
            commit += " with changes"
        names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        return {"tomo": version, "commit": commit, "cpu": names[0] if names else "", "threads": self.threads}

    def training(self, piece):
        note, losses = self.note(piece), {"train": [], "validation": []}
        for line in open(self.folder(piece) / "run" / "metrics.jsonl"):
            step = json.loads(line)
            if step["loss"] is not None:  # of a skipped step
                losses[step["kind"]].append(step["loss"])

        def mean(values):
            return round(statistics.fmean(values), 4) if values else None
        return {"piece": piece.name, "key": piece.key[:12], "steps": len(losses["train"]), "seconds": note["seconds"],
                "threads": note["made_with"]["threads"], "cpu": note["made_with"]["cpu"],
                "loss": {"first": mean(losses["train"][:10]), "last": mean(losses["train"][-10:]),
                         "validation": losses["validation"][-1] if losses["validation"] else None}}

    # ---------------------------------------------------------------- doing

    def tomo(self, piece, arguments):
        self.command(piece, [self.binary, *arguments, "--threads", str(self.threads)])

    def reason_to_stop(self):
        if self.interrupted:
            return Stopped(INTERRUPTED)
        late = self.deadline is not None and time.monotonic() > self.deadline
        return Stopped("out of time") if late else None

    def command(self, piece, arguments):
        """Runs a command to its end; Ctrl-C and the end of the time reach it as an interrupt, of which it makes the best."""
        log = self.begun(piece) / "log.txt"
        with open(log, "ab") as out:
            process = subprocess.Popen(list(map(str, arguments)), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       start_new_session=True)
        why = None  # it is stopped
        while process.poll() is None:
            if why is None and (why := self.reason_to_stop()) is not None:
                process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
        if process.returncode == 0:
            return
        if why is None and process.returncode == 128 + signal.SIGINT:  # by someone else
            why, self.interrupted = Stopped(INTERRUPTED), True
        if why is not None:
            raise why
        lines = log.read_text(errors="replace").strip().splitlines()
        raise StudyError(f"{' '.join(map(str, arguments[:2]))} ended with {process.returncode}: "
                          f"{lines[-1] if lines else 'without a word'} ({log})")

    def build(self, piece):
        folder = self.begun(piece)
        folder.mkdir(parents=True, exist_ok=True)
        spent, start = folder / "spent.json", time.monotonic()
        before = json.loads(spent.read_text()) if spent.exists() else 0
        try:
            make.MAKERS[piece.kind](self, piece, folder)
        finally:
            seconds = round(before + time.monotonic() - start, 1)
            make.write_json(spent, seconds)
        make.write_json(folder / "piece.json", {
            "name": piece.name, "kind": piece.kind, "key": piece.key, "units": piece.units, "seconds": seconds,
            "made_with": self.made_with(), "recipe": piece.recipe,
            "needs": {role: need.folder for role, need in piece.needs.items()}})
        spent.unlink()
        self.publish(piece, folder)
        return seconds

    def publish(self, piece, folder):
        if piece.kind not in IN_RESULTS:
            folder.rename(self.folder(piece))
            return
        target = self.product(piece)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.publishing:
            self.publish_file(piece, folder, target)

    def publish_file(self, piece, folder, target):
        (folder / {"result": "result.json", "test": "facts.json"}[piece.kind]).replace(target)
        shutil.rmtree(folder)
        if self.options.commit:
            git = functools.partial(subprocess.run, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            git(["git", "add", target])
            git(["git", "commit", "-q", "-m", f"study: result of {target.stem}", "--", target])

    def work(self, goals):
        """Makes the goals and what they need, --jobs at a time; a piece that fails takes along only those that need it."""
        order = self.missing(goals)
        waiting, running, failed = list(order), {}, {}
        with self.catching_interrupts(), concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            while running or (waiting and self.reason_to_stop() is None):
                self.start_ready(pool, order, waiting, running, failed)
                done, _ = concurrent.futures.wait(running, timeout=0.5, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    self.finish(running.pop(future), future, waiting, failed)
        if waiting:
            raise self.reason_to_stop()
        return len(failed)

    @contextlib.contextmanager
    def catching_interrupts(self):
        """Ctrl-C and a request to end tell the commands at work; they keep what they have."""
        def interrupt(*_):
            self.interrupted = True
        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start_ready(self, pool, order, waiting, running, failed):
        """Starts pieces whose needs are there, as many as may run."""
        for piece in list(waiting):
            needs = self.wanted_before(piece)
            lost = next((need for need in needs if need in failed), None)
            if lost is not None:
                failed[piece] = f"needs {lost.name}"
                waiting.remove(piece)
            elif len(running) < self.options.jobs and self.reason_to_stop() is None and not (
                    needs & {*waiting, *running.values()}):
                print(f"[{order.index(piece) + 1}/{len(order)}] {piece.folder} {expected(self.estimate(piece))}", flush=True)
                waiting.remove(piece)
                running[pool.submit(self.build, piece)] = piece

    def finish(self, piece, future, waiting, failed):
        """Tells how a piece ended."""
        try:
            seconds = future.result()
            over = " (over its allowance)" if seconds > 60 * self.plan.json.get("allowance_minutes", 30) else ""
            print(f"        {piece.name}: done in {seconds:.0f} s{over}", flush=True)
        except Stopped:
            waiting.append(piece)
        except Exception as error:  # whatever it is, the other pieces can do without this one
            failed[piece] = f"{error}" if isinstance(error, StudyError) else f"{type(error).__name__}: {error}"
            print(f"study: {piece.name}: {failed[piece]}", file=sys.stderr)

    def wanted_before(self, piece):
        """What has to be there before a piece is made: a trained model's result tells of its whole training."""
        training = self.ancestors(piece.needs["trained"]) if piece.kind == "result" else []
        return {*piece.needs.values(), *(p for p in training if p.kind in ("encoder", "language", "align", "run"))}

    def missing(self, goals):
        """What has to be made for the goals, what is needed first. What a finished piece needed is not asked for."""
        order = []

        def visit(piece):
            if piece in order or self.is_done(piece):
                return
            for need in sorted(self.wanted_before(piece), key=list(self.plan.pieces.values()).index):
                visit(need)
            order.append(piece)
        for goal in goals:
            visit(goal)
        return order

    # ---------------------------------------------------------------- telling

    @functools.cached_property
    def rates(self):
        """Seconds a unit by kind, and by name without its numbers, of what is done."""
        found = {}
        for path in self.plan.work.glob("*/piece.json"):
            note = json.loads(path.read_text())
            for group in (note["kind"], family(note["name"])):
                found.setdefault(group, []).append(note["seconds"] / max(note["units"], 1))
        return {group: statistics.median(rates) for group, rates in found.items()}

    def estimate(self, piece):
        told = self.plan.json.get("estimates", {})
        for rates, group in ((self.rates, family(piece.name)), (told, family(piece.name)), (self.rates, piece.kind),
                             (told, piece.kind)):
            if group in rates:
                return rates[group] * piece.units
        return 0.0

    def list(self, goals):
        wanted, left = set(self.missing(goals)), 0.0
        for piece in self.plan.pieces.values():
            state = "done" if self.is_done(piece) else "begun" if self.begun(piece).exists() else "-"
            if state != "done" and piece not in wanted:
                state = "not asked for"
            seconds = self.note(piece).get("seconds") if state == "done" else self.estimate(piece)
            if piece in wanted:
                left += seconds
            told = "" if seconds is None else f"{seconds:8.0f} s" if state == "done" else f"~{seconds:7.0f} s"
            print(f"{state:14}{told:>11}  {piece.folder}")
        print(f"{len(self.plan.pieces)} pieces, {len(wanted)} to make, about {left / 3600:.1f} h")
        known = {self.product(piece) for piece in self.plan.pieces.values() if piece.kind in IN_RESULTS}
        for path in sorted(self.plan.results.glob("*.json")):
            if path not in known:
                print(f"of another plan or recipe: {path}")


def family(name):
    return re.sub(r"-[ns]\d+", "", name)


def expected(seconds):
    return f"(about {seconds:.0f} s)" if seconds else ""


def find_goals(plan, options):
    if options.only:
        goals = [p for p in plan.pieces.values() if fnmatch.fnmatchcase(p.name, options.only)]
        if not goals:
            raise StudyError(f"{plan.path}: no piece is named {options.only}; --list tells them")
        return goals
    return [p for p in plan.pieces.values() if p.kind in ("result", "test", "demo") and (options.optional or not p.optional)]


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", nargs="?", default=ROOT / "study" / "plan.json")
    parser.add_argument("--list", action="store_true", help="tell every piece, what is done, and an estimate of the rest")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be made, in order")
    parser.add_argument("--only", metavar="PATTERN", help="only pieces of this name, with what they need: 'run-full-*'")
    parser.add_argument("--limit-minutes", type=float, metavar="N", help="stop after so long; the next call goes on")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="pieces at a time; default 1")
    parser.add_argument("--threads", type=int, metavar="N", help="of each; default all CPUs, shared among the jobs")
    parser.add_argument("--optional", action="store_true", help="also what is optional: variants that need a download")
    parser.add_argument("--commit", action="store_true", help="commit each result as it is made")
    parser.add_argument("--tomo", default=os.environ.get("TOMO_BINARY", ROOT / "build" / "release" / "cli" / "tomo"),
                        metavar="FILE", help="the command; default build/release/cli/tomo")
    return parser.parse_args()


def run(study, goals):
    if study.options.list:
        study.list(goals)
        return 0
    if study.options.dry_run:
        for piece in study.missing(goals):
            print(f"{piece.folder} {expected(study.estimate(piece))}")
        return 0
    if not os.access(study.binary, os.X_OK):
        raise StudyError(f"{study.binary}: no such command; make build makes it, --tomo names another")
    study.plan.work.mkdir(parents=True, exist_ok=True)
    with open(study.plan.work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyError(f"{study.plan.work}: another study works here; one at a time is possible") from error
        failures = study.work(goals)
    print(f"study: {failures} pieces are missing" if failures else "study: every piece is there")
    return 1 if failures else 0


def main():
    options = read_options()
    try:
        plan = plans.Plan(options.plan)
        return run(Study(plan, options), find_goals(plan, options))
    except StudyError as error:
        print(f"study: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"study: {stopped}; the same command goes on", flush=True)
        return 130 if str(stopped) == INTERRUPTED else 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
