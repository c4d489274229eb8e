"""The revisitop evaluation, restated step by step with lists: one photo of the ranking at a time.

Source: the steps and quirks of filipradenovic/revisitop's evaluation, as described in words; no line of it is copied.
"""

import math

PROTOCOLS = {
    "base": (("easy", "hard"), ("junk",)),
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}


def positions_without_junk(ranking, positive, junk):
    positions, skipped = [], 0
    for place, photo in enumerate(ranking):
        if photo in junk:
            skipped += 1
        elif photo in positive:
            positions.append(place - skipped)
    return positions


def average_precision(positions, n_positive):
    ap = 0.0
    for found, position in enumerate(positions):
        before = 1.0 if position == 0 else found / position
        after = (found + 1) / (position + 1)
        ap += (before + after) / 2 / n_positive
    return ap


def precision_at(positions, cutoff):
    last = max(position + 1 for position in positions)
    reached = min(last, cutoff)
    return sum(1 for position in positions if position + 1 <= reached) / reached


def score(ranking, lists, protocol, cutoffs=(1, 5, 10)):
    """Return (ap, [precision at each cut-off]), NaN where there are no positives."""
    positive = {photo for name in PROTOCOLS[protocol][0] for photo in lists[name]}
    junk = {photo for name in PROTOCOLS[protocol][1] for photo in lists[name]}
    if not positive:
        return math.nan, [math.nan] * len(cutoffs)
    positions = positions_without_junk(ranking, positive, junk)
    return average_precision(positions, len(positive)), [precision_at(positions, cutoff) for cutoff in cutoffs]


def mean(values):
    counted = [value for value in values if not math.isnan(value)]
    return sum(counted) / len(counted) if counted else math.nan


def vgg_average_precision(ranking, positive, junk):
    """The original benchmark's own walk: precision and recall after every photo that isn't junk."""
    ap = old_recall = 0.0
    old_precision, hits, seen = 1.0, 0, 0
    for photo in ranking:
        if photo in junk:
            continue
        hits += photo in positive
        seen += 1
        recall, precision = hits / len(positive), hits / seen
        ap += (recall - old_recall) * (precision + old_precision) / 2
        old_recall, old_precision = recall, precision
    return ap


def rank(query, database, distractors):
    """Rank by inner product, database rows first among equals; distractors are numbered after the database."""
    numbers = [sum(a * b for a, b in zip(query, row, strict=True)) for row in [*database, *distractors]]
    return sorted(range(len(numbers)), key=lambda row: (-numbers[row], row))
