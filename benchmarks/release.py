"""Seconds and peak memory of what a downloader runs, at the full size of Google Landmarks v2 clean.

    python -m benchmarks.release [--folder FOLDER]

It generates a train_clean.csv of 81,313 landmarks and 1,580,470 ids (the paper's counts, generated ids), publishes the
release that leads to the paper's tables, and runs 'overlap verify-release' and 'overlap apply' as processes of their
own. Run it on a machine with nothing else to do: seconds are wall time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import make_folder
from overlap.base.tables import REMOVALS, as_table
from overlap.release.write import write_release

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from golden import N_IMAGES, N_LANDMARKS, planted, write_world


def prepare(folder: Path) -> Path:
    """Write the upstream file and a release of it."""
    write_world(folder)
    rest = {"origin": "global", "n_queries": 1, "n_confirmed": 1, "evidence": []}
    rows = [
        {"landmark_id": landmark, "landmark_name": "", "evaluation_set": name, "n_images": size, **rest}
        for name, landmarks in planted().items()
        for landmark, size in landmarks.items()
    ]
    return write_release(
        folder / "out" / "full-1.0.0",
        upstream=[folder / "train_clean.csv"],
        removals=as_table(rows, REMOVALS),
        reasons={},
        about={"name": "full", "version": "1.0.0", "training_format": "gldv2"},
    )


def measure(*arguments: object) -> tuple[float, float, float]:
    """Run a command of the command line and return wall seconds, seconds of CPU, and peak memory in MB.

    Raises:
        RuntimeError: it failed.
    """
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "overlap", *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"overlap {arguments[0]} ended with {process.returncode}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    given = parser.parse_args().folder
    if given:
        make_folder(given, parser)
    with tempfile.TemporaryDirectory(dir=given) as name:
        folder = Path(name)
        began = time.monotonic()
        release = prepare(folder)
        source = folder / "train_clean.csv"
        print(
            f"{N_LANDMARKS:,} landmarks, {N_IMAGES:,} ids; written and published in {time.monotonic() - began:.1f} s\n"
        )
        print("| command | seconds | seconds of CPU | peak memory |\n|---|---|---|---|")
        commands = {
            "verify-release": (release, "--source", source),
            "apply": (release / "removals.csv", source, "--out", folder / "clean.csv"),
        }
        for command, arguments in commands.items():
            wall, used, memory = measure(command, *arguments)
            print(f"| `overlap {command}` | {wall:.1f} | {used:.1f} | {memory:.0f} MB |")
        same = (folder / "clean.csv").read_bytes() == (release / "train_clean.csv").read_bytes()
        print(f"\napplied file equals the released one: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
