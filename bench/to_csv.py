#!/usr/bin/env python3
"""to_csv.py BENCH.json ... >> bench/results/CPU.csv: results of tomo bench --json as rows of one table.

Columns: date, commit, precision, threads, gemm (what the limit was measured with), name, value, unit, limit,
fraction_of_limit. The first call for a file writes the header: pass --header.
"""
import csv
import datetime
import json
import subprocess
import sys

COLUMNS = ["date", "commit", "precision", "threads", "gemm", "name", "value", "unit", "limit", "fraction_of_limit"]


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    if "--header" in sys.argv:
        out.writerow(COLUMNS)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    for path in (a for a in sys.argv[1:] if a != "--header"):
        with open(path, encoding="utf-8") as file:
            bench = json.load(file)
        machine = bench["machine"]
        for r in bench["results"]:
            numbers = ["" if r[k] is None else f"{r[k]:.6g}" for k in ("value", "limit", "fraction_of_limit")]
            out.writerow([datetime.date.today(), commit.strip(), machine["precision"], machine["threads"], machine["gemm"],
                          r["name"], numbers[0], r["unit"], numbers[1], numbers[2]])


main()
