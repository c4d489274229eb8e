"""Write what an impact study found: tables, figures and a page."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from overlap.config import Config
from overlap.evaluation.impact import CLEAN, FULL
from overlap.report.impact_tables import (
    doses_grid,
    effects_grid,
    grid_csv,
    orders_grid,
    table4_grid,
    versions_grid,
)
from overlap.report.tables import Grid
from overlap.sheets import replacing, write_csv
from overlap.steps.impact import Study, study_impact
from overlap.steps.run import Run

PAGE_FILE = "index.html"


@dataclass(frozen=True)
class Findings:
    """Say where the page lies, and what it says in tables."""

    page: Path
    grids: tuple[Grid, ...]


def measure_impact(run: Run) -> Findings:
    """Do the impact study of a config and write what it found.

    Raises:
        DataError: there is no release, or it does not fit the config's evaluation sets.
        ConfigError: there are too few landmarks for placebos, or a training diverges.
    """
    study = study_impact(run)
    folder = results_folder(run.config)
    folder.mkdir(parents=True, exist_ok=True)
    grids = _grids(study, protocol=run.config.impact.protocol)
    _write_tables(folder, study, table4=grids[0])
    return Findings(folder / PAGE_FILE, grids)


def results_folder(config: Config) -> Path:
    """Return where the results go."""
    return config.impact.out or config.store / "impact"


def _grids(study: Study, *, protocol: str) -> tuple[Grid, ...]:
    grids = [
        table4_grid(_of_seeds(study.scores), versions=(FULL, CLEAN)),
        versions_grid(study.versions),
        effects_grid(pa.concat_tables([study.effects, study.lookalikes]), protocol=protocol),
    ]
    grids += [orders_grid(study.orders)] if study.orders.num_rows else []
    grids += [doses_grid(study.doses)] if study.doses.num_rows else []
    return tuple(grids)


def _of_seeds(scores: pa.Table) -> pa.Table:
    """Return the SCORES of the whole set and the clean one."""
    return scores.filter(pc.is_in(scores["training_set"], value_set=pa.array([FULL, CLEAN])))


def _write_tables(folder: Path, study: Study, *, table4: Grid) -> None:
    tables = {
        "scores": study.scores,
        "per_query": study.query_scores,
        "effect": study.effects,
        "lookalikes": study.lookalikes,
        "changes": study.changes,
        "ranking": study.orders,
        "dose": study.doses,
        "versions": study.versions,
    }
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    with replacing(folder / "table4.csv") as file:
        file.write(grid_csv(table4))
