"""Write what an impact study found: tables, figures and a page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config
from overlap.base.errors import ConfigError
from overlap.base.grids import Grid
from overlap.base.pages import plural
from overlap.base.sheets import replacing, write_csv
from overlap.pipeline.impact import Study, study_impact
from overlap.pipeline.pictures import draw_charts, draw_pictures
from overlap.pipeline.run import Run, require_out
from overlap.pipeline.stages import compare_boxes, compare_stages
from overlap.report.impact import Figure, ImpactContent, Part, write_page
from overlap.report.impact_tables import (
    boxes_grid,
    doses_grid,
    effects_grid,
    grid_csv,
    interval,
    orders_grid,
    points,
    stages_grid,
    table4_grid,
    versions_grid,
)
from overlap.report.page import Fact
from overlap.study.evaluation.impact import CLEAN, FULL, OTHER, OVERLAPPING

PAGE_FILE = "index.html"
_FEW = 5


@dataclass(frozen=True)
class Findings:
    """Say where the page lies, and what it says in tables."""

    page: Path
    grids: tuple[Grid, ...]


@dataclass(frozen=True, eq=False)
class _Tables:
    """Hold what is shown beside the study: STAGES and BOXES."""

    stages: pa.Table
    boxes: pa.Table


def measure_impact(run: Run) -> Findings:
    """Do the impact study of a config and write what it found.

    Raises:
        DataError: there is no release, or it does not fit the config's evaluation sets.
        ConfigError: there are too few landmarks for placebos, a training diverges, or impact.out can't be written to.
    """
    folder = _make_folder(run.config.impact.out or run.config.store / "impact")
    study = study_impact(run)
    run.say("all networks are trained and scored; comparing stages and drawing pictures")
    done = run.begin("compare and draw", None)
    more = _Tables(compare_stages(run, study.sets, study.outcomes), compare_boxes(run, study.sets, study.outcomes))
    drawn = draw_charts(study, protocol=run.config.impact.protocol) | draw_pictures(run, study)
    content = gather_page(run.config, study, more.stages, more.boxes, drawn)
    _write_files(folder, study, more, drawn)
    page = write_page(folder / PAGE_FILE, content)
    done(1, None)
    return Findings(page, tuple(grid for part in content.parts for grid in part.grids))


def _make_folder(folder: Path) -> Path:
    """Make the folder of the results before anything is trained."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"impact.out: {folder} can't be made: {error.strerror}; name another folder") from None
    require_out(folder / PAGE_FILE)
    return folder


def gather_page(
    config: Config, study: Study, stages: pa.Table, boxes: pa.Table, drawn: Mapping[str, bytes]
) -> ImpactContent:
    """Gather everything that the page shows.

    Args:
        stages: STAGES.
        boxes: BOXES.
        drawn: PNGs by name.
    """
    protocol = config.impact.protocol
    both = study.scores.filter(pc.is_in(study.scores["training_set"], value_set=pa.array([FULL, CLEAN])))

    def figures(**captions: str) -> tuple[Figure, ...]:
        return tuple(Figure(drawn[name], caption) for name, caption in captions.items() if name in drawn)

    parts = [
        Part(
            "Effect",
            "Clean is the training set without the landmarks of the release. A placebo lost as many other landmarks of "
            "like size. The effect is what the overlap gives beyond what size gives: placebo minus clean.",
            (effects_grid(pa.concat_tables([study.effects, study.lookalikes]), protocol=protocol),),
            figures(
                effects="Change in mAP with its 95 % interval; landmarks, seeds and placebo draws are resampled.",
                changes="Every query's change, averaged over seeds.",
            ),
        ),
        Part("Table 4", "Both versions, every method.", (table4_grid(both, versions=(FULL, CLEAN)),)),
        Part("Order of the methods", _ORDER_TEXT, (orders_grid(study.orders),)) if study.orders.num_rows else None,
        Part(
            "Doses",
            _DOSE_TEXT,
            (doses_grid(study.doses),),
            figures(doses="Gain over the clean version by dose, with 95 % intervals."),
        )
        if study.doses.num_rows
        else None,
        Part("Versions", "What was trained on.", (versions_grid(study.versions),)),
        Part("Training", "Losses and held-out mAP.", (), figures(curves="A line a seed.")),
        Part("One stage or two", _STAGE_TEXT, (stages_grid(stages), boxes_grid(boxes))) if stages.num_rows else None,
        Part("Pictures", _PICTURE_TEXT, (), figures(**_CAPTIONS)) if "attention" in drawn else None,
    ]
    return ImpactContent(
        config.name,
        _headline(study, protocol),
        _key_figures(study, protocol),
        tuple(_cautions(config, study)),
        tuple(part for part in parts if part is not None),
        _facts(config, study),
        config.model_dump_json(indent=2, include={"train", "evaluation", "synthetic", "network", "training", "impact"}),
    )


