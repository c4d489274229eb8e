"""The paper's ablations: the same training, seeds and steps for several settings of CiDeR."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from overlap.base.config import Config, NetworkConfig
from overlap.base.errors import ConfigError
from overlap.base.grids import Grid
from overlap.base.sheets import replacing, write_csv
from overlap.base.texts import read_toml
from overlap.pipeline.photos import read_sets
from overlap.pipeline.run import Run
from overlap.pipeline.trials import Trial, TrialResult, run_trials
from overlap.pipeline.versions import Plan, number_queries
from overlap.release.apply import read_removed
from overlap.release.write import REMOVALS_FILE
from overlap.report.impact_tables import ablation_grid, grid_csv
from overlap.study.evaluation.resampling import Estimate, Values, estimate_mean
from overlap.study.networks.checkpoint import make_settings

SHIPPED = ("components", "options", "background", "masks", "finetuning")
_METHOD = "cider"


class Variant(BaseModel):
    """Hold one row: what it is called, and how it departs from the config's network and training."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cells: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    method: str = _METHOD
    cider: dict[str, Any] = {}
    stages: Literal["one", "two"] | None = None


class Ablation(BaseModel):
    """Hold a table of variants; ``reference`` is the row that the others are compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str
    columns: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    reference: Annotated[int, Field(ge=0)]
    variants: Annotated[tuple[Variant, ...], Field(strict=False, min_length=2)]

    @model_validator(mode="after")
    def _fits(self) -> "Ablation":
        if self.reference >= len(self.variants):
            raise ValueError(f"reference = {self.reference}, but there are {len(self.variants)} variants from 0")
        if any(len(variant.cells) != len(self.columns) for variant in self.variants):
            raise ValueError(f"each variant needs {len(self.columns)} cells, one a column")
        return self


@dataclass(frozen=True)
class Ablated:
    """Hold the table in the paper's layout, and where it was written."""

    grid: Grid
    folder: Path


def load_ablation(name_or_path: str) -> Ablation:
    """Read a shipped ablation by its name, or a TOML file by its path (anything with a slash, or that ends in .toml).

    Raises:
        ConfigError: there is none, the file is not TOML, or it has an unknown, missing or wrong key.
    """
    is_path = "/" in name_or_path or name_or_path.endswith(".toml")
    file = Path(name_or_path) if is_path else files("overlap.study") / "ablations" / f"{name_or_path}.toml"
    try:
        return Ablation.model_validate(read_toml(file))
    except FileNotFoundError:
        raise ConfigError(
            f"ablation {name_or_path!r} is not there; use {', '.join(SHIPPED)}, or the path of a TOML file"
        ) from None
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(map(str, found["loc"])) or "the table"
        raise ConfigError(f"ablation {name_or_path!r}: {key}: {found['msg'].removeprefix('Value error, ')}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"ablation {name_or_path!r} is not a readable TOML file: {error}") from None


def run_ablation(run: Run, ablation: Ablation, *, name: str) -> Ablated:
    """Train every variant with every seed of [impact], score it, and write the table.

    The training set is the config's, without the landmarks of ``impact.release`` where one is named. What a variant
    doesn't say is as [network] and [training] have it.

    Args:
        name: of the folder in the store's folder ``ablations``.

    Raises:
        ConfigError: the config's network is no CiDeR, a variant's settings are wrong, or a training diverges.
        DataError: photos or the release can't be read.
    """
    trials = plan_ablation(run.config, ablation)
    outcomes = run_trials(run, trials, label=f"ablate {name}")
    grid = ablation_grid(
        ablation.title,
        ablation.columns,
        [variant.cells for variant in ablation.variants],
        pa.concat_tables([outcome.scores for outcome in outcomes]),
        labels=[_label(variant) for variant in ablation.variants],
        against=_compare(run, ablation, outcomes),
    )
    folder = run.config.store / "ablations" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "scores.csv", pa.concat_tables([outcome.scores for outcome in outcomes]))
    write_csv(folder / "per_query.csv", pa.concat_tables([outcome.query_scores for outcome in outcomes]))
    with replacing(folder / "table.csv") as file:
        file.write(grid_csv(grid))
    return Ablated(grid, folder)


def plan_ablation(config: Config, ablation: Ablation) -> list[Trial]:
    """List the trainings, all variants for one seed after the other.

    Raises:
        ConfigError: the config's network is no CiDeR, or a variant has settings that it doesn't know.
    """
    method, _, backbone = config.network.name.partition("_")
    if method != _METHOD:
        raise ConfigError(f"network.name = {config.network.name!r}; ablations are of {_METHOD}_BACKBONE")
    release = config.impact.release
    plan = Plan("full", ()) if release is None else Plan("clean", tuple(sorted(read_removed(release / REMOVALS_FILE))))
    return [
        Trial(_label(variant), _network(config.network, variant, backbone), _training(config, variant), plan, seed)
        for seed in config.impact.seeds
        for variant in ablation.variants
    ]


def _network(network: NetworkConfig, variant: Variant, backbone: str) -> NetworkConfig:
    settings = {**network.cider, **variant.cider}
    make_settings(f"{_METHOD}_{backbone}", settings)
    return network.model_copy(update={"name": f"{variant.method}_{backbone}", "cider": settings})


def _training(config: Config, variant: Variant) -> Any:
    return config.training if variant.stages is None else config.training.model_copy(update={"stages": variant.stages})


def _label(variant: Variant) -> str:
    return " / ".join(cell or "-" for cell in variant.cells)


def _compare(run: Run, ablation: Ablation, outcomes: Sequence[TrialResult]) -> Mapping[str, Estimate]:
    """Estimate what each variant gains over the reference, query by query, by landmarks and seeds."""
    landmarks = number_queries(read_sets(run).evaluations)
    values = {label: _values(outcomes, label, run.config.impact.protocol) for label in map(_label, ablation.variants)}
    reference, queries = values[_label(ablation.variants[ablation.reference])]
    groups = np.array([landmarks[query] for query in queries], dtype=np.int64)
    rng = np.random.default_rng(run.config.impact.seed)
    return MappingProxyType(
        {
            label: estimate_mean((own - reference)[:, np.newaxis], groups, rng=rng)
            for label, (own, _) in values.items()
            if own is not reference
        }
    )


def _values(outcomes: Sequence[TrialResult], label: str, protocol: str) -> tuple[Values, list[tuple[str, str]]]:
    """Return (S, Q) average precision and the queries."""
    found = []
    queries: list[tuple[str, str]] = []
    for outcome in outcomes:
        if outcome.trial.label == label:
            rows = [
                row for row in outcome.query_scores.to_pylist() if row["protocol"] == protocol and row["ap"] is not None
            ]
            queries = [(row["evaluation_set"], row["query_id"]) for row in rows]
            found.append([row["ap"] for row in rows])
    return np.array(found), queries
