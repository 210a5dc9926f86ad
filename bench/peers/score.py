#!/usr/bin/env python3
"""tomo score beside Python with nltk and rouge_score on the same report pairs, in one run.

    python -m venv VENV && VENV/bin/pip install nltk==3.9.1 rouge_score
    VENV/bin/python bench/peers/score.py [--tomo build/release/cli/tomo] [--pairs 10000] [--words 150] [--processes 2]

Makes reports from the sentences of tests/reference/metrics, with words exchanged, left out and moved. tomo scores
them with `--processes` threads, Python with one process, as the benchmark's scripts do, and with as many as tomo has
threads. The times of the whole work are compared (reading the CSV, loading WordNet, scores; tomo also 1000 bootstrap
draws), as they passed and as processor time, which a busy machine changes less; the mean scores must agree to 1e-9.
BLEU-1 in Python is counted as Hugging Face evaluate does after its own tokenizer 13a.
"""
import argparse
import collections
import csv
import json
import math
import multiprocessing
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
METRICS = ROOT / "tests" / "reference" / "metrics"


def make_pairs(count, words, seed=1):
    rng = random.Random(seed)
    with open(METRICS / "pairs_tokens.jsonl", encoding="utf-8") as f:
        sentences = sorted({s for line in f for s in json.loads(line)["sent_ref"] if 4 <= len(s.split()) <= 30})
    pool = sorted({w for s in sentences for w in s.split()})

    def change(text):
        out = []
        for w in text.split():
            r = rng.random()
            if r < 0.08:
                continue
            out.append(rng.choice(pool) if r < 0.2 else w)
        return " ".join(out)

    pairs = []
    for _ in range(count):
        chosen, n = [], 0
        while n < words:
            s = rng.choice(sentences)
            chosen.append(s)
            n += len(s.split())
        predicted = [change(s) for s in chosen]
        if rng.random() < 0.5:
            rng.shuffle(predicted)
        pairs.append((" ".join(chosen), " ".join(predicted)))
    return pairs


# ---------------------------------------------------------------- Python's scores
def set_up(folder):
    """punkt and WordNet 3.0 where nltk looks for them, from the reference and Debian's wordnet-base"""
    punkt = folder / "tokenizers" / "punkt_tab" / "english"
    shutil.copytree(METRICS / "punkt_english", punkt)
    wordnet = folder / "corpora" / "wordnet"
    wordnet.mkdir(parents=True)
    for pos in ("adj", "adv", "noun", "verb"):
        for name in ("%s.exc" % pos, "index.%s" % pos, "data.%s" % pos):
            shutil.copy("/usr/share/wordnet/" + name, wordnet / name)
    # 45 lexicographer files; their names play no part in METEOR
    (wordnet / "lexnames").write_text("".join("%02d\tname%02d\t1\n" % (i, i) for i in range(45)))


def tokens_13a(text):
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in text:
        text = text.replace("&quot;", '"').replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    text = " %s " % text
    for pattern, by in ((r"([\{-\~\[-\` -\&\(-\+\:-\@\/])", r" \1 "), (r"([^0-9])([\.,])", r"\1 \2 "),
                        (r"([\.,])([^0-9])", r" \1 \2"), (r"([0-9])(-)", r"\1 \2 ")):
        text = re.sub(pattern, by, text)
    return text.split()


def bleu(prediction, reference):
    a, b = tokens_13a(prediction), tokens_13a(reference)
    shared = sum((collections.Counter(a) & collections.Counter(b)).values())
    if not a or not b or not shared:
        return 0.0
    ratio = len(a) / len(b)
    return (1 if ratio > 1 else math.exp(1 - 1 / ratio)) * shared / len(a)


STATE = {}


def start(folder):
    import nltk
    nltk.data.path.insert(0, folder)
    from nltk.corpus import wordnet as lazy
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from rouge_score import rouge_scorer
    # the multilingual mapping needs files that Debian does not have, and METEOR does not need it
    WordNetCorpusReader.map_wn = lambda self, version="wordnet": None
    reader = WordNetCorpusReader(str(pathlib.Path(folder) / "corpora" / "wordnet"), None)
    lazy.__dict__ = reader.__dict__
    lazy.__class__ = reader.__class__
    STATE.update(wordnet=lazy, rouge=rouge_scorer.RougeScorer(["rouge1"], use_stemmer=False))


def score(pair):
    from nltk import word_tokenize
    from nltk.translate import meteor_score
    reference, prediction = pair
    meteor = meteor_score.single_meteor_score(word_tokenize(reference), word_tokenize(prediction),
                                              wordnet=STATE["wordnet"])
    return bleu(prediction, reference), STATE["rouge"].score(reference, prediction)["rouge1"].fmeasure, meteor


def processor_seconds():
    """of this process and of those that it waited for"""
    return sum(sum(resource.getrusage(w)[:2]) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run_python(path, folder, processes):
    begin, used = time.perf_counter(), processor_seconds()
    with open(path, newline="", encoding="utf-8") as f:
        pairs = [(r["Ground Truth"], r["pred"]) for r in csv.DictReader(f)]
    with multiprocessing.Pool(processes, start, (str(folder),)) as pool:
        rows = pool.map(score, pairs, chunksize=50)
        pool.close()
        pool.join()
    means = [sum(r[i] for r in rows) / len(rows) for i in range(3)]
    return time.perf_counter() - begin, processor_seconds() - used, means


def run_tomo(tomo, path, threads):
    begin, used = time.perf_counter(), processor_seconds()
    out = subprocess.run([tomo, "score", "caption", str(path), "--json", "--threads", str(threads)], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    seconds, used = time.perf_counter() - begin, processor_seconds() - used
    scores = json.loads(out)["scores"]
    return seconds, used, [scores[m]["mean"] for m in ("bleu", "rouge1", "meteor")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tomo", default=str(ROOT / "build" / "release" / "cli" / "tomo"))
    parser.add_argument("--pairs", type=int, default=10000)
    parser.add_argument("--words", type=int, default=150)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9, help="runs of tomo; the median is told")
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, path = pathlib.Path(scratch) / "nltk", pathlib.Path(scratch) / "pairs.csv"
        set_up(folder)
        pairs = make_pairs(o.pairs, o.words)
        with open(path, "w", newline="", encoding="utf-8") as f:
            w = csv.writer(f)
            w.writerow(["Ground Truth", "pred"])
            w.writerows(pairs)
        mean = sum(len(r.split()) for r, _ in pairs) / len(pairs)
        runs = [run_tomo(o.tomo, path, o.processes) for _ in range(o.repeats)]
        peers = [(n, run_python(path, folder, n)) for n in sorted({1, o.processes})]
        runs += [run_tomo(o.tomo, path, o.processes) for _ in range(o.repeats)]
    passed, used = (sorted(r[i] for r in runs) for i in range(2))
    middle, means = len(runs) // 2, runs[0][2]
    print("%d pairs of %.0f words" % (o.pairs, mean))
    print("tomo, %d threads: %.2f s (quartiles %.2f to %.2f of %d runs before and after), %.2f s of processor time"
          % (o.processes, passed[middle], passed[len(runs) // 4], passed[3 * len(runs) // 4], len(runs), used[middle]))
    for n, (seconds, work, theirs) in peers:
        print("python, %d processes: %.1f s, %.1f s of processor time; tomo is %.0f times as fast (processor time: %.0f)"
              % (n, seconds, work, seconds / passed[middle], work / used[middle]))
        if max(abs(a - b) for a, b in zip(means, theirs)) > 1e-9:
            sys.exit("the means differ: %s %s" % (means, theirs))


if __name__ == "__main__":
    main()
