"""From votes to a release: decide, write the manifests, and show the paper's tables and a report."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.config import Config
from overlap.datasets.catalogue import read_evaluation_set, read_landmarks, upstream_files
from overlap.errors import CheckError, ReviewError
from overlap.evidence import choose
from overlap.evidence.compare import EVIDENCE_FOLDER, read_evidence
from overlap.manifests.croissant import croissant_findings
from overlap.manifests.release import REMOVALS_FILE, write_release
from overlap.manifests.tables import read_list
from overlap.manifests.verify import verify_release
from overlap.policy import Policy, decide, explain, load_policy
from overlap.report.page import write_report
from overlap.report.tables import OverlapRow, SizesRow, overlap_table, render_csv, sizes_table
from overlap.review.queue import believed, build_items
from overlap.sheets import csv_bytes
from overlap.steps.evidence import gather_evidence
from overlap.steps.photos import find_probes
from overlap.steps.report import Decided, gather_content, make_thumbnails
from overlap.steps.review import audit_votes, open_reviews
from overlap.steps.run import Run, is_current
from overlap.steps.verify import read_verified
from overlap.tables import ANSWERS, CANDIDATES, REVIEW_ITEMS, VERIFIED, VOTES
from overlap.verify.pairs import review_threshold_of, threshold_of


@dataclass(frozen=True)
class Published:
    """Say what 'publish' wrote, and the paper's Tables 2 and 3 of it."""

    folder: Path
    report: Path
    overlap: tuple[OverlapRow, ...]
    sizes: tuple[SizesRow, ...]


def publish(run: Run) -> Published:
    """Decide by the policy, write the release folder and the report.

    Raises:
        ReviewError: the policy needs votes and there are none.
        DataError: an upstream file is wrong.
        CheckError: a vote was changed, the release is there with other content, or it is not proven.
    """
    config = run.config
    policy = load_policy(config.policy.name)
    done = run.begin("decide", None)
    decided = _decide(config, policy, say=run.say)
    done(1, None)
    removals = decided.decision.removals
    overlap = overlap_table(
        removals, n_queries=decided.n_queries, duplicated_queries=decided.decision.duplicated_queries
    )
    sizes = _sizes(decided.landmarks, removals, release_name(config))
    about = _about(config, policy, decided)
    upstream = upstream_files(config.train)
    evidence = gather_evidence(run, about, _evidence_tables(config, policy, decided))
    done = run.begin("write the release and prove it", None)
    folder = write_release(
        release_folder(config),
        upstream=upstream,
        removals=removals,
        reasons=explain(policy, removals),
        about=about,
        extra={
            **evidence,
            "evidence.csv": csv_bytes(_evidence(decided)),
            "table2.csv": render_csv(overlap).encode(),
            "table3.csv": render_csv(sizes).encode(),
        },
        check=partial(_prove, source=upstream[0].parent),
    )
    done(1, None)
    report = _write_page(run, policy, decided, overlap=overlap, sizes=sizes)
    return Published(folder, report, overlap, sizes)


def _prove(folder: Path, *, source: Path) -> None:
    """Refuse a release that a downloader could not prove or read."""
    _, landmarks = read_evidence(folder)
    found = [*verify_release(folder, source=source), *croissant_findings(folder)]
    unseen = read_list(folder / REMOVALS_FILE).keys() - {landmark["landmark_id"] for landmark in landmarks}
    found += [f"{EVIDENCE_FOLDER} shows nothing of landmark_id {landmark}" for landmark in sorted(unseen)]
    if found:
        told = "\n".join(f"  - {text}" for text in found)
        raise CheckError(f"nothing was published, for the release would not be proven:\n{told}")


def report(run: Run) -> Path:
    """Write the report that 'publish' would write now, and no release; return its path.

    Raises:
        ReviewError: the policy needs votes and there are none.
    """
    policy = load_policy(run.config.policy.name)
    decided = _decide(run.config, policy, say=run.say)
    removals = decided.decision.removals
    overlap = overlap_table(
        removals, n_queries=decided.n_queries, duplicated_queries=decided.decision.duplicated_queries
    )
    sizes = _sizes(decided.landmarks, removals, release_name(run.config))
    return _write_page(run, policy, decided, overlap=overlap, sizes=sizes)


def release_name(config: Config) -> str:
    """Return the release's name, by default the run's name with ``-clean``."""
    return config.release.name or f"{config.name}-clean"


def release_folder(config: Config) -> Path:
    """Return where the release lies, or would lie."""
    return config.release.out / f"{release_name(config)}-{config.release.version}"


def _write_page(
    run: Run, policy: Policy, decided: Decided, *, overlap: tuple[OverlapRow, ...], sizes: tuple[SizesRow, ...]
) -> Path:
    done = run.begin("report", None)
    page = write_report(
        run.config.store / f"report-{release_folder(run.config).name}.html",
        gather_content(run.config, policy, decided, overlap=overlap, sizes=sizes),
        thumbnail=make_thumbnails(run.config, run.limits),
    )
    done(1, None)
    return page


def decide_removals(config: Config) -> pa.Table:
    """Return the REMOVALS that 'publish' would make now."""
    return _decide(config, load_policy(config.policy.name), say=lambda line: None).decision.removals


def _decide(config: Config, policy: Policy, *, say: Callable[[str], None]) -> Decided:
    if policy.evidence == "votes":
        audit_votes(config)
    reviews = open_reviews(config)
    items, votes = reviews.read_items(), reviews.counting_votes()
    verified = read_verified(config) if _has_verified(config, policy) else VERIFIED.empty_table()
    if policy.evidence == "scores":
        items, votes = (
            build_items(verified, CANDIDATES.empty_table(), threshold=threshold_of(config.verify)),
            VOTES.empty_table(),
        )
    else:
        _check_votes(config, items, votes, say=say)
    probes = {name: images["image_id"].to_pylist() for name, images in _read_probes(config).items()}
    landmarks = read_landmarks(config.train)
    decision = decide(
        policy,
        items=items,
        votes=votes,
        verified=verified,
        landmarks=landmarks,
        threshold=threshold_of(config.verify),
        queries=probes,
    )
    return Decided(decision, items, votes, verified, landmarks, {name: len(ids) for name, ids in probes.items()})


