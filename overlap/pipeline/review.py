"""Between machine and people: the review queue, and votes in and out."""

import getpass
import importlib.util
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from overlap.base.config import Config, fingerprint
from overlap.base.errors import ArtifactError, CheckError, ConfigError, DataError
from overlap.base.store import read_table, write_table
from overlap.base.tables import REVIEW_ITEMS
from overlap.datasets.catalogue import list_photos, read_evaluation_set
from overlap.pipeline.photos import find_probes
from overlap.pipeline.run import Run, find_current, read_record, recorded, store_of
from overlap.release.sums import sha256
from overlap.review import reviewers
from overlap.review.desk import now_ms
from overlap.review.imports import Import, Source
from overlap.review.known import Known
from overlap.review.queue import build_items
from overlap.review.store import ReviewStore, open_store
from overlap.review.votes import claim_import, read_truth
from overlap.review.votes import export_votes as export_file
from overlap.review.votes import import_votes as import_file
from overlap.review.votes import simulate_votes as simulate_reviewers
from overlap.verify.pairs import review_threshold_of


def open_reviews(config: Config) -> ReviewStore:
    """Open the review store of a config: its database, or SQLite in the store's folder."""
    return open_store(config.review.database or config.store / "reviews.sqlite")


def build_queue(run: Run, verified: pa.Table, text: pa.Table) -> pa.Table:
    """Put the pairs at or above the review threshold, and the text candidates, before the reviewers.

    Returns:
        REVIEW_ITEMS of this run; the review store keeps earlier ones too.
    """
    with recorded(run, "queue") as finish:
        threshold = review_threshold_of(run.config.verify, run.config.review.threshold)
        items = build_items(verified, text, threshold=threshold)
        whole = fingerprint("queue", items["item_id"].to_pylist(), items["score"].to_pylist())
        if not run.store.exists("queue", whole):
            with run.store.put("queue", whole) as folder:
                write_table(folder, "items", items)
        open_reviews(run.config).add_items(items)
        finish(whole, items=items.num_rows, groups=len(set(items["group_id"].to_pylist())))
    return items


def check_queue(config: Config) -> None:
    """Check that there is something to review.

    Raises:
        ArtifactError: 'curate' did not come so far yet.
    """
    if read_record(store_of(config), "queue") is None and not open_reviews(config).read_items().num_rows:
        raise ArtifactError(
            f"{config.store}: there is no review queue yet; run 'overlap curate' with this config to its end first"
        )


def read_queue(config: Config) -> pa.Table:
    """Return the REVIEW_ITEMS of the last 'curate'."""
    return read_table(find_current(config, "queue"), "items", REVIEW_ITEMS)


def import_votes(config: Config, path: Path) -> int:
    """Add the votes of a CSV file and return how many were new, or brought back from a void import.

    Raises:
        DataError: the file or a vote in it is wrong, or the lists of a set can't be read.
    """
    source = Source(_text(path.name), _sha256(path), _who(), now_ms())
    return import_file(open_reviews(config), path, known=_known(config), source=source)


def list_imports(config: Config) -> list[str]:
    """Return a line for every import: number, time, who, votes, file, and why it is void if it is."""
    return [_import_line(each) for each in open_reviews(config).imports()]


def void_import(config: Config, which: str, *, reason: str) -> tuple[int, int]:
    """Declare an import void, for good, and return its number and how many votes count no more.

    Args:
        which: its number, or the file of one from before imports were written down, which it is now.

    Raises:
        ReviewError: there is no such import, it is void already, or no reason is given.
        DataError: the file is no vote file.
    """
    reviews, path = open_reviews(config), Path(which)
    if which.isascii() and which.isdecimal():
        number = int(which)
    else:
        number = claim_import(reviews, path, source=Source(_text(path.name), _sha256(path), _who(), now_ms()))
    return number, reviews.void(number, reason=_text(reason), who=_who(), now_ms=now_ms())


