"""docs/benchmarks.json and the page and plot that are made from it."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.results import Result, describe_machine

_HEAD = """# Benchmarks

Every figure is made by `make bench` (`python -m benchmarks NAME ...` for some, `--help` for sizes) and kept, with its
date, in [benchmarks.json](benchmarks.json). The ratio is the figure over that of the peer in the same run; where it is
a time or memory, less is better. This page is written by the same command.

Machine of the last run: {machine}. The load is what the system reported at the end: above the number of cores, other
work ran beside, and seconds of the clock say little; seconds of processor are then the better ratio.
"""


def read_results(folder: Path) -> list[Result]:
    """Read benchmarks.json, an empty list where there is none."""
    path = folder / "benchmarks.json"
    return [Result(**row) for row in json.loads(path.read_text(encoding="utf-8"))["results"]] if path.exists() else []


def write_page(folder: Path, results: Sequence[Result]) -> None:
    """Write benchmarks.json, benchmarks.md and the plot of growth."""
    machine = dict(describe_machine())
    rows = [asdict(result) for result in sorted(results, key=lambda one: _order(one.name))]
    text = json.dumps({"machine": machine, "results": rows}, indent=1, ensure_ascii=False)
    (folder / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    sections = sorted({result.name.split(":")[0] for result in results})
    parts = [_HEAD.format(machine=", ".join(f"{key} {value}" for key, value in machine.items()))]
    parts += [
        _section(name, [Result(**row) for row in rows if row["name"].startswith(f"{name}:")]) for name in sections
    ]
    if _plot_growth(folder, results):
        parts.append("![Processor time and memory as the training set grows](benchmarks-growth.png)\n")
    (folder / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


def _section(name: str, results: list[Result]) -> str:
    lines = [
        f"| {one.name.split(': ', 1)[1]} | {_figure(one.value)} {one.unit} | {_ratio(one)} | {one.note} | {one.date} |"
        for one in results
    ]
    return "\n".join(
        [f"## {name.capitalize()}", "", "| what | value | ratio | note | date |", "|---" * 5 + "|", *lines, ""]
    )


def _ratio(result: Result) -> str:
    return "" if result.ratio is None else f"{_figure(result.ratio)} x {result.peer}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _order(name: str) -> list[object]:
    """Sort numbers in names by their size."""
    parts = re.split(r"(\d[\d,]*)", name)
    return [int(part.replace(",", "")) if row % 2 else part for row, part in enumerate(parts)]


def _plot_growth(folder: Path, results: Sequence[Result]) -> bool:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    kinds = {"processor time a photo": ("µs a photo", "#0072b2"), "peak memory": ("MB", "#d55e00")}
    grown = [result for result in results if result.name.startswith("growth:")]
    if not all(any(one.name.endswith(kind) for one in grown) for kind in kinds):
        return False
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, (kind, (unit, colour)) in zip(axes, kinds.items(), strict=True):
        points = sorted(
            (int(one.name.split()[1].replace(",", "")), one.value) for one in grown if one.name.endswith(kind)
        )
        axis.semilogx(*zip(*points, strict=True), "o-", color=colour)
        axis.set(title=kind.capitalize(), xlabel="photos", ylabel=unit, ylim=(0, None))
        axis.grid(alpha=0.3)
    figure.savefig(folder / "benchmarks-growth.png", dpi=110)
    plt.close(figure)
    return True
