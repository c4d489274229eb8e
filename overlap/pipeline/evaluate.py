"""Rank the photos of evaluation sets, by a network or by saved matrices, and score the rankings."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from overlap.base.config import Config, DescriptorsConfig
from overlap.base.errors import ConfigError, DataError
from overlap.base.grids import Grid
from overlap.base.sheets import write_csv
from overlap.base.tables import Descriptors
from overlap.datasets.catalogue import EvaluationSet, QueryTruth, read_evaluation_set
from overlap.datasets.distractors import read_distractors
from overlap.datasets.revisited import read_classic, read_revisited
from overlap.pipeline.photos import read_sets
from overlap.pipeline.retrieve import describe_images
from overlap.pipeline.run import Run, require_out
from overlap.study.evaluation.matrices import read_distractor_matrix, read_matrix
from overlap.study.evaluation.protocol import CLASSIC, REVISITED
from overlap.study.evaluation.scores import Evaluation, Subject, evaluate_descriptors
from overlap.study.evaluation.whitening import Whitening, apply_whitening, learn_whitening
from overlap.study.networks.checkpoint import read_saved

PER_QUERY_FILE = "per_query.csv"
# Whitening is learned from pairs of photos of one landmark; more pairs than these change little and cost time.
_WHITENING_PAIRS = 20_000


@dataclass(frozen=True)
class Matrices:
    """Name saved descriptors: .npy files with a row a query, a database photo, and a distractor."""

    queries: Path
    database: Path
    distractors: Path | None = None


def read_truth(path: Path) -> EvaluationSet:
    """Read ground truth for saved descriptors: ``gnd_NAME.pkl``, or a folder of ``*_query.txt`` with photos in jpg/.

    No boxes are asked for.

    Raises:
        DataError: it is neither, or malformed.
    """
    if path.is_dir():
        return read_classic(path, name=path.absolute().name, boxes=False)
    if not (path.name.startswith("gnd_") and path.suffix == ".pkl"):
        raise DataError(f"{path}: expected gnd_NAME.pkl as revisitop has it, or a folder of *_query.txt files")
    return read_revisited(path.parent, name=path.stem.removeprefix("gnd_"), boxes=False)


def choose_evaluation(config: Config, name: str | None) -> EvaluationSet:
    """Read the evaluation set of that name, or the only one of the config, for saved descriptors: without boxes.

    Raises:
        ConfigError: there is none of that name, or no name is given and there are several.
    """
    known = {evaluation.name: evaluation for evaluation in config.evaluation}
    chosen = name or (next(iter(known)) if len(known) == 1 else None)
    if chosen not in known:
        found = f"{name!r} is not one of" if name else "name one of"
        raise ConfigError(f"evaluation set: {found} the config's {', '.join(known)} (--evaluation NAME)")
    return read_evaluation_set(known[chosen], boxes=False)


def choose_network(
    settings: DescriptorsConfig, *, checkpoint: Path | None, exported: Path | None, network: str | None
) -> DescriptorsConfig:
    """Return the settings with another network in place of their own, where one is named.

    Args:
        checkpoint: of 'overlap train', or the weights of ``network``.
        exported: a .pt2 file.

    Raises:
        ConfigError: both are named, or neither and the settings hold no network.
    """
    if checkpoint is not None and exported is not None:
        raise ConfigError("a network is a --checkpoint or an --exported program; name one of them")
    if checkpoint is None and exported is None:
        if settings.kind == "vlad":
            raise ConfigError(
                "which network? Name --checkpoint or --exported, saved descriptors by --queries and --database, or "
                'set descriptors.kind = "network" and descriptors.path in the config'
            )
        return settings
    kept = settings.model_dump(include=settings.model_fields_set - {"kind", "path", "network"})
    if exported is not None:
        return DescriptorsConfig.model_validate({**kept, "kind": "exported", "path": exported})
    named = {} if network is None else {"network": network}
    return DescriptorsConfig.model_validate({**kept, **named, "kind": "network", "path": checkpoint})


def name_subject(
    settings: DescriptorsConfig, *, network: str | None, training_set: str | None, seed: int | None
) -> Subject:
    """Name what is evaluated: as given, or else as the checkpoint says."""
    path = settings.path
    saved = read_saved(path) if settings.kind == "network" and path is not None else None
    if saved is not None:
        seed = saved.seed if seed is None else seed
        return Subject(network or saved.spec.name, "", training_set or saved.training_set, seed)
    fallback = settings.network if settings.kind == "network" or path is None else path.stem
    return Subject(network or fallback, "", training_set, seed)


def evaluate_matrices(evaluation: EvaluationSet, matrices: Matrices, *, subject: Subject) -> Evaluation:
    """Score saved descriptors.

    Args:
        subject: its evaluation set is replaced by this one's name, with ``+NAME`` of the distractors' file.

    Raises:
        DataError: a matrix does not fit the ground truth, or the set has none.
    """
    distractors: Iterable[Descriptors] = ()
    name = evaluation.name
    if matrices.distractors is not None:
        distractors = read_distractor_matrix(matrices.distractors)
        name = f"{name}+{matrices.distractors.stem}"
    queries = read_matrix(matrices.queries, _ids(evaluation.queries), what="queries")
    database = read_matrix(matrices.database, _ids(evaluation.photos), what="database photos")
    return evaluate_descriptors(
        queries,
        database,
        require_truth(evaluation),
        subject=replace(subject, evaluation_set=name),
        protocols=protocols_of(evaluation),
        distractors=distractors,
    )


def evaluate_network(
    run: Run,
    settings: DescriptorsConfig,
    *,
    subject: Subject,
    evaluation: str | None = None,
    whiten: bool = False,
    distractors: Path | None = None,
) -> Evaluation:
    """Describe the queries (cropped) and photos of the config's evaluation sets, and score their rankings.

    Descriptors are kept in the store, so that a stopped run goes on where it was.

    Args:
        settings: which network, at which size and scales.
        subject: its evaluation set is replaced by each set's name.
        evaluation: the only set to score; None for all.
        whiten: learn a whitening from the config's training set, and apply it.
        distractors: the folder of revisitop1m.

    Raises:
        ConfigError: the network can't be loaded, the settings name none, or there is no such set.
        DataError: a photo can't be read, or a set has no ground truth.
    """
    chosen = [each for each in read_sets(run).evaluations if evaluation in (None, each.name)]
    if not chosen:
        known = ", ".join(each.name for each in run.config.evaluation)
        raise ConfigError(f"evaluation set {evaluation!r} is not one of the config's {known} (--evaluation NAME)")
    described = replace(run, config=run.config.model_copy(update={"descriptors": settings}))
    truths = [require_truth(each) for each in chosen]
    whitening = _learn_whitening(described) if whiten else None
    noise = _describe_distractors(described, distractors) if distractors is not None else []
    found = []
    for each, truth in zip(chosen, truths, strict=True):
        queries = describe_images(described, each.queries, label=f"queries: {each.name}")
        photos = describe_images(described, each.photos, label=f"photos: {each.name}")
        done = run.begin(f"score {each.name}", None)
        found.append(
            evaluate_descriptors(
                _join(map(_whitened(whitening), queries)),
                _join(map(_whitened(whitening), photos)),
                truth,
                subject=replace(subject, evaluation_set=each.name + ("+R1M" if distractors else "")),
                protocols=protocols_of(each),
                distractors=map(_whitened(whitening), noise),
            )
        )
        done(1, None)
    return join_evaluations(found)


def join_evaluations(parts: Sequence[Evaluation]) -> Evaluation:
    """Put the rows of several evaluations under each other."""
    return Evaluation(
        pa.concat_tables([part.scores for part in parts]), pa.concat_tables([part.query_scores for part in parts])
    )


def require_scores_out(out: Path) -> Path:
    """Return the path if scores can be written there.

    Raises:
        ConfigError: the folder is not there or can't be written to, or the file has the other one's name.
    """
    if out.name == PER_QUERY_FILE:
        raise ConfigError(f"{out}: {PER_QUERY_FILE} is written beside it; choose another name")
    return require_out(out)


def write_scores(out: Path, found: Evaluation) -> None:
    """Write SCORES to a file, and QUERY_SCORES to ``per_query.csv`` beside it.

    Raises:
        ConfigError: as require_scores_out.
    """
    write_csv(require_scores_out(out), found.scores)
    write_csv(out.with_name(PER_QUERY_FILE), found.query_scores)


def scores_grid(scores: pa.Table) -> Grid:
    """Return SCORES ready to be shown, in per cent; a dash where there is no figure."""
    return Grid(
        "Mean average precision and mean precision, in per cent",
        ("set", "protocol", "queries", "mAP", "mP@1", "mP@5", "mP@10"),
        tuple(
            (
                row["evaluation_set"],
                row["protocol"],
                str(row["n_queries"]),
                *(_per_cent(row[name]) for name in _FIGURES),
            )
            for row in scores.to_pylist()
        ),
    )


def require_truth(evaluation: EvaluationSet) -> tuple[QueryTruth, ...]:
    """Return the ground truth of an evaluation set.

    Raises:
        DataError: it has none.
    """
    if evaluation.ground_truth is None:
        raise DataError(
            f"evaluation set {evaluation.name!r} is a table without ground truth and can't be scored; bring it as "
            f'gnd_{evaluation.name}.pkl with format = "revisited"'
        )
    return evaluation.ground_truth


def protocols_of(evaluation: EvaluationSet) -> tuple[str, ...]:
    """Return the protocols that a set is scored by."""
    return CLASSIC if evaluation.classic else REVISITED


_FIGURES = ("map", "mp_at_1", "mp_at_5", "mp_at_10")


def _per_cent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _ids(images: pa.Table) -> list[str]:
    ids: list[str] = images["image_id"].to_pylist()
    return ids


def _join(parts: Iterable[Descriptors]) -> Descriptors:
    listed = list(parts)
    ids = [image_id for part in listed for image_id in part.image_ids]
    return Descriptors(ids, np.concatenate([part.vectors for part in listed]))


def _describe_distractors(run: Run, root: Path) -> list[Descriptors]:
    images = read_distractors(root)
    return describe_images(run, images, label="distractors")


def _learn_whitening(run: Run) -> Whitening:
    """Learn from pairs of neighbours of one landmark, in the training set's order."""
    images = read_sets(run).training.images
    landmarks = images["landmark_id"].to_numpy()
    order = np.argsort(landmarks, kind="stable")
    first = np.flatnonzero(landmarks[order][1:] == landmarks[order][:-1])
    if not len(first):
        raise DataError("whitening: no landmark of the training set has two photos; evaluate without --whiten")
    first = first[np.linspace(0, len(first) - 1, min(len(first), _WHITENING_PAIRS)).round().astype(int)]
    used = np.union1d(order[first], order[first + 1])
    vectors = _join(describe_images(run, images.take(used), label="whitening: training photos")).vectors
    rows = np.searchsorted(used, [order[first], order[first + 1]])
    return learn_whitening(vectors, rows[0], rows[1])


def _whitened(whitening: Whitening | None) -> Callable[[Descriptors], Descriptors]:
    def apply(part: Descriptors) -> Descriptors:
        return part if whitening is None else replace(part, vectors=apply_whitening(whitening, part.vectors))

    return apply
