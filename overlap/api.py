"""The public API: what the command line does, for who writes Python. docs/python.md shows every function.

Paths may be text. What can be mended is told by an OverlapError. What a function needs is imported when it is called:
who applies a removal list or checks a release needs the base install alone.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overlap.base.errors import CheckError, ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from overlap.base.config import Config
    from overlap.base.images import Box, Pixels
    from overlap.datasets.sets import QueryTruth

AnyPath: TypeAlias = str | os.PathLike[str]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, eq=False)
class PairMatch:
    """Say whether two photos show the same landmark.

    Args:
        score: in [0, 1], grows with that belief; the same number as in the pipeline's table of verified pairs.
        n_matches: matched keypoints.
        n_inliers: those that speak for the model.
        status: ok, too_few_matches, no_model, or watermark (what agrees is a mark stuck to both pictures).
        geometry: homography, fundamental or none.
        matrix: (3, 3), query pixels to photo pixels (fundamental: photo' F query = 0); None without a model.
    """

    score: float
    n_matches: int
    n_inliers: int
    status: str
    geometry: str
    matrix: NDArray[np.float64] | None


@dataclass(frozen=True)
class ProtocolScore:
    """Hold what rankings reach under one protocol; figures are in [0, 1], None where nothing could be scored.

    Args:
        n_queries: how many have a positive photo, over which the figures average.
        map: mean average precision.
        mp_at_1, mp_at_5, mp_at_10: mean precision at these ranks.
        ap: the average precision of every query, in their order; None for one without a positive photo.
    """

    n_queries: int
    map: float | None
    mp_at_1: float | None
    mp_at_5: float | None
    mp_at_10: float | None
    ap: tuple[float | None, ...]


def apply_removals(removals: AnyPath, source: AnyPath, out: AnyPath) -> dict[str, int]:
    """Write an upstream file without the landmarks of a removal list. The base install is enough.

    Args:
        removals: a CSV with a column landmark_id, such as a release's removals.csv.
        source: train_clean.csv, or another file with a column landmark_id.
        out: the file to write; nothing is written unless all is well.

    Returns:
        rows_in, rows_out, images_in, images_out, landmarks_in, landmarks_out.

    Raises:
        DataError: `out` is one of the inputs, or a file is not sound.
        CheckError: the list lies in its release but was changed, or the source is another file than the release was
            made from; or a landmark of the list is not in the source.
        ArtifactError: `out` can't be written.
    """
    from overlap.release.apply import apply_removals as apply

    return apply(Path(removals), Path(source), Path(out))


def verify_release(folder: AnyPath, *, source: AnyPath, seal: str | None = None) -> str:
    """Prove that a release is its upstream file minus its removals, byte by byte. The base install is enough.

    Args:
        folder: the release.
        source: the upstream train_clean.csv; or a folder that holds every upstream file, which checks all.
        seal: the SHA-256 that the release's SHA256SUMS must have, as its publisher gave it.

    Returns:
        The release's seal, to quote or to compare.

    Raises:
        CheckError: the release is not what it says; the message lists what differs.
        DataError: the folder is no release, or there is no such source.
    """
    from overlap.release.sums import seal_of
    from overlap.release.verify import verify_release as find_differences

    differences = find_differences(Path(folder), source=Path(source), seal=seal)
    if differences:
        raise CheckError(f"{folder} is not what it says:\n" + "\n".join(f"  - {text}" for text in differences))
    return seal_of(Path(folder))


def evaluate_rankings(
    rankings: Sequence[ArrayLike],
    ground_truth: AnyPath | Sequence[Mapping[str, Any]],
    *,
    protocols: Sequence[str] | None = None,
) -> dict[str, ProtocolScore]:
    """Score rankings by the protocols of Revisited Oxford and Paris. The base install is enough.

    Args:
        rankings: one a query: the rows of all database photos, best first, those of distractors behind the set's own
            by number. revisitop's ``ranks`` have a column a query: give ``ranks.T``.
        ground_truth: a file ``gnd_NAME.pkl``, or its entries, one a query: lists ``easy``, ``hard`` and ``junk`` of
            rows (``ok`` and ``junk`` in the classic sets).
        protocols: of easy, medium, hard and base; by default the first three, for the classic sets base.

    Raises:
        DataError: rankings and ground truth differ in number, a ranking isn't complete, or the ground truth is
            malformed.
        ConfigError: there is no such protocol.
    """
    from overlap.study.evaluation.protocol import CLASSIC, REVISITED
    from overlap.study.evaluation.scores import Subject
    from overlap.study.evaluation.scores import evaluate_rankings as evaluate

    truths, is_classic = _read_truths(ground_truth)
    listed = [_as_rows(ranking, f"ranking {query}") for query, ranking in enumerate(rankings)]
    found = evaluate(
        listed,
        truths,
        query_ids=[str(query) for query in range(len(truths))],
        n_photos=max(map(len, listed), default=0),
        subject=Subject("", ""),
        protocols=protocols or (CLASSIC if is_classic else REVISITED),
    )
    by_query = found.query_scores.to_pylist()
    return {
        row["protocol"]: ProtocolScore(
            **{name: row[name] for name in ("n_queries", "map", "mp_at_1", "mp_at_5", "mp_at_10")},
            ap=tuple(each["ap"] for each in by_query if each["protocol"] == row["protocol"]),
        )
        for row in found.scores.to_pylist()
    }


def verify_pair(
    query: "AnyPath | Pixels",
    photo: "AnyPath | Pixels",
    *,
    query_box_px: "Box | None" = None,
    size_px: int | None = None,
    keypoints: int | None = None,
    seed: int = 0,
) -> PairMatch:
    """Tell whether two photos show the same landmark, by SIFT and geometry as the pipeline does. Needs [curate].

    Args:
        query: a JPEG, PNG or WebP file, or (H, W, 3) uint8 RGB.
        photo: the same.
        query_box_px: x0, y0, x1, y1 in the stored pixel grid, to which a query that is a file is cut.
        size_px: longer side at which keypoints are detected; by default that of the settings, as ``keypoints`` is.
        keypoints: how many at most.
        seed: of the sampling of models.

    Raises:
        DataError: a photo can't be read or is no such array, or the box leaves it.
        ConfigError: a setting is out of range.
    """
    from overlap.base.config import VerifyConfig, check_values
    from overlap.features.catalogue import load_extractor
    from overlap.pipeline.evidence import verify_record

    asked = {"size_px": size_px, "keypoints": keypoints, "seed": seed}
    settings = check_values(VerifyConfig, asked, name="verify_pair")
    extract = load_extractor(settings)
    pictures = _load_pixels(query, "query", box=query_box_px), _load_pixels(photo, "photo")
    record = verify_record(*map(extract, pictures), settings=settings, match=None)
    matrix = None if record["matrix"] is None else np.array(record["matrix"]).reshape(3, 3)
    names = ("score", "n_matches", "n_inliers", "status", "geometry")
    return PairMatch(**{name: record[name] for name in names}, matrix=matrix)


def describe(
    photos: Sequence[AnyPath],
    *,
    exported: AnyPath | None = None,
    checkpoint: AnyPath | None = None,
    network: str | None = None,
    size_px: int = 640,
    scales: Sequence[float] = (1.0,),
    batch: int = 16,
    device: Device = "auto",
) -> NDArray[np.float32]:
    """Describe photos by a network, as ``overlap evaluate`` does. Needs [curate].

    Args:
        photos: N JPEG, PNG or WebP files.
        exported: a torch.export program (.pt2): RGB in 0..1, (B, 3, H, W), in, descriptors out.
        checkpoint: of ``overlap train``, or the weights of ``network``; one of the two must be given.
        network: METHOD_BACKBONE, for a checkpoint that is weights alone.
        size_px: to which the longer side of larger photos is brought.
        scales: of that size; the descriptor is the mean over them.
        batch: how many photos are described at once, which changes the speed alone.
        device: where; CUDA where there is one by default.

    Returns:
        (N, D) rows of unit length, rounded to half precision as the store keeps them; inner products compare them.

    Raises:
        ConfigError: none or both of the networks are named, it can't be loaded or fails, or a setting is out of range.
        DataError: a photo can't be read.
    """
    from overlap.base.config import DescriptorsConfig, check_values
    from overlap.pipeline.retrieve import describe_rows

    if (exported is None) == (checkpoint is None):
        raise ConfigError("describe: by which network? Give one of exported=FILE.pt2 and checkpoint=FILE")
    kind, path = ("exported", exported) if checkpoint is None else ("network", checkpoint)
    named = {} if network is None else {"network": network}
    asked = {"size_px": size_px, "scales": scales, "batch": batch, "device": device, **named}
    settings = check_values(DescriptorsConfig, {**asked, "kind": kind, "path": path}, name="describe")
    rows = [{"image_id": str(row), "source": "photos", "path": os.fspath(file)} for row, file in enumerate(photos)]
    done = describe_rows(rows, settings)
    if done.refused:
        raise DataError(f"{len(done.refused)} of {len(rows)} photos can't be used, for example {done.refused[0].error}")
    return done.descriptors.vectors.astype(np.float32)


def find_overlap(config: "AnyPath | Config", *, min_score: float | None = None, progress: bool = False) -> "pa.Table":
    """Find the training photos that show what an evaluation set's queries show: ``overlap curate``, without its queue.

    What is stored is not done again, and ``overlap curate`` with the same config goes on from here. Work is done in
    processes of their own: a script calls this below ``if __name__ == "__main__":``. Needs [curate].

    Args:
        config: the TOML file, or what overlap.base.config.load_config made of it.
        min_score: from which score on pairs are returned; by default that from which people are asked about them, with
            0 every pair that was compared.
        progress: show on the error stream how far the work is.

    Returns:
        VERIFIED (see overlap.base.tables), one row a pair of query and photo: by evaluation set and query, the highest
        score first.

    Raises:
        ConfigError: the config is wrong.
        DataError: the photos or their lists are.
        ArtifactError: another run holds the store, or it can't be written.
    """
    import pyarrow.compute as pc
    from rich.console import Console

    from overlap.base.config import Config, load_config
    from overlap.base.progress import make_say
    from overlap.base.workers import map_in_processes
    from overlap.pipeline.curate import curate
    from overlap.pipeline.run import open_run
    from overlap.pipeline.verify import read_verified
    from overlap.verify.pairs import review_threshold_of

    settings = config if isinstance(config, Config) else load_config(Path(config))
    if settings.run.engine != "processes":
        raise ConfigError(f'run.engine = "{settings.run.engine}" is for the flows; set run.engine = "processes"')
    console = Console(stderr=True, quiet=not progress)
    with map_in_processes(settings.run.workers, console=console) as map_shards:
        with open_run(settings, map_shards=map_shards, say=make_say(console)) as run:
            curate(run, until="verified")
    verified = read_verified(settings)
    least = review_threshold_of(settings.verify, settings.review.threshold) if min_score is None else min_score
    return verified.filter(pc.greater_equal(verified["score"], least))


def _read_truths(given: AnyPath | Sequence[Mapping[str, Any]]) -> "tuple[Sequence[QueryTruth], bool]":
    """Return the ground truth of every query, and whether it is a classic set's."""
    if isinstance(given, str | os.PathLike):
        from overlap.pipeline.evaluate import read_truth, require_truth

        read = read_truth(Path(given))
        return require_truth(read), read.classic
    return [_as_truth(entry, query) for query, entry in enumerate(given)], any("ok" in entry for entry in given)


def _as_truth(entry: Mapping[str, Any], query: int) -> "QueryTruth":
    from overlap.datasets.sets import QueryTruth

    easy = entry.get("easy", entry.get("ok"))
    if easy is None:
        raise DataError(
            f"ground truth of query {query}: expected lists 'easy', 'hard' and 'junk' of rows, or 'ok' and 'junk', "
            f"found {', '.join(map(repr, entry)) or 'nothing'}"
        )
    lists = {"easy": easy, "hard": entry.get("hard", ()), "junk": entry.get("junk", ())}
    return QueryTruth(**{name: _as_rows(rows, f"{name!r} of query {query}") for name, rows in lists.items()})


def _as_rows(values: ArrayLike, what: str) -> NDArray[np.int64]:
    rows = np.asarray(values)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise DataError(f"{what}: expected row numbers, found an array of shape {rows.shape} and type {rows.dtype}")
    return rows.astype(np.int64)


def _load_pixels(given: "AnyPath | Pixels", what: str, *, box: "Box | None" = None) -> "Pixels":
    from overlap.base.images import load_photo

    if isinstance(given, str | os.PathLike):
        return load_photo({"path": os.fspath(given), "crop_px": box})
    if box is not None:
        raise DataError("query_box_px is for a file; cut an array to the box before it is given")
    if given.ndim != 3 or given.shape[2] != 3 or given.dtype != np.uint8 or not given.size:
        raise DataError(f"{what}: expected (H, W, 3) uint8 RGB, found shape {given.shape} of {given.dtype}")
    return given
