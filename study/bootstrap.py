"""Intervals by drawing whole scans anew, so that questions about one scan stay together."""
import itertools
import random

CONFIDENCE = 0.95


class Draws:
    """The same draws for every measure: differences between them are then paired."""

    def __init__(self, questions_per_scan, count, seed=0):
        self.ends = list(itertools.accumulate(questions_per_scan))
        self.starts = [end - n for end, n in zip(self.ends, questions_per_scan)]
        n, r = len(questions_per_scan), random.Random(seed)
        self.picks = [[int(r.random() * n) for _ in range(n)] for _ in range(count)]
        self.weights = {}

    def by_scan(self, values):
        return [sum(values[a:b]) for a, b in zip(self.starts, self.ends)]

    def totals(self, per_scan):
        return [sum(map(per_scan.__getitem__, picks)) for picks in self.picks]

    def counts(self, mask):
        """Per scan and per draw, how many questions the mask holds."""
        key = bytes(mask)
        if key not in self.weights:
            per_scan = self.by_scan(list(mask))
            self.weights[key] = per_scan, self.totals(per_scan)
        return self.weights[key]

    def mean(self, values, mask):
        """Mean of the questions' values where the mask is true, with its interval; None where there is none."""
        per_scan, per_draw = self.counts(mask)
        if sum(per_scan) == 0:
            return None
        kept = [v if m else 0 for v, m in zip(values, mask)]
        sums = self.by_scan(kept)
        means = [s / n for s, n in zip(self.totals(sums), per_draw) if n > 0]
        return interval(sum(sums) / sum(per_scan), means)

    def mean_of_scans(self, values):
        """The same for a measure that each scan has once."""
        return interval(sum(values) / len(values), [s / len(values) for s in self.totals(values)])


def interval(mean, means):
    means = sorted(means)
    low, high = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    return {"mean": round(mean, 6), "low": round(quantile(means, low), 6), "high": round(quantile(means, high), 6)}


def quantile(ordered, q):
    """Linear between neighbours."""
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
