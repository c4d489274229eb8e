"""The tables of an impact study: the paper's Table 4, the effect, the order of the methods, doses, versions."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from overlap.base.grids import Grid
from overlap.base.sheets import neutralised

_BLOCKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"base": ("map",), "medium": ("map", "mp_at_10"), "hard": ("map", "mp_at_10")}
)
_FIGURES = MappingProxyType({"map": "mAP", "mp_at_10": "mP@10"})
NOTHING = "–"


class Estimated(Protocol):
    """Hold a change with its interval."""

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


def table4_grid(scores: pa.Table, *, versions: Sequence[str]) -> Grid:
    """Lay SCORES out as the paper's Table 4: a row a method and version, averaged over seeds, in per cent.

    MEAN is over the mAPs of medium and hard; DIFF is a version's mean minus that of the first version.

    Args:
        versions: the versions to show, the whole training set first.
    """
    columns = [
        (protocol, name, figure)
        for protocol, figures in _BLOCKS.items()
        for name in _in_order(scores["evaluation_set"].to_pylist())
        for figure in figures
        if _has(scores, protocol, name)
    ]
    rows = []
    for network in _in_order(scores["network"].to_pylist()):
        first = _mean_map(scores, network, versions[0])
        for version in versions:
            cells = [_average(_values(scores, network, version, *column)) for column in columns]
            mean = _mean_map(scores, network, version)
            change = None if version == versions[0] or mean is None or first is None else mean - first
            rows.append((network, version, *map(per_cent, cells), per_cent(mean), per_cent(change, sign=True)))
    titles = [f"{protocol.upper()} {name} {_FIGURES[figure]}" for protocol, name, figure in columns]
    return Grid(
        "Table 4. Each method trained on each version, in per cent, mean over seeds",
        ("METHOD", "TRAIN SET", *titles, "MEAN", "DIFF"),
        tuple(rows),
    )


def effects_grid(effects: pa.Table, *, protocol: str) -> Grid:
    """Show EFFECTS under one protocol, in points of mAP with the 95 % interval."""
    rows = tuple(
        (
            row["network"],
            row["contrast"],
            row["queries"],
            str(row["n_queries"]),
            str(row["n_landmarks"]),
            points(row["value"]),
            interval(row),
        )
        for row in effects.to_pylist()
        if row["protocol"] == protocol
    )
    return Grid(
        f"What the overlap does, in points of mAP ({protocol})",
        ("METHOD", "CONTRAST", "QUERIES", "#QUERIES", "#LANDMARKS", "CHANGE", "95 % INTERVAL"),
        rows,
    )


def orders_grid(orders: pa.Table) -> Grid:
    """Show ORDERS: the order of the methods on each version, and how sure it is."""
    rows = tuple(
        (
            row["training_set"],
            " > ".join(row["networks"]),
            f"{row['share']:.0%}",
            "yes" if row["observed"] else "",
            "" if row["differs_from_full"] is None else f"{row['differs_from_full']:.0%}",
        )
        for row in orders.to_pylist()
        if row["observed"] or row["share"] >= 0.01
    )
    return Grid(
        "Order of the methods, best first",
        ("TRAIN SET", "ORDER", "RESAMPLES", "OBSERVED", "OTHER THAN ON THE FULL SET"),
        rows,
    )


def doses_grid(doses: pa.Table) -> Grid:
    """Show DOSES, in points of mAP."""
    rows = tuple(
        (
            row["network"],
            str(row["n_landmarks"]),
            row["queries"],
            str(row["n_queries"]),
            points(row["value"]),
            interval(row),
        )
        for row in doses.to_pylist()
    )
    return Grid(
        "Giving the removed landmarks back, in points of mAP above the clean version",
        ("METHOD", "#GIVEN BACK", "QUERIES", "#QUERIES", "GAIN", "95 % INTERVAL"),
        rows,
    )


def versions_grid(versions: pa.Table) -> Grid:
    """Show VERSIONS."""
    names = ("n_landmarks", "n_images", "n_landmarks_removed", "n_images_removed")
    rows = tuple((row["training_set"], *(f"{row[name]:,}" for name in names)) for row in versions.to_pylist())
    return Grid(
        "Versions of the training set",
        ("TRAIN SET", "#LANDMARKS", "#PHOTOS", "#LANDMARKS REMOVED", "#PHOTOS REMOVED"),
        rows,
    )


def stages_grid(stages: pa.Table) -> Grid:
    """Show STAGES: mAP by protocol over all evaluation sets and seeds, training time and time a photo."""
    rows = []
    for method in _in_order(stages["method"].to_pylist()):
        own = [row for row in stages.to_pylist() if row["method"] == method]
        protocols = {
            protocol: _average([row["map"] for row in own if row["protocol"] == protocol and row["map"] is not None])
            for protocol in ("easy", "medium", "hard")
        }
        seconds, photo_ms = (float(np.mean([row[name] for row in own])) for name in ("training_s", "photo_ms"))
        rows.append((method, *map(per_cent, protocols.values()), f"{seconds:.0f}", f"{photo_ms:.1f}"))
    return Grid(
        "One stage or two: mAP in per cent, mean over evaluation sets and seeds",
        ("METHOD", "EASY", "MEDIUM", "HARD", "TRAINING S", "MS A PHOTO"),
        tuple(rows),
    )


def boxes_grid(boxes: pa.Table) -> Grid:
    """Show BOXES, mean over seeds."""
    rows = []
    for method in _in_order(boxes["method"].to_pylist()):
        own = [row for row in boxes.to_pylist() if row["method"] == method]
        iou, half = (float(np.mean([row[name] for row in own])) for name in ("mean_iou", "half"))
        rows.append((method, str(own[0]["n_queries"]), f"{iou:.3f}", f"{half:.0%}"))
    return Grid(
        "Boxes found without labels against the queries' boxes",
        ("BOX", "#QUERIES", "MEAN IOU", "IOU 0.5 OR MORE"),
        tuple(rows),
    )


def ablation_grid(
    title: str,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    scores: pa.Table,
    *,
    labels: Sequence[str],
    against: Mapping[str, Estimated],
) -> Grid:
    """Lay SCORES of variants out as the paper's Tables 5, 7, 8 and 9: mAP in per cent, mean over seeds.

    Args:
        columns: names of the cells that say what a variant is.
        labels: what the scores call each variant.
        against: what each gains over the reference, which is not in it.
    """
    blocks = [
        (protocol, name)
        for protocol in _BLOCKS
        for name in _in_order(scores["evaluation_set"].to_pylist())
        if _has(scores, protocol, name)
    ]
    version = scores["training_set"][0].as_py()
    rows = []
    for label, own in zip(labels, cells, strict=True):
        maps = [_average(_values(scores, label, version, *block, "map")) for block in blocks]
        gain = against.get(label)
        change = (
            (points(gain.value), interval({"low": gain.low, "high": gain.high}))
            if gain is not None
            else (NOTHING, NOTHING)
        )
        rows.append(
            (*own, *map(per_cent, maps), per_cent(_average([each for each in maps if each is not None])), *change)
        )
    titles = [f"{protocol.upper()} {name}" for protocol, name in blocks]
    return Grid(title, (*columns, *titles, "MEAN", "AGAINST REFERENCE", "95 % INTERVAL"), tuple(rows))


def grid_csv(grid: Grid) -> bytes:
    """Return a grid as CSV, safe to open in a spreadsheet; a dash becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(grid.columns)
    writer.writerows([_cell(cell) for cell in row] for row in grid.rows)
    return text.getvalue().encode()


