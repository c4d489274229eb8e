"""The versions of the training set that an impact study compares, and which queries the removal concerns.

All of it comes from a published release and the ground truth, never from what is true of a synthetic world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config
from overlap.base.errors import DataError
from overlap.base.sheets import read_rows
from overlap.base.tables import VERSIONS, as_table
from overlap.datasets.catalogue import EvaluationSet
from overlap.pipeline.demo import run_demo
from overlap.pipeline.evaluate import require_truth
from overlap.pipeline.photos import Sets
from overlap.pipeline.publish import release_folder
from overlap.pipeline.retrieve import PROBES, read_candidates
from overlap.pipeline.run import Run
from overlap.release.apply import read_removed
from overlap.release.write import REMOVALS_FILE
from overlap.study.evaluation.dose import plan_doses
from overlap.study.evaluation.groups import group_queries, join_sets
from overlap.study.evaluation.impact import CLEAN, FULL
from overlap.study.evaluation.placebo import count_images, draw_placebos

EVIDENCE_FILE = "evidence.csv"
NO_LOOKALIKES = "no-lookalikes"

Query = tuple[str, str]


@dataclass(frozen=True)
class Overlap:
    """Say what a release removed, and whom it concerns.

    Args:
        removed: landmark ids, ascending.
        landmarks: the landmark of every query, numbered over all evaluation sets, by set and query id.
        units: the removed ids, those of one landmark of an evaluation set together.
        seen: the numbers of the landmarks that each unit shows; none for a unit that only its name brought up.
    """

    removed: tuple[int, ...]
    landmarks: Mapping[Query, int]
    units: tuple[tuple[int, ...], ...]
    seen: tuple[frozenset[int], ...]

    @property
    def overlapping(self) -> frozenset[Query]:
        """Return the queries whose landmark was removed: those that the evidence names, and those beside them."""
        return self.restored(self.removed)

    def restored(self, landmark_ids: Sequence[int]) -> frozenset[Query]:
        """Return the queries whose landmark these ids show."""
        given = set(landmark_ids)
        back = {
            number for unit, numbers in zip(self.units, self.seen, strict=True) if given & {*unit} for number in numbers
        }
        return frozenset(query for query, number in self.landmarks.items() if number in back)


@dataclass(frozen=True)
class Plan:
    """Name a version and what it leaves out; ``back`` are the removed ids that it gives back."""

    name: str
    without: tuple[int, ...]
    back: tuple[int, ...] = ()


def find_release(run: Run) -> Path:
    """Return the folder of the release to compare with; a synthetic world without one gets one, with a word about it.

    Raises:
        DataError: there is none.
    """
    folder = run.config.impact.release or release_folder(run.config)
    if (folder / REMOVALS_FILE).is_file():
        return folder
    if run.config.train.format != "synthetic" or run.config.impact.release is not None:
        raise DataError(
            f"{folder} holds no {REMOVALS_FILE}; publish a release with 'overlap publish', or name one: "
            "--set impact.release=FOLDER"
        )
    run.say(f"there is no release at {folder} yet: making it, with simulated reviewers who make no mistake")
    run_demo(run)
    return folder


def read_overlap(folder: Path, evaluations: Sequence[EvaluationSet]) -> Overlap:
    """Read what a release removed, and find the queries that it concerns.

    Raises:
        DataError: a file is missing or malformed, the evidence names a query that is not in the evaluation sets, or
            nothing was removed.
    """
    removed = tuple(sorted(read_removed(folder / REMOVALS_FILE)))
    if not removed:
        raise DataError(f"{folder / REMOVALS_FILE} removes nothing; there is no impact to measure")
    landmarks = number_queries(evaluations)
    shown: dict[str, set[int]] = {str(landmark_id): set() for landmark_id in removed}
    for line, (name, query_id, text) in read_rows(
        folder / EVIDENCE_FILE, ("evaluation_set", "query_id", "landmark_id")
    ):
        if query_id and text in shown:
            if (name, query_id) not in landmarks:
                raise DataError(
                    f"{folder / EVIDENCE_FILE} line {line}: query {query_id} of {name!r} is not in the config's "
                    "evaluation sets; use the config that the release was made with"
                )
            shown[text].add(landmarks[name, query_id])
    return _join_units(removed, shown, landmarks)


def number_queries(evaluations: Sequence[EvaluationSet]) -> dict[Query, int]:
    """Number the landmarks of all queries; queries that share positive photos have the same number."""
    landmarks: dict[Query, int] = {}
    for evaluation in evaluations:
        first = max(landmarks.values(), default=-1) + 1
        numbers = group_queries(require_truth(evaluation)).tolist()
        ids = evaluation.queries["image_id"].to_pylist()
        landmarks |= {
            (evaluation.name, query_id): first + number for query_id, number in zip(ids, numbers, strict=True)
        }
    return landmarks


def plan_versions(config: Config, overlap: Overlap, landmarks: pa.Table) -> tuple[Plan, ...]:
    """List the versions to train on: full, clean, placebos, doses, and one without look-alikes.

    Args:
        landmarks: LANDMARKS of the whole training set.

    Raises:
        ConfigError: there are too few landmarks for placebos.
    """
    settings, removed = config.impact, overlap.removed
    placebos = draw_placebos(landmarks, {*removed}, draws=settings.placebos, seed=settings.seed)
    doses = plan_doses(overlap.units, doses=settings.doses, seed=settings.seed)
    plans = [Plan(FULL, ()), Plan(CLEAN, removed)]
    plans += [Plan(f"placebo-{number}", chosen) for number, chosen in enumerate(placebos, start=1)]
    plans += [Plan(f"dose-{len(back)}", tuple(sorted({*removed} - {*back})), back) for back in doses]
    if settings.lookalikes:
        alike = find_lookalikes(config, removed)
        plans.append(Plan(NO_LOOKALIKES, tuple(sorted({*removed, *alike}))))
    return tuple(plans)


def find_lookalikes(config: Config, removed: Sequence[int]) -> tuple[int, ...]:
    """Return the kept landmarks with the photos that search found most similar to a query, the most similar first.

    Raises:
        ArtifactError: 'curate' has not run with these settings.
    """
    found = read_candidates(config)
    found = found.filter(pc.is_in(found["origin"], value_set=pa.array(sorted(PROBES))))
    found = found.filter(pc.invert(_among(found["landmark_id"], removed)))
    best = found.group_by("landmark_id").aggregate([("similarity", "max")])
    order = best.sort_by([("similarity_max", "descending"), ("landmark_id", "ascending")])
    return tuple(order["landmark_id"].to_pylist()[: config.impact.lookalikes])


def versions_table(sets: Sets, plans: Sequence[Plan]) -> pa.Table:
    """Say how large each version is (VERSIONS)."""
    landmarks = sets.training.landmarks
    n_images = pc.sum(landmarks["n_images"]).as_py()
    rows = []
    for plan in plans:
        n_removed = count_images(landmarks, {*plan.without})
        rows.append(
            {
                "training_set": plan.name,
                "n_landmarks": landmarks.num_rows - len(plan.without),
                "n_images": n_images - n_removed,
                "n_landmarks_removed": len(plan.without),
                "n_images_removed": n_removed,
                "landmark_ids": list(plan.without),
            }
        )
    return as_table(rows, VERSIONS)


def _join_units(removed: tuple[int, ...], shown: Mapping[str, set[int]], landmarks: Mapping[Query, int]) -> Overlap:
    numbers = join_sets([shown[str(landmark_id)] for landmark_id in removed]).tolist()
    units: dict[int, list[int]] = {}
    for landmark_id, number in zip(removed, numbers, strict=True):
        units.setdefault(number, []).append(landmark_id)
    seen = tuple(frozenset().union(*(shown[str(landmark_id)] for landmark_id in unit)) for unit in units.values())
    return Overlap(removed, landmarks, tuple(map(tuple, units.values())), seen)


def _among(column: pa.ChunkedArray, values: Sequence[int]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(values, pa.int64()))