def _read_probes(config: Config) -> dict[str, pa.Table]:
    """Return the IMAGES that were asked about, by evaluation set: queries, or with search.probes "all" every photo."""
    evaluations = [read_evaluation_set(evaluation) for evaluation in config.evaluation]
    return {evaluation.name: find_probes(config, evaluation) for evaluation in evaluations}


def _has_verified(config: Config, policy: Policy) -> bool:
    """Tell whether verified pairs can be read; a policy on scores can't do without, one on votes can."""
    return policy.evidence == "scores" or is_current(config, "verified")


def _check_votes(config: Config, items: pa.Table, votes: pa.Table, *, say: Callable[[str], None]) -> None:
    if not votes.num_rows and (items.num_rows or not is_current(config, "queue")):
        raise ReviewError(
            f"{items.num_rows} items wait for review and there is no vote yet: let reviewers vote, or bring votes in "
            "with 'overlap votes import'; to decide without people, use --set policy.name=automatic"
        )
    n_open = _count_open(items, votes)
    if n_open:
        say(f"warning: {n_open} of {items.num_rows} items have no vote yet; they count as not confirmed")


def _count_open(items: pa.Table, votes: pa.Table) -> int:
    return len(set(items["item_id"].to_pylist()) - set(votes["item_id"].to_pylist()))


def _sizes(landmarks: pa.Table, removals: pa.Table, name: str) -> tuple[SizesRow, ...]:
    n_images, n_landmarks = pc.sum(landmarks["n_images"]).as_py() or 0, landmarks.num_rows
    n_removed = pc.sum(removals["n_images"]).as_py() or 0
    after = (n_images - n_removed, n_landmarks - removals.num_rows)
    return sizes_table({"training set": (n_images, n_landmarks), name: after})


def _about(config: Config, policy: Policy, decided: Decided) -> dict[str, Any]:
    """Return what release.json says; no times and no paths, so that the same decision gives the same bytes."""
    sections = ("descriptors", "search", "verify", "names")
    return {
        "name": release_name(config),
        "version": config.release.version,
        "made_with": f"landmark-overlap {version('landmark-overlap')}",
        "policy": policy.model_dump(),
        "threshold": threshold_of(config.verify),
        "settings": {name: _without_folders(getattr(config, name).model_dump(mode="json")) for name in sections},
        "training_format": config.train.format,
        "evaluation_sets": {
            name: {"queries": n, "duplicated_queries": decided.decision.duplicated_queries.get(name, 0)}
            for name, n in decided.n_queries.items()
        },
        "items": decided.items.num_rows,
        "items_without_vote": len(
            set(decided.items["item_id"].to_pylist()) - set(decided.votes["item_id"].to_pylist())
        ),
        "votes": decided.votes.num_rows,
        **{name: value for name, value in _publication(config).items() if value},
        "reviewers": len(set(decided.votes["reviewer"].to_pylist())),
    }


def _publication(config: Config) -> dict[str, Any]:
    return config.release.model_dump(mode="json", include={"licence", "authors", "url", "date"})


def _without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Path(value).name if name in ("path", "weights", "matcher_weights") and value else value
        for name, value in values.items()
    }


def _evidence_tables(config: Config, policy: Policy, decided: Decided) -> choose.Decided:
    threshold = review_threshold_of(config.verify, config.review.threshold)
    return choose.Decided(
        decided.decision.removals,
        explain(policy, decided.decision.removals),
        decided.items,
        decided.votes,
        believed(decided.verified, threshold=threshold),
        decided.landmarks,
    )


def _evidence(decided: Decided) -> pa.Table:
    """Return a row for each item that a removal rests on: what was verified, and how many gave which answer."""
    wanted = set(pc.list_flatten(decided.decision.removals["evidence"]).to_pylist())
    verified = {_pair(row): row for row in decided.verified.to_pylist()}
    answers: Counter[tuple[str, str]] = Counter(
        zip(decided.votes["item_id"].to_pylist(), decided.votes["answer"].to_pylist(), strict=True)
    )
    rows = []
    for item in decided.items.to_pylist():
        if item["item_id"] not in wanted:
            continue
        found = verified.get(_pair(item), {})
        row = {name: item[name] for name in _ITEM_COLUMNS} | {name: found.get(name) for name in _VERIFIED_COLUMNS}
        rows.append(row | {answer: answers[item["item_id"], answer] for answer in ANSWERS})
    rows.sort(
        key=lambda row: [str(row[name] or "") for name in ("landmark_id", "evaluation_set", "query_id", "image_id")]
    )
    return pa.Table.from_pylist(rows, schema=_EVIDENCE)


_PHOTOS = ("query_id", "image_id")
_ITEM_COLUMNS = ("item_id", "evaluation_set", "query_id", "image_id", "landmark_id", "origin")
_VERIFIED_COLUMNS = ("n_matches", "n_inliers", "score", "geometry")
_EVIDENCE = pa.schema(
    [
        *(REVIEW_ITEMS.field(name) for name in _ITEM_COLUMNS),
        *(VERIFIED.field(name).with_nullable(True) for name in _VERIFIED_COLUMNS),
        *(pa.field(answer, pa.int64()) for answer in ANSWERS),
    ]
)


def _pair(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["evaluation_set"], row["query_id"], row["image_id"]