def per_cent(value: float | None, *, sign: bool = False) -> str:
    """Return a figure in [0, 1] in per cent with one digit; a dash for none."""
    if value is None:
        return NOTHING
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"


def points(value: float) -> str:
    """Return a change in points."""
    return f"{100 * value:+.1f}"


def interval(row: Mapping[str, Any]) -> str:
    """Return the interval of a row of EFFECTS or DOSES in points."""
    return f"{points(row['low'])} to {points(row['high'])}"


def _cell(cell: str) -> str:
    if cell == NOTHING:
        return ""
    return cell if _is_number(cell) else neutralised(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _has(scores: pa.Table, protocol: str, name: str) -> bool:
    return any(
        row["n_queries"] and row["protocol"] == protocol and row["evaluation_set"] == name for row in scores.to_pylist()
    )


def _values(scores: pa.Table, network: str, version: str, protocol: str, name: str, figure: str) -> list[float]:
    wanted = {"network": network, "training_set": version, "protocol": protocol, "evaluation_set": name}
    return [
        row[figure]
        for row in scores.to_pylist()
        if row[figure] is not None and all(row[key] == value for key, value in wanted.items())
    ]


def _mean_map(scores: pa.Table, network: str, version: str) -> float | None:
    columns = [
        _average(_values(scores, network, version, protocol, name, "map"))
        for protocol in ("medium", "hard")
        for name in _in_order(scores["evaluation_set"].to_pylist())
    ]
    return _average([column for column in columns if column is not None])


def _average(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