def _known(config: Config) -> Known:
    evaluations = [read_evaluation_set(evaluation) for evaluation in config.evaluation]
    image_ids, landmark_ids = list_photos(config.train)
    return Known(
        probes={each.name: set(find_probes(config, each)["image_id"].to_pylist()) for each in evaluations},
        photos={each.name: set(each.photos["image_id"].to_pylist()) for each in evaluations},
        image_ids=image_ids,
        landmark_ids=landmark_ids,
        now=datetime.fromtimestamp(now_ms() / 1000, UTC),
    )


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file; none of a pipe, which can be read but once."""
    try:
        return sha256(path) if path.is_file() else ""
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}; let the user who runs this read it") from None


def _text(words: str) -> str:
    """Return what the command line gave as text that a database takes, whatever the terminal's encoding."""
    return words.encode(errors="replace").decode()


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user whom it knows no name of
        return f"user {os.getuid()}"


def _import_line(each: Import) -> str:
    moment = datetime.fromtimestamp(each.source.at_ms / 1000, UTC).isoformat(timespec="seconds")
    void = "" if each.reason is None else f"\tvoid: {each.reason}"
    return f"{each.number}\t{moment}\t{each.source.who}\t{each.n_votes:,} votes\t{each.source.file}{void}"


def export_votes(config: Config, path: Path) -> int:
    """Write every vote as CSV and return how many there are."""
    return export_file(open_reviews(config), path)


def simulate_votes(config: Config, truth: Path, *, reviewers: int, error_rate: float, seed: int) -> int:
    """Let simulated reviewers answer every item of the review store; return how many votes were new.

    They are written down as an import, which can be declared void.
    """
    reviews = open_reviews(config)
    items = reviews.read_items()
    votes = simulate_reviewers(items, read_truth(truth), reviewers=reviewers, error_rate=error_rate, seed=seed)
    source = Source(f"simulated from {_text(truth.name)}", _sha256(truth), _who(), now_ms())
    return reviews.merge_votes(items, votes, source=source)


def audit_votes(config: Config, *, expect: str | None = None) -> tuple[int, str]:
    """Return how many votes there are and the head of their chain.

    Args:
        expect: the head of an earlier audit, which must be in the chain's past.

    Raises:
        CheckError: a vote or item was changed, or votes are missing.
    """
    n_votes, head, breaks = open_reviews(config).audit(expect=expect)
    if breaks:
        raise CheckError("the log of votes is not as it was written:\n" + "\n".join(f"  - {text}" for text in breaks))
    return n_votes, head


def add_reviewer(config: Config, name: str, *, role: str) -> str:
    """Add a reviewer and return the token."""
    return reviewers.add_reviewer(open_reviews(config), name, role=role, now_ms=now_ms())


def revoke_reviewer(config: Config, name: str) -> None:
    """Revoke a reviewer's access."""
    reviewers.revoke_reviewer(open_reviews(config), name, now_ms=now_ms())


def list_reviewers(config: Config) -> list[str]:
    """Return a line for everyone."""
    rows = reviewers.list_reviewers(open_reviews(config)).to_pylist()
    return [f"{row['name']}\t{row['role']}{', revoked' if row['revoked'] else ''}" for row in rows]


def serve_app(config: Path, overrides: Sequence[str]) -> None:
    """Become the review app's server.

    Raises:
        ConfigError: the extra ``review`` is not installed.
    """
    missing = [name for name in ("review_app", "streamlit", "argon2", "cv2") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"the review app needs {', '.join(missing)}: install the project with its extra 'review'")
    options = [word for override in overrides for word in ("--set", override)]
    command = [sys.executable, "-m", "review_app.serve", "--config", str(config), *options]
    # What the encoding lacks is shown as an escape there, too.
    os.environ["PYTHONIOENCODING"] = f"{getattr(sys.stdout, 'encoding', 'utf-8')}:backslashreplace"
    os.execv(sys.executable, command)  # noqa: S606 (our own module, no shell)
