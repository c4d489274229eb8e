from datetime import UTC, datetime

import pytest

from overlap.report.gather import (
    Evidence,
    Limits,
    count_answers,
    count_statuses,
    first_quarantined,
    gather_landmarks,
    split_scores,
)
from overlap.tables import LANDMARKS, QUARANTINE, REMOVALS, REVIEW_ITEMS, VERIFIED, VOTES, as_table

REVIEWERS = ("Zacharias Secretname", "Ottilie Hidden", "Balthasar Private")


def item(name, landmark_id, score=0.9, evaluation_set="oxford", origin="global"):
    query, image = name.split("/") if "/" in name else (None, None)
    return {
        "item_id": name,
        "group_id": f"{query}-{landmark_id}",
        "evaluation_set": "" if query is None else evaluation_set,
        "query_id": query,
        "image_id": image,
        "landmark_id": landmark_id,
        "origin": origin if query else "text",
        "score": score if query else None,
    }


def check(row, n_inliers, status="ok"):
    pair = {name: row[name] for name in ("evaluation_set", "query_id", "image_id", "landmark_id", "score")}
    return pair | {
        "n_matches": 2 * n_inliers,
        "n_inliers": n_inliers,
        "status": status,
        "geometry": "none",
        "matrix": None,
    }


def votes_on(row, *answers):
    return [
        {name: row[name] for name in ("item_id", "group_id", "evaluation_set", "query_id", "image_id", "landmark_id")}
        | {
            "vote_id": f"{row['item_id']}-{reviewer}",
            "reviewer": reviewer,
            "answer": answer,
            "voted_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for reviewer, answer in zip(REVIEWERS, answers, strict=False)
    ]


def removal(landmark_id, n_images, evidence, origin="global"):
    return {
        "landmark_id": landmark_id,
        "landmark_name": f"name {landmark_id}",
        "evaluation_set": "oxford",
        "origin": origin,
        "n_queries": 2,
        "n_confirmed": 1,
        "n_images": n_images,
        "evidence": evidence,
    }


ITEMS = [
    item("q1/a", 1, 0.6),
    item("q1/b", 1, 0.9),
    item("q1/c", 1, 0.95),
    item("q2/a", 1, 0.8),
    item("q2/b", 1, 0.7),
    item("q2/d", 2, 0.9),
    item("q2/e", 3, 0.99),
    item("q2/f", 4, 0.4),
    item("q3/g", 5, 0.5),
    item("text-6", 6),
    item("text-7", 7),
    item("text-8", 8),
]
VOTES_CAST = [
    *votes_on(ITEMS[0], "same", "same_other_side", "unsure"),
    *votes_on(ITEMS[1], "same"),
    *votes_on(ITEMS[2], "different", "same_site"),
    *votes_on(ITEMS[3], "same"),
    *votes_on(ITEMS[5], "same"),
    *votes_on(ITEMS[6], "different", "unsure"),
    *votes_on(ITEMS[9], "same", "same"),
    *votes_on(ITEMS[11], "different"),
]
CHECKS = [check(row, 100 + position) for position, row in enumerate(ITEMS[:9])]


def evidence(**changes):
    tables = {
        "removals": as_table([removal(1, 10, ["q1/a", "q1/b", "q2/a"]), removal(6, 23, ["text-6"], "text")], REMOVALS),
        "items": as_table(ITEMS, REVIEW_ITEMS),
        "votes": as_table(VOTES_CAST, VOTES),
        "verified": as_table(CHECKS, VERIFIED),
        "landmarks": as_table(
            [{"landmark_id": i, "landmark_name": f"name {i}", "n_images": 10 * i} for i in range(1, 9)], LANDMARKS
        ),
        "threshold": 0.5,
        "photos": {6: ("x", "y")},
    }
    return Evidence(**(tables | changes))


def test_removed_landmarks_show_their_queries_and_photos_best_first():
    text, visual = gather_landmarks(evidence()).removed
    assert (visual.landmark_id, visual.n_images, visual.removed) == (1, 10, True)
    assert visual.reason == "1 photo is confirmed to show the landmark of 2 queries."
    assert [gallery.query_id for gallery in visual.galleries] == ["q1", "q2"]
    assert [pair.image_id for pair in visual.galleries[0].pairs] == ["b", "a", "c"], "confirmed first, then by score"
    assert [pair.confirmed for pair in visual.galleries[0].pairs] == [True, True, False]
    assert text.landmark_id == 6, "most photos first"


def test_a_pair_shows_its_verification_and_its_answers():
    pair = gather_landmarks(evidence()).removed[1].galleries[0].pairs[1]
    assert (pair.image_id, pair.n_inliers, pair.n_matches) == ("a", 100, 200)
    assert pair.score == pytest.approx(0.6)
    assert pair.answers == {"same": 1, "same_other_side": 1, "unsure": 1}


def test_a_pair_that_was_not_verified_shows_the_score_of_its_item():
    pairs = gather_landmarks(evidence(verified=VERIFIED.empty_table())).removed[1].galleries[0].pairs
    assert [(round(pair.score, 2), pair.n_inliers) for pair in pairs] == [(0.9, None), (0.6, None), (0.95, None)]


def test_a_landmark_removed_by_its_name_shows_its_own_photos_and_answers():
    text = gather_landmarks(evidence()).removed[0]
    assert text.answers == {"same": 2}
    assert text.reason.startswith("Its name holds a word")
    (gallery,) = text.galleries
    assert gallery.query_id is None
    assert [pair.image_id for pair in gallery.pairs] == ["x", "y"]
    assert gather_landmarks(evidence(photos={})).removed[0].galleries == ()


def test_a_landmark_removed_by_its_name_shows_its_pairs_where_there_are_some():
    rows = as_table([*ITEMS, item("q4/h", 6, 0.2)], REVIEW_ITEMS)
    (gallery,) = gather_landmarks(evidence(items=rows)).removed[0].galleries
    assert (gallery.query_id, [pair.image_id for pair in gallery.pairs]) == ("q4", ["h"])


def test_suspicious_landmarks_that_stay_are_said_with_the_reason():
    found = gather_landmarks(evidence())
    assert [(view.landmark_id, view.reason) for view in found.kept] == [
        (2, "Reviewers confirmed a photo, but the policy keeps the landmark."),
        (3, "Verified by geometry, but no reviewer confirmed it."),
        (5, "Verified by geometry; nobody has voted on it yet."),
    ]
    assert found.n_kept == 3
    assert (found.kept[0].name, found.kept[0].n_images, found.kept[0].evaluation_set) == ("name 2", 20, "oxford")


def test_text_candidates_are_listed_removed_first_then_the_largest():
    text = gather_landmarks(evidence()).text
    assert [(view.landmark_id, view.removed, view.answers) for view in text] == [
        (6, True, {"same": 2}),
        (8, False, {"different": 1}),
        (7, False, {}),
    ]


def test_limits_bound_what_is_shown_and_the_counts_stay_whole():
    found = gather_landmarks(
        evidence(limits=Limits(galleries_per_landmark=1, photos_per_gallery=2, kept_landmarks=1, quarantined=1))
    )
    visual = found.removed[1]
    assert (len(visual.galleries), visual.n_galleries) == (1, 2)
    assert (len(visual.galleries[0].pairs), visual.galleries[0].n_pairs) == (2, 3)
    assert (len(found.kept), found.n_kept) == (1, 3)


def test_evidence_of_a_policy_without_people_counts_as_confirmed():
    visual = gather_landmarks(evidence(votes=VOTES.empty_table())).removed[1]
    confirmed = [pair.image_id for gallery in visual.galleries for pair in gallery.pairs if pair.confirmed]
    assert sorted(confirmed) == ["a", "a", "b"]


def test_no_reviewer_is_named():
    assert not any(name in repr(gather_landmarks(evidence())) for name in REVIEWERS)


def test_the_order_of_the_rows_changes_nothing():
    turned = evidence(
        items=as_table(ITEMS[::-1], REVIEW_ITEMS),
        votes=as_table(VOTES_CAST[::-1], VOTES),
        verified=as_table(CHECKS[::-1], VERIFIED),
    )
    assert gather_landmarks(turned) == gather_landmarks(evidence())


def test_nothing_gives_nothing():
    schemas = {
        "removals": REMOVALS,
        "items": REVIEW_ITEMS,
        "votes": VOTES,
        "verified": VERIFIED,
        "landmarks": LANDMARKS,
    }
    found = gather_landmarks(evidence(**{name: schema.empty_table() for name, schema in schemas.items()}))
    assert (found.removed, found.kept, found.n_kept, found.text) == ((), (), 0, ())


def test_scores_are_split_by_what_people_said():
    tables = evidence()
    failed = check(item("q9/z", 9, 0.0), 3, status="no_model")
    split = split_scores(as_table([*CHECKS, failed], VERIFIED), tables.items, tables.votes, threshold=0.5)
    assert sorted(round(score, 2) for score in split.confirmed) == [0.6, 0.8, 0.9, 0.9]
    assert sorted(round(score, 2) for score in split.rejected) == [0.95, 0.99]
    assert sorted(round(score, 2) for score in split.unreviewed) == [0.4, 0.5, 0.7]
    assert split.threshold == 0.5


def test_counts_are_in_the_fixed_order():
    assert count_answers(as_table(VOTES_CAST, VOTES)) == {
        "same": 6,
        "same_other_side": 1,
        "same_site": 1,
        "different": 3,
        "unsure": 2,
    }
    assert count_statuses(as_table(CHECKS, VERIFIED))["ok"] == 9
    assert count_answers(VOTES.empty_table()) == {}
    assert count_statuses(VERIFIED.empty_table()) == {}


def test_quarantined_photos_are_bounded():
    rows = [{"image_id": str(i), "source": "gldv2", "path": f"{i}.jpg", "reason": "truncated"} for i in range(3)]
    found = first_quarantined(as_table(rows, QUARANTINE), Limits(quarantined=2))
    assert [(photo.image_id, photo.reason) for photo in found] == [("0", "truncated"), ("1", "truncated")]
