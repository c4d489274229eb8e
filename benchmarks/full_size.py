"""The whole chain at full size: 500 archives of tiny generated JPEGs, with a folder of real photos planted in them.

    python -m benchmarks.full_size --photos ROOT --folder FOLDER [--n-photos 1580470] [--archives 500]

ROOT is laid out as benchmarks.photos says. Archives of the GLDv2 layout are written below FOLDER, once; then 'overlap
curate', 'publish' with the policy 'automatic' and 'verify-release' run as a user runs them. It prints which landmarks
are found, which falsely from a score of 0.1 on, and for each command its seconds and the greatest sum of the memory
(PSS) of all of its processes.
"""

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil

from benchmarks.photos import CONFIG, read_rows
from benchmarks.results import make_folder

N_PHOTOS, N_ARCHIVES, N_LANDMARKS = 1_580_470, 500, 81_313
_FIRST_LANDMARK = 1_000_000
_SIDE_PX = 20
_ASKED = 0.1


@dataclass(frozen=True)
class Cost:
    """Say what a command cost.

    Args:
        peak_mb: the greatest sum of PSS of all processes, looked at every half second.
    """

    seconds: float
    peak_mb: float


def write_set(photos: Path, root: Path, *, n_photos: int, n_archives: int) -> None:
    """Write a training set of the GLDv2 layout: archives of generated photos, and the real ones among them."""
    root.mkdir(parents=True, exist_ok=True)
    planted = sorted((photos / "gldv2" / "train").rglob("*.jpg"))
    real = read_rows(photos / "gldv2" / "train_clean.csv")
    n_generated = n_photos - len(planted)
    n_landmarks = min(N_LANDMARKS - len(real), n_generated)
    owners = np.array_split(np.arange(n_generated), n_landmarks)
    with (root / "train_clean.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["landmark_id", "images"])
        rows = [(row["landmark_id"], row["images"]) for row in real]
        rows += [(str(_FIRST_LANDMARK + i), " ".join(map(generated_id, each))) for i, each in enumerate(owners)]
        writer.writerows(rows[place] for place in np.random.default_rng(0).permutation(len(rows)))
    tasks = [
        (root / f"images_{archive:03}.tar", range(archive, n_generated, n_archives), planted[archive::n_archives])
        for archive in range(n_archives)
    ]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_archive, *zip(*tasks, strict=True)))


def generated_id(number: int) -> str:
    """Return the id of a generated photo."""
    return hashlib.sha256(f"generated {number}".encode()).hexdigest()[:16]


def _write_archive(path: Path, numbers: Sequence[int], planted: Sequence[Path]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in (*_generate(numbers), *((each.stem, each.read_bytes()) for each in planted)):
            member = tarfile.TarInfo(f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _generate(numbers: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    for number in numbers:
        blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        pixels = cv2.resize(blocks, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_CUBIC)
        yield generated_id(number), cv2.imencode(".jpg", pixels)[1].tobytes()


def run_command(*arguments: str) -> Cost:
    """Run a command of the command line and watch the memory of all its processes.

    Raises:
        CalledProcessError: it failed.
    """
    began, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-m", "overlap", *arguments])
    while process.poll() is None:
        peak = max(peak, _sum_pss(psutil.Process(process.pid)))
        time.sleep(0.5)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Cost(time.monotonic() - began, peak / 1e6)


def _sum_pss(parent: psutil.Process) -> int:
    total = 0
    try:
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended meanwhile
            continue
    return total


def main() -> None:
    """Write the set, run the commands, and print what they found and cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--n-photos", type=int, default=N_PHOTOS)
    parser.add_argument("--archives", type=int, default=N_ARCHIVES)
    options = parser.parse_args()
    photos, folder = options.photos.absolute(), options.folder.absolute()
    make_folder(folder, parser)
    root, store = folder / "set" / "gldv2", folder / "store"
    if not (root / "written").exists():
        write_set(photos, root, n_photos=options.n_photos, n_archives=options.archives)
        (root / "written").touch()
    config = folder / "config.toml"
    text = CONFIG.format(store=store, photos=photos).replace(f"{photos}/gldv2", str(root))
    config.write_text(text, encoding="utf-8")
    release = store / "manifests" / "photos-clean-1.0.0"
    print("| command | seconds | greatest sum of PSS |\n|---|---|---|", flush=True)
    for command in (
        ("curate", "--config", str(config)),
        ("publish", "--config", str(config)),
        ("verify-release", str(release), "--source", str(root / "train_clean.csv")),
    ):
        cost = run_command(*command)
        print(f"| `overlap {command[0]}` | {cost.seconds:,.0f} | {cost.peak_mb:,.0f} MB |", flush=True)
    verified = store / "verified.csv"
    run_command("export", "verified", "--config", str(config), "--out", str(verified))
    true = {int(row["landmark_id"]) for row in read_rows(photos / "truth.csv") if row["overlaps"] == "1"}
    removed = {int(row["landmark_id"]) for row in read_rows(release / "removals.csv")}
    asked = {int(row["landmark_id"]) for row in read_rows(verified) if float(row["score"]) >= _ASKED}
    print(
        f"\n{options.n_photos:,} photos, removed {len(removed & true)} of {len(true)}, false {sorted(removed - true)}"
    )
    print(f"from {_ASKED} on: {len(asked & true)} of {len(true)}, false {sorted(asked - true)}")


if __name__ == "__main__":
    main()
