"""How much search and hashes find on a folder of real photos: the tables of docs/detection.md.

    python -m benchmarks.recall --photos ROOT --store FOLDER [--probes all] [--planted 200] [--program F.pt2]

ROOT is laid out as for benchmarks.photos. One photo of each overlapping landmark is confirmed for each of its
queries, as people who know the truth would; all its photos are then to be found by 'overlap audit recall'.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.photos import SETS

CONFIG = f'name = "recall"\nstore = "store"\n{SETS}'
SHOWN = {"search": (1, 2, 5, 10, 20, 50), "copies": (0, 2, 4, 6, 8, 10, 12, 14, 20)}


def main() -> None:
    """Print a table a detector."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--program", type=Path, help="a .pt2 file; without it VLAD")
    parser.add_argument("--probes", choices=("queries", "all"), default="queries")
    parser.add_argument("--planted", type=int, default=200, help="plant at most so many evaluation photos")
    options = parser.parse_args()
    folder, photos = options.store.absolute(), options.photos.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG.format(photos=photos), encoding="utf-8")
    program = [f"descriptors.path={str(options.program.absolute())!r}"] if options.program else []
    kind = ["descriptors.kind=exported", *program] if program else []
    _overlap("votes", "import", _write_votes(photos, folder / "votes.csv"), folder=folder, settings=kind)
    settings = [*kind, f"search.probes={options.probes}"]
    _overlap("audit", "recall", "--photos", options.planted, folder=folder, settings=settings)
    _overlap("export", "recall", "--out", folder / "recall.csv", folder=folder, settings=settings)
    _print_tables(options.probes, folder / "recall.csv")
    _overlap("run", "names", folder=folder, settings=settings)
    _overlap("export", "candidates", "--out", folder / "candidates.csv", folder=folder, settings=settings)
    _print_copies(photos, folder / "candidates.csv")


def _overlap(*command: object, folder: Path, settings: Sequence[str]) -> None:
    """Run a command with the config of a folder and further settings."""
    overrides = [word for setting in settings for word in ("--set", setting)]
    arguments = [*map(str, command), "--config", str(folder / "config.toml"), *overrides]
    subprocess.run([sys.executable, "-m", "overlap", *arguments], check=True)


def _write_votes(photos: Path, path: Path) -> Path:
    own = {row["landmark_id"]: row["images"].split() for row in _read(photos / "gldv2" / "train_clean.csv")}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("evaluation_set", "query_id", "image_id", "landmark_id", "reviewer", "answer"))
        for row in _read(photos / "queries.csv"):
            for landmark in row["overlapping_landmark_ids"].split():
                writer.writerow((row["evaluation_set"], row["query_id"], own[landmark][0], landmark, "truth", "same"))
    return path


def _print_tables(probes: str, path: Path) -> None:
    rows = _read(path)
    for detector, shown in SHOWN.items():
        print(f"\n| {detector}, probes: {probes} | number | " + " | ".join(map(str, shown)) + " |")
        print("|---" * (len(shown) + 2) + "|")
        curves: dict[tuple[str, str], dict[int, float]] = {}
        for row in rows:
            if row["detector"] == detector:
                curves.setdefault((row["kind"], row["n"]), {})[int(row["reach"])] = float(row["recall"])
        for (kind, n), curve in curves.items():
            print(f"| {kind} | {int(n):,} | " + " | ".join(_percent(curve.get(reach)) for reach in shown) + " |")


def _print_copies(photos: Path, path: Path) -> None:
    """Say how many of the pairs that a hash found are of a query and a landmark that it shows."""
    shown = {
        (row["evaluation_set"], row["query_id"]): row["overlapping_landmark_ids"].split()
        for row in _read(photos / "queries.csv")
    }
    copies = [row for row in _read(path) if row["origin"] == "copy"]
    true = [row for row in copies if row["landmark_id"] in shown.get((row["evaluation_set"], row["query_id"]), ())]
    print(f"\npairs found by a hash: {len(copies)}, of a query and a landmark that it shows: {len(true)}")


def _percent(share: float | None) -> str:
    if share is None:
        return ""
    return f"{share:.1%}" if share == 0 or share >= 0.01 else f"{share:.3%}"


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
