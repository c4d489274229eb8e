"""What a run will cost, before it runs: its steps are rehearsed on a few photos of the set, with the same workers.

Photos and pairs are counted, rates are measured, and what no rehearsal can know is assumed and said: how many pairs
reach people, and how long a person takes.
"""

import tempfile
import time
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pyarrow as pa

from overlap.audit.bound import judgements_for_bound
from overlap.base.errors import DataError
from overlap.base.store import Store
from overlap.base.tables import Descriptors
from overlap.base.workers import count_cores
from overlap.pipeline.curate import run_steps
from overlap.pipeline.declared import find_step, list_needed
from overlap.pipeline.journal import add_up, read_last_run, write_line
from overlap.pipeline.photos import Sets, find_probes, find_whole, read_sets, split_probes
from overlap.pipeline.run import Run
from overlap.search.exact import search_exact

REHEARSED_PHOTOS = 32
_REHEARSED_QUERIES = 4
_WARM_UP_PHOTOS = 4
_SEARCHED = 8192
_LAST = "verified"
# What is assumed, not measured: landmarks that a query asks people about, people, and seconds for a decision.
GROUPS_A_QUERY = 3
SECONDS_A_DECISION = 6
BOUND = 5


@dataclass(frozen=True)
class Line:
    """Say what one step will cost.

    Args:
        n: photos, pairs or decisions.
        unit: what they are.
        seconds: of the clock, with this machine's workers; of people for decisions.
        mb: what will lie in the store.
        remark: what the figure rests on.
    """

    step: str
    n: int
    unit: str
    seconds: float
    mb: float
    remark: str


@dataclass(frozen=True)
class Amount:
    """Say how much a step has to do.

    Args:
        n: photos, pairs or probes.
        unit: what they are.
        remark: what must be known to read the line.
        seconds: what it will take, where it is not the rehearsal that tells.
    """

    n: int
    unit: str = "photos"
    remark: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class _Rates:
    seconds: dict[str, float]
    mb: dict[str, float]


def make_plan(run: Run, *, n_photos: int = REHEARSED_PHOTOS) -> list[Line]:
    """Count the work of a config, rehearse it on ``n_photos`` photos, and return what every step will cost.

    Raises:
        DataError: a set is missing or wrong, or too many of its photos can't be read.
    """
    sets = read_sets(run)
    with tempfile.TemporaryDirectory(dir=run.store.root, prefix=".plan-") as folder:
        _rehearse(run, sets, Path(folder) / "warm-up", n_photos=_WARM_UP_PHOTOS)
        rates = _rehearse(run, sets, Path(folder) / "timed", n_photos=n_photos)
    return [*_machine_lines(run, sets, rates, n_photos=n_photos), *_people_lines(run, sets)]


def count_featured(n_probes: int, n_photos: int, k: int) -> int:
    """Return how many photos can be expected to be somebody's candidate, if probes chose at random.

    Probes of one landmark choose alike, so there will be fewer.
    """
    return round(n_photos * (1 - (1 - min(k / n_photos, 1)) ** n_probes))


def _rehearse(run: Run, sets: Sets, folder: Path, *, n_photos: int) -> _Rates:
    few = _take_few(sets, n_photos)
    rehearsal = Run(run.config, Store(folder), run.map_shards, lambda line: None)
    write_line(rehearsal.store, event="run", config=run.config.name)
    run_steps(rehearsal, list_needed(run.config, _LAST), given={"photos": few})
    work = {one.step: one for one in add_up(read_last_run(rehearsal.store)) if one.n}
    return _Rates(
        {step: _spread(one.busy_seconds, one.n_shards, run.config.run.workers) / one.n for step, one in work.items()},
        {step: _size_mb(folder / step) / one.n for step, one in work.items()},
    )


def _spread(busy_seconds: float, n_shards: int, workers: int) -> float:
    """Return the seconds of the clock that shards would take if all workers were busy all the time."""
    return busy_seconds / min(workers or count_cores(), n_shards)


def _take_few(sets: Sets, n_photos: int) -> Sets:
    training = replace(sets.training, images=_spread_out(sets.training.images, n_photos))
    n_queries = ceil(_REHEARSED_QUERIES / len(sets.evaluations))
    return Sets(
        training,
        tuple(
            replace(one, queries=_spread_out(one.queries, n_queries), photos=one.photos.slice(0, 0))
            for one in sets.evaluations
        ),
    )


def _spread_out(rows: pa.Table, n: int) -> pa.Table:
    return rows.take(np.linspace(0, rows.num_rows - 1, min(n, rows.num_rows)).round().astype(int))


def count_sampled(run: Run, sets: Sets) -> Amount:  # noqa: ARG001  each is asked alike
    """Count the photos that VLAD's vocabulary is learned on."""
    return Amount(min(sets.training.images.num_rows, 1000), remark="what VLAD's vocabulary is learned on")


def count_described(run: Run, sets: Sets) -> Amount:
    """Count the photos that get a descriptor."""
    return Amount(sets.training.images.num_rows + _count_probes(run, sets))


