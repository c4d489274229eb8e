"""Read the training set and the evaluation sets: who is there, and where the bytes lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config, fingerprint
from overlap.base.errors import ConfigError, DataError
from overlap.base.images import PhotoLimits, check_box, load_header
from overlap.base.progress import counted
from overlap.base.store import map_table, read_json, read_table, write_json, write_open_table, write_table
from overlap.base.tables import IMAGES, LANDMARKS, QUARANTINE, as_table
from overlap.datasets.archives import ARCHIVE_INDEX, read_archive, stamp_archive
from overlap.datasets.catalogue import (
    EvaluationSet,
    TrainingSet,
    list_archives,
    read_evaluation_set,
    read_landmarks,
    read_training_set,
    upstream_files,
)
from overlap.pipeline.declared import name_part
from overlap.pipeline.run import Run, find_current, recorded, store_of
from overlap.pipeline.shards import Shard, hash_table, join_quarantine, run_shards, shard_folders
from overlap.release.write import check_upstream

STEP = "photos"


@dataclass(frozen=True)
class Sets:
    """Hold everything that is read before work begins."""

    training: TrainingSet
    evaluations: tuple[EvaluationSet, ...]

    @property
    def queries(self) -> pa.Table:
        """Return the queries of all evaluation sets (IMAGES rows; `source` is the set)."""
        return pa.concat_tables([evaluation.queries for evaluation in self.evaluations])

    @property
    def evaluation_photos(self) -> pa.Table:
        """Return the database photos of all evaluation sets (IMAGES rows)."""
        return pa.concat_tables([evaluation.photos for evaluation in self.evaluations])


def read_sets(run: Run) -> Sets:
    """Read every set of the config, rendering the synthetic world first where it is asked for.

    Raises:
        DataError: a file is missing or wrong.
    """
    with recorded(run, STEP) as finish:
        render_world(run)
        training = read_training_set(run.config.train, archives=_index_archives(run), progress=_show_stamps(run))
        evaluations = tuple(read_evaluation_set(evaluation) for evaluation in run.config.evaluation)
        sets = Sets(training, evaluations)
        _check_boxes(sets.queries, run.limits)
        tables = {"train": training.images, "queries": sets.queries, "evaluation": sets.evaluation_photos}
        whole = fingerprint(STEP, [hash_table(table) for table in (*tables.values(), training.landmarks)])
        if not run.store.exists(STEP, whole):
            _check_upstream(run)
            with run.store.put(STEP, whole) as folder:
                write_table(folder, "landmarks", training.landmarks)
                for name, table in tables.items():
                    write_open_table(folder, name, table)
        mapped = map_table(run.store.get(STEP, whole), "train", IMAGES)
        finish(
            whole,
            photos=training.images.num_rows,
            landmarks=training.landmarks.num_rows,
            queries=sets.queries.num_rows,
            evaluation_photos=sets.evaluation_photos.num_rows,
        )
    return replace(sets, training=replace(training, images=mapped))


def find_probes(config: Config, evaluation: EvaluationSet) -> pa.Table:
    """Return the photos of an evaluation set that are searched for: its queries, or with search.probes "all" each."""
    if config.search.probes == "queries":
        return evaluation.queries
    return pa.concat_tables([evaluation.queries, evaluation.photos])


def split_probes(config: Config, evaluation: EvaluationSet) -> dict[str, pa.Table]:
    """Return what is searched for (IMAGES), by the origin of the candidates that it brings up.

    A query's whole photo brings up candidates of the query, which are verified against its box all the same.
    """
    if config.search.probes == "queries":
        return {"global": evaluation.queries}
    return {"global": evaluation.queries, "whole": find_whole(evaluation.queries), "database": evaluation.photos}


def find_whole(queries: pa.Table) -> pa.Table:
    """Return the queries that have a box (IMAGES), without it."""
    boxed = queries.filter(pc.is_valid(queries["crop_px"]))
    place = IMAGES.get_field_index("crop_px")
    return boxed.set_column(place, IMAGES.field(place), pa.nulls(boxed.num_rows, IMAGES.field(place).type))


def read_photos(config: Config, name: str) -> pa.Table:
    """Return the stored table ``train``, ``queries`` or ``evaluation`` (IMAGES), or ``landmarks`` (LANDMARKS)."""
    folder = find_current(config, STEP)
    return read_table(folder, name, LANDMARKS) if name == "landmarks" else map_table(folder, name, IMAGES)


def read_quarantine(config: Config) -> pa.Table:
    """Return the QUARANTINE rows of a run's descriptors and local features, each photo once."""
    folders = [
        folder
        for step in ("descriptors", "features")
        for folder in shard_folders(store_of(config), step, find_current(config, step).name)
    ]
    rows = {(row["source"], row["image_id"]): row for row in join_quarantine(folders).to_pylist()}
    return as_table(list(rows.values()), QUARANTINE)


