"""From votes to a release: decide, write the manifests, and show the paper's tables and a report."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config
from overlap.base.errors import CheckError
from overlap.base.grids import render_text
from overlap.base.sheets import csv_bytes
from overlap.base.tables import ANSWERS, REVIEW_ITEMS, STATES, VERIFIED, VOTES
from overlap.datasets.catalogue import upstream_files
from overlap.decisions.decide import Decision, describe_review
from overlap.decisions.items import believed
from overlap.decisions.policy import Policy, load_policy
from overlap.evidence import choose
from overlap.evidence.compare import EVIDENCE_FOLDER, read_evidence
from overlap.pipeline.decisions import Material, decide_by, read_material
from overlap.pipeline.evidence import gather_evidence
from overlap.pipeline.report import gather_content, make_thumbnails
from overlap.pipeline.review import open_reviews
from overlap.pipeline.run import Run
from overlap.release.croissant import croissant_findings
from overlap.release.sums import seal_of
from overlap.release.tables import read_list
from overlap.release.verify import verify_release
from overlap.release.write import REMOVALS_FILE, write_release
from overlap.report.page import write_report
from overlap.report.tables import OverlapRow, SizesRow, overlap_grid, overlap_table, render_csv, sizes_grid, sizes_table
from overlap.verify.pairs import review_threshold_of, threshold_of


@dataclass(frozen=True)
class Published:
    """Say what 'publish' wrote, and the paper's Tables 2 and 3 of it."""

    folder: Path
    report: Path
    overlap: tuple[OverlapRow, ...]
    sizes: tuple[SizesRow, ...]


def describe_published(published: Published) -> str:
    """Return the paper's Tables 2 and 3 of a release, where it lies, and its seal."""
    grids = (overlap_grid(published.overlap), sizes_grid(published.sizes))
    places = f"manifest: {published.folder}\nseal:     {seal_of(published.folder)}\nreport:   {published.report}"
    return "\n".join([*map(render_text, grids), places])


@dataclass(frozen=True)
class _Decided:
    """Hold a decision, what it was made from, and its tables."""

    policy: Policy
    material: Material
    decision: Decision
    overlap: tuple[OverlapRow, ...]
    sizes: tuple[SizesRow, ...]


def publish(run: Run) -> Published:
    """Decide by the policy, write the release folder and the report.

    Raises:
        ReviewError: the policy needs votes and there are none.
        DataError: an upstream file is wrong.
        CheckError: a vote was changed, the release is there with other content, or it is not proven.
    """
    config, decided = run.config, _decide(run)
    about = _about(config, decided)
    upstream = upstream_files(config.train)
    evidence = gather_evidence(run, about, _evidence_tables(config, decided))
    done = run.begin("write the release and prove it", None)
    folder = write_release(
        release_folder(config),
        upstream=upstream,
        removals=decided.decision.removals,
        reasons=decided.decision.reasons,
        about=about,
        extra={
            **evidence,
            "evidence.csv": csv_bytes(_evidence(decided)),
            "table2.csv": render_csv(decided.overlap).encode(),
            "table3.csv": render_csv(decided.sizes).encode(),
        },
        check=partial(_prove, source=upstream[0].parent),
    )
    done(1, None)
    return Published(folder, _write_page(run, decided), decided.overlap, decided.sizes)


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
    return _write_page(run, _decide(run))


def release_name(config: Config) -> str:
    """Return the release's name, by default the run's name with ``-clean``."""
    return config.release.name or f"{config.name}-clean"


def release_folder(config: Config) -> Path:
    """Return where the release lies, or would lie."""
    return config.release.out / f"{release_name(config)}-{config.release.version}"


def _decide(run: Run) -> _Decided:
    config, policy = run.config, load_policy(run.config.policy.name)
    done = run.begin("decide", None)
    material = read_material(config)
    decision = decide_by(config, policy, material)
    done(1, None)
    if policy.evidence == "votes":
        run.say(f"review {describe_review(decision.rule, decision.n_for_removals, decision.n_for_figures)}")
    queries = {name: len(ids) for name, ids in material.queries.items()}
    overlap = overlap_table(
        decision.removals,
        n_queries=queries,
        duplicated_queries=decision.duplicated_queries,
        not_asked_queries=decision.not_asked_queries,
    )
    sizes = _sizes(material.landmarks, decision.removals, release_name(config))
    return _Decided(policy, material, decision, overlap, sizes)