def count_searched(run: Run, sets: Sets) -> Amount:
    """Count the probes, and time a search on generated photos."""
    n_probes = _count_probes(run, sets)
    seconds = _time_search(run, n_probes, sets.training.images.num_rows)
    return Amount(n_probes, "probes", "exact search, measured", seconds)


def count_hashed(run: Run, sets: Sets) -> Amount:
    """Count the photos that get a hash."""
    n_whole = sum(find_whole(one.queries).num_rows for one in sets.evaluations)
    n_photos = sets.training.images.num_rows + _count_asked(run, sets) + n_whole
    return Amount(n_photos if run.config.search.copies else 0)


def count_extracted(run: Run, sets: Sets) -> Amount:
    """Count the photos that will need local features, if probes choose at random."""
    n_photos = count_featured(_count_probes(run, sets), sets.training.images.num_rows, run.config.search.k)
    return Amount(n_photos + _count_asked(run, sets), remark="at most so many photos are candidates")


def count_pairs(run: Run, sets: Sets) -> Amount:
    """Count the pairs that are verified."""
    n_pairs = _count_probes(run, sets) * min(run.config.search.k, sets.training.images.num_rows)
    return Amount(n_pairs, "pairs", "few of them show the same landmark")


def _count_probes(run: Run, sets: Sets) -> int:
    return sum(images.num_rows for one in sets.evaluations for images in split_probes(run.config, one).values())


def _count_asked(run: Run, sets: Sets) -> int:
    return sum(find_probes(run.config, one).num_rows for one in sets.evaluations)


def _machine_lines(run: Run, sets: Sets, rates: _Rates, *, n_photos: int) -> list[Line]:
    steps = {name: find_step(run.config, name) for name in list_needed(run.config, _LAST)}
    amounts = {name: resolve_name(step.count)(run, sets) for name, step in steps.items() if step.count}
    measured = f"measured on {min(n_photos, sets.training.images.num_rows)} photos of the set"
    return [_line(name, amount, rates, measured) for name, amount in amounts.items() if amount.n]


def _line(step: str, amount: Amount, rates: _Rates, measured: str) -> Line:
    n, mb = amount.n, amount.n * rates.mb.get(step, 0.0)
    if amount.seconds is not None:
        return Line(step, n, amount.unit, amount.seconds, mb, amount.remark)
    remark = f"{measured}; {amount.remark}" if amount.remark else measured
    return Line(step, n, amount.unit, n * rates.seconds.get(step, 0.0), mb, remark)


def _people_lines(run: Run, sets: Sets) -> list[Line]:
    n_queries, people = sets.queries.num_rows, run.config.review.reviewers
    groups = n_queries * GROUPS_A_QUERY * people
    assumed = f"assumed: {GROUPS_A_QUERY} landmarks a query, {people} people, {SECONDS_A_DECISION} s a decision"
    lines = [Line("review", groups, "decisions", groups * SECONDS_A_DECISION, 0, assumed)]
    n_landmarks = sets.training.landmarks.num_rows
    if n_landmarks <= BOUND:
        return lines
    try:
        n_judged = judgements_for_bound(n_landmarks, at_most=BOUND)
    except DataError:
        return lines
    remark = f"for a bound of {BOUND} overlapping landmarks that are left, if none is found"
    return [*lines, Line("audit", n_judged, "decisions", n_judged * SECONDS_A_DECISION, 0, remark)]


def _time_search(run: Run, n_probes: int, n_photos: int) -> float:
    """Search a few generated photos and scale."""
    size = run.config.descriptors.dimensions if run.config.descriptors.kind == "vlad" else 2048
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((min(_SEARCHED, n_photos), size), dtype=np.float32).astype(np.float16)
    photos = Descriptors([str(row) for row in range(len(rows))], rows)
    asked = min(n_probes, 1024)
    probes = Descriptors([str(row) for row in range(asked)], np.resize(rows, (asked, size)))
    began = time.perf_counter()
    search_exact(probes, [photos], k=run.config.search.k)
    return (time.perf_counter() - began) * (n_photos / len(rows)) * (n_probes / asked)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:,.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def render_plan(lines: list[Line]) -> list[str]:
    """Return a plan as text, a line a step and the sums."""
    texts = [
        f"{line.step:<18}{line.n:>12,} {line.unit:<10}{_duration(line.seconds):>10}{line.mb / 1000:>10,.2f} GB"
        f"  {line.remark}"
        for line in lines
    ]
    people = sum(line.seconds for line in lines if line.unit == "decisions")
    machine = sum(line.seconds for line in lines) - people
    disk_gb = sum(line.mb for line in lines) / 1000
    return [*texts, f"machine {_duration(machine)}, {disk_gb:,.2f} GB in the store; people {_duration(people)}"]


def compare_plan(store: Store, lines: list[Line]) -> dict[str, float]:
    """Return, for every step of a plan that the store's last run did, the planned seconds over those it took."""
    work = {one.step: one for one in add_up(read_last_run(store)) if one.n_shards}
    return {line.step: line.seconds / work[line.step].seconds for line in lines if line.step in work}