def _check_upstream(run: Run) -> None:
    """Refuse now what 'publish' would refuse at the end; a format that it can't publish may be wanted all the same."""
    try:
        upstream = upstream_files(run.config.train)
    except ConfigError as error:
        run.say(f"warning: 'publish' will refuse this training set: {error}")
        return
    check_upstream(upstream)


def _check_boxes(queries: pa.Table, limits: PhotoLimits) -> None:
    """Refuse ground truth that does not belong to the photos; unreadable photos are for the quarantine."""
    for row in queries.filter(pc.is_valid(queries["crop_px"])).to_pylist():
        try:
            width, height, _ = load_header(row, limits)
        except DataError:
            continue
        try:
            check_box(row["crop_px"], width=width, height=height)
        except DataError as error:
            raise DataError(f"{row['path']}: {error}; is this the ground truth of these photos?") from None


def render_world(run: Run) -> None:
    """Render the config's synthetic world where it is asked for and not there yet."""
    if run.config.train.format != "synthetic":
        return
    from overlap.synthetic.world import write_world

    def map_tasks(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        return run.map_shards(function, tasks, label="render the world", sizes=[1] * len(tasks))

    names = [evaluation.name for evaluation in run.config.evaluation if evaluation.format == "synthetic"]
    write_world(run.config.train.root, run.config.synthetic, evaluation_names=names, map_tasks=map_tasks)


def _show_stamps(run: Run) -> Callable[[int], None]:
    """Return what is told how many more photos were looked at: on a network disk this takes its time."""
    return counted(run.begin("photos", pc.sum(read_landmarks(run.config.train)["n_images"]).as_py()))


def _index_archives(run: Run) -> dict[Path, pa.Table]:
    paths = list_archives(run.config.train)
    shards = [
        Shard(run.store, "archives", name_part(run.config, "archives", {}, path.name, stamp_archive(path)), 1, path)
        for path in paths
    ]
    run_shards(run, shards, _store_archive, label="index the archives")
    folders = {shard.work: run.store.get(shard.step, shard.fingerprint) for shard in shards}
    _say_passed_over(run, [read_json(folder, "others") for folder in folders.values()])
    return {path: read_table(folder, "members", ARCHIVE_INDEX) for path, folder in folders.items()}


def _say_passed_over(run: Run, others: Sequence[Any]) -> None:
    """Say how many files in archives are no photos."""
    n_others = sum(each["n"] for each in others)
    if n_others:
        example = next(each["example"] for each in others if each["n"])
        run.say(f"archives: {n_others:,} files in them are no photos and are passed over, for example {example}")


def _store_archive(shard: Shard) -> None:
    content = read_archive(shard.work)
    example = f"{content.others[0]!a} in {shard.work.name}" if content.others else ""
    with shard.store.put(shard.step, shard.fingerprint) as folder:
        write_table(folder, "members", content.photos)
        write_json(folder, "others", {"n": len(content.others), "example": example})