_ORDER_TEXT = (
    "How often each order came up when landmarks and seeds were resampled, the same ones for all methods and versions. "
    "Noise changes an order, too: compare with the placebo's row."
)
_DOSE_TEXT = "Removed landmarks were given back, those of one building at once, in a random order."
_STAGE_TEXT = (
    "CiDeR finds and describes at once. The plain network describes whole database photos, or crops of them; queries "
    "are cropped to their boxes anyhow. Below, how well boxes found without any label meet the queries' boxes."
)
_PICTURE_TEXT = "The first CiDeR that was trained on the clean version; its attention never saw a box."
_CAPTIONS = {
    "attention": "Attention before and after training, what the highest threshold keeps, and boxes of its connected "
    "parts (blue); the query's box is orange.",
    "rankings": "The best ranked photos of some queries with the attention on them, and what the ground truth says.",
    "embeddings": "The database in the plane (t-SNE); positives of each landmark in one colour and shape.",
}


def _headline(study: Study, protocol: str) -> str:
    rows = _effects(study, protocol, OVERLAPPING)
    found = "; ".join(f"{row['network']} {points(row['value'])} points ({interval(row)})" for row in rows)
    contrast = rows[0]["contrast"]
    what = "beyond what placebo removals change" if contrast == "effect" else "without a placebo to compare with"
    return f"What training on the overlapping landmarks adds to the mAP of their queries ({protocol}), {what}: {found}."


def _key_figures(study: Study, protocol: str) -> dict[str, str]:
    figures = {}
    for kind, words in ((OVERLAPPING, "overlapping queries"), (OTHER, "other queries")):
        for row in _effects(study, protocol, kind):
            figures[f"{row['network']}, {words}: {interval(row)}"] = points(row["value"])
    return figures


def _effects(study: Study, protocol: str, kind: str) -> list[dict[str, Any]]:
    """Return the rows of the effect, or of full minus clean where there was no placebo."""
    rows = [row for row in study.effects.to_pylist() if (row["protocol"], row["queries"]) == (protocol, kind)]
    effects = [row for row in rows if row["contrast"] == "effect"]
    return effects or [row for row in rows if row["contrast"] == f"{FULL} - {CLEAN}"]


def _cautions(config: Config, study: Study) -> Iterable[str]:
    seeds, placebos = len(config.impact.seeds), config.impact.placebos
    if seeds < _FEW or placebos < _FEW:
        yield (
            f"{plural(seeds, 'seed')} and {plural(placebos, 'placebo draw')} carry no claim: an interval over one of a "
            "kind takes it as fixed."
        )
    for kind in (OVERLAPPING, OTHER):
        row = _effects(study, config.impact.protocol, kind)[:1]
        if row and row[0]["n_landmarks"] < _FEW:
            shown = plural(row[0]["n_landmarks"], "landmark")
            yield f"The {kind} queries show {shown} only: their interval means little."
    versions = {row["training_set"]: row for row in study.versions.to_pylist()}
    matched = [row for name, row in versions.items() if name.startswith("placebo-")]
    removed = versions[CLEAN]["n_images_removed"]
    for row in matched[:1]:
        yield (
            f"Clean lost {removed:,} photos, the placebos {min(each['n_images_removed'] for each in matched):,} to "
            f"{max(each['n_images_removed'] for each in matched):,}, in {row['n_landmarks_removed']} landmarks each."
        )
    if config.train.format == "synthetic":
        yield "The world is synthetic: the size of the effect says nothing about real photos."


def _facts(config: Config, study: Study) -> tuple[Fact, ...]:
    training = config.training
    n_overlapping = len(study.overlap.overlapping)
    return (
        Fact("Release", f"{study.release.name}, {len(study.overlap.removed)} landmarks removed"),
        Fact("Queries", f"{len(study.overlap.landmarks)}, {n_overlapping} of them overlapping"),
        Fact("Networks", ", ".join(config.impact.networks)),
        Fact("Trainings", f"{len(study.outcomes)}, {len(config.impact.seeds)} seeds"),
        Fact("Steps", f"{training.steps:,} of {training.batch * training.accumulate} photos, the same for all"),
        Fact("Photos", f"trained at {training.size_px} px, scored at {config.impact.size_px} px"),
    )


def _write_files(folder: Path, study: Study, more: _Tables, drawn: Mapping[str, bytes]) -> None:
    tables = {
        "scores": study.scores,
        "per_query": study.query_scores,
        "effect": study.effects,
        "lookalikes": study.lookalikes,
        "changes": study.changes,
        "ranking": study.orders,
        "dose": study.doses,
        "versions": study.versions,
        "stages": more.stages,
        "boxes": more.boxes,
    }
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    names = list(dict.fromkeys(study.scores["training_set"].to_pylist()))
    contents = {"table4.csv": grid_csv(table4_grid(study.scores, versions=names))}
    for name, content in (contents | {f"{name}.png": png for name, png in drawn.items()}).items():
        with replacing(folder / name) as file:
            file.write(content)