def _write_page(run: Run, decided: _Decided) -> Path:
    config, done = run.config, run.begin("report", None)
    content = gather_content(
        config, decided.policy, decided.decision, decided.material, overlap=decided.overlap, sizes=decided.sizes
    )
    path = config.store / f"report-{release_folder(config).name}.html"
    page = write_report(path, content, thumbnail=make_thumbnails(config, run.limits))
    done(1, None)
    return page


def _sizes(landmarks: pa.Table, removals: pa.Table, name: str) -> tuple[SizesRow, ...]:
    n_images, n_landmarks = pc.sum(landmarks["n_images"]).as_py() or 0, landmarks.num_rows
    n_removed = pc.sum(removals["n_images"]).as_py() or 0
    after = (n_images - n_removed, n_landmarks - removals.num_rows)
    return sizes_table({"training set": (n_images, n_landmarks), name: after})


def _about(config: Config, decided: _Decided) -> dict[str, Any]:
    """Return what release.json says; no times and no paths, so that the same decision gives the same bytes."""
    sections, decision, votes = ("descriptors", "search", "verify", "names"), decided.decision, _counted_votes(decided)
    states = Counter(decision.items["state"].to_pylist())
    return {
        "name": release_name(config),
        "version": config.release.version,
        "made_with": f"landmark-overlap {version('landmark-overlap')}",
        "policy": decided.policy.model_dump(),
        "threshold": threshold_of(config.verify),
        "settings": {name: _without_folders(getattr(config, name).model_dump(mode="json")) for name in sections},
        "training_format": config.train.format,
        "evaluation_sets": {
            name: {
                "queries": len(queries),
                "duplicated_queries": decision.duplicated_queries.get(name, 0),
                "not_asked_queries": decision.not_asked_queries.get(name, 0),
            }
            for name, queries in decided.material.queries.items()
        },
        "items": decision.items.num_rows,
        "item_states": {state: states[state] for state in STATES},
        "review": decision.review,
        "votes": votes.num_rows,
        **{name: value for name, value in _publication(config).items() if value},
        **_void_imports(config, decided.policy),
        "reviewers": len(set(votes["reviewer"].to_pylist())),
    }


def _counted_votes(decided: _Decided) -> pa.Table:
    """Return the VOTES that the policy looked at."""
    return decided.material.votes if decided.policy.evidence == "votes" else VOTES.empty_table()


def _publication(config: Config) -> dict[str, Any]:
    return config.release.model_dump(mode="json", include={"licence", "authors", "url", "date"})


def _void_imports(config: Config, policy: Policy) -> dict[str, Any]:
    """Return the imports of votes that were declared void, with the reasons; nothing where there are none."""
    imports = open_reviews(config).imports() if policy.evidence == "votes" else []
    void = [
        {"import": each.number, "file": each.source.file, "votes": each.n_votes, "reason": each.reason}
        for each in imports
        if each.reason is not None
    ]
    return {"void_imports": void} if void else {}


def _without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Path(value).name if name in ("path", "weights", "matcher_weights") and value else value
        for name, value in values.items()
    }


def _evidence_tables(config: Config, decided: _Decided) -> choose.Decided:
    threshold = review_threshold_of(config.verify, config.review.threshold)
    return choose.Decided(
        decided.decision.items,
        decided.decision.landmarks,
        _counted_votes(decided),
        believed(decided.material.verified, threshold=threshold),
    )


def _evidence(decided: _Decided) -> pa.Table:
    """Return a row for each item that a removal rests on: what was verified, and how many gave which answer."""
    wanted = set(pc.list_flatten(decided.decision.removals["evidence"]).to_pylist())
    verified = {_pair(row): row for row in decided.material.verified.to_pylist()}
    votes = _counted_votes(decided)
    answers = Counter(zip(votes["item_id"].to_pylist(), votes["answer"].to_pylist(), strict=True))
    rows = []
    for item in decided.decision.items.to_pylist():
        if item["item_id"] not in wanted:
            continue
        found = verified.get(_pair(item), {})
        row = {name: item[name] for name in _ITEM_COLUMNS} | {name: found.get(name) for name in _VERIFIED_COLUMNS}
        rows.append(row | {answer: answers[item["item_id"], answer] for answer in ANSWERS})
    rows.sort(
        key=lambda row: [str(row[name] or "") for name in ("landmark_id", "evaluation_set", "query_id", "image_id")]
    )
    return pa.Table.from_pylist(rows, schema=_EVIDENCE)


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
