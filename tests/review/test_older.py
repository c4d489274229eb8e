"""A review database of an older version: three reviewers, gold, closure, audit, undo, a second look, imported votes.

``older/reviews.sqlite.gz`` was written before decisions had a table of their own, by the desk and the import of commit
35ebb90; ``older/reviews.json`` holds what that version said of it.
"""

import gzip
import json
from pathlib import Path

import pytest

from overlap.base.tables import LANDMARKS, VERIFIED, as_table
from overlap.decisions.decide import decide
from overlap.decisions.policy import load_policy
from overlap.review.ids import item_id
from overlap.review.store import open_store

OLDER = Path(__file__).parent / "older"


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "reviews.sqlite"
    path.write_bytes(gzip.decompress((OLDER / "reviews.sqlite.gz").read_bytes()))
    path.chmod(0o600)
    return open_store(path)


@pytest.fixture(scope="module")
def said():
    return json.loads((OLDER / "reviews.json").read_text(encoding="utf-8"))


def test_its_chain_is_whole_and_every_vote_is_on_its_item(store, said):
    assert store.audit(expect=said["head"]) == (said["n_votes"], said["head"], [])
    votes = store.read_votes().to_pylist()
    assert {row["vote_id"]: row["item_id"] for row in votes} == said["votes"]
    for row in votes:
        assert row["item_id"] == item_id(
            *(row[name] for name in ("evaluation_set", "query_id", "image_id", "landmark_id"))
        )


@pytest.mark.parametrize("policy", ["paper", "all-confirmed", "strict"])
def test_its_removals_are_the_same(store, said, policy):
    rows = [{"landmark_id": number, "landmark_name": f"L{number}", "n_images": 9} for number in range(30)]
    decision = decide(
        load_policy(policy).rule(reviewers=3, figures=True),
        items=store.read_items(),
        votes=store.counting_votes(),
        verified=VERIFIED.empty_table(),
        landmarks=as_table(rows, LANDMARKS),
        threshold=0.5,
    )
    assert decision.removals["landmark_id"].to_pylist() == said["removed"][policy]
