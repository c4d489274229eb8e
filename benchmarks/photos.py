"""The whole pipeline on a folder of real photos whose truth is known: landmarks found, false ones, AP, seconds.

    python -m benchmarks.photos --photos ROOT --store FOLDER [--program F.pt2] [--features aliked --weights F.pth]

ROOT holds gldv2/, roxford5k/ and rparis6k/ as users have them, truth.csv (landmark_id, overlaps) and queries.csv
(evaluation_set, query_id, overlapping_landmark_ids). It runs 'overlap curate' and 'overlap publish' with the policy
'automatic' and the shipped threshold. Average precision is over pairs of a query and a photo; pairs that were never
retrieved count as missed.
"""

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SETS = """
[train]
format = "gldv2"
root = "{photos}/gldv2"
[[evaluation]]
format = "revisited"
name = "roxford5k"
root = "{photos}/roxford5k"
[[evaluation]]
format = "revisited"
name = "rparis6k"
root = "{photos}/rparis6k"
"""
CONFIG = f"""
name = "photos"
store = "{{store}}"
{SETS}
[policy]
name = "automatic"
[release]
out = "{{store}}/manifests"
"""


def main() -> None:
    """Run the pipeline and print one row of the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--program", type=Path, help="a .pt2 file; without it VLAD")
    parser.add_argument("--features", default="sift")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    store, photos = options.store.absolute(), options.photos.absolute()
    store.mkdir(parents=True, exist_ok=True)
    config = store / "config.toml"
    settings = ["--config", str(config), *_settings(options)]
    config.write_text(CONFIG.format(store=store, photos=photos), encoding="utf-8")
    began = time.monotonic()
    _overlap("curate", *settings)
    _overlap("publish", *settings)
    seconds = time.monotonic() - began
    _overlap("export", "verified", *settings, "--out", str(store / "verified.csv"))
    removed = {
        int(row["landmark_id"]) for row in read_rows(store / "manifests" / "photos-clean-1.0.0" / "removals.csv")
    }
    true = {int(row["landmark_id"]) for row in read_rows(photos / "truth.csv") if row["overlaps"] == "1"}
    kind = "exported" if options.program else "vlad"
    print(f"{kind} + {options.features}: found {len(removed & true)} of {len(true)}, false {sorted(removed - true)}")
    print(f"  pair AP {_average_precision(store, photos):.3f}, {seconds:.0f} s")


def _settings(options: argparse.Namespace) -> list[str]:
    values = {"verify.features": options.features, "verify.weights": options.weights}
    if options.program:
        values |= {"descriptors.kind": "exported", "descriptors.path": options.program}
    given = {key: value.absolute() if isinstance(value, Path) else value for key, value in values.items() if value}
    return [argument for key, value in given.items() for argument in ("--set", f"{key}={str(value)!r}")]


def _overlap(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "overlap", *arguments], check=True)


def _average_precision(store: Path, photos: Path) -> float:
    """Return plain AP by score, ties by ids; every photo of a query's overlapping landmarks is a positive."""
    landmarks = {
        (row["evaluation_set"], row["query_id"]): set(map(int, row["overlapping_landmark_ids"].split()))
        for row in read_rows(photos / "queries.csv")
    }
    sizes = {int(r["landmark_id"]): len(r["images"].split()) for r in read_rows(photos / "gldv2" / "train_clean.csv")}
    rows = read_rows(store / "verified.csv")
    rows.sort(key=lambda row: (-float(row["score"]), row["evaluation_set"], row["query_id"], row["image_id"]))
    hits = np.array([int(r["landmark_id"]) in landmarks[r["evaluation_set"], r["query_id"]] for r in rows], dtype=float)
    n_positive = sum(sizes[landmark_id] for ids in landmarks.values() for landmark_id in ids)
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits).sum() / n_positive)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, column by name."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
