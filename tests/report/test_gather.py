import dataclasses
from datetime import UTC, datetime

import pytest

from overlap.base.tables import LANDMARKS, OUTCOMES, QUARANTINE, REVIEW_ITEMS, VERIFIED, VOTES, as_table
from overlap.decisions.decide import decide
from overlap.decisions.rule import Rule
from overlap.report.gather import (
    Evidence,
    Limits,
    count_answers,
    count_statuses,
    first_quarantined,
    gather_landmarks,
    split_scores,
)
from overlap.report.page import Beaten

REVIEWERS = ("Zacharias Secretname", "Ottilie Hidden", "Balthasar Private")


def item(name, landmark_id, score=0.9, origin=None):
    query, image = name.split("/") if "/" in name else (None, None)
    return {
        "item_id": name,
        "group_id": f"{query}-{landmark_id}",
        "evaluation_set": "oxford" if query else "",
        "query_id": query,
        "image_id": image,
        "landmark_id": landmark_id,
        "origin": origin or ("global" if query else "text"),
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


# Query q2 has three confirmed photos of landmark 1 and one of landmark 2, which so stays.
ITEMS = [
    item("q1/a", 1, 0.6),
    item("q1/b", 1, 0.9),
    item("q1/c", 1, 0.95),
    item("q2/a", 1, 0.8),
    item("q2/b", 1, 0.7),
    item("q2/h", 1, 0.65),
    item("q2/d", 2, 0.9),
    item("q2/e", 3, 0.99),
    item("q2/f", 4, 0.4),
    item("q3/g", 5, 0.5),
    item("text-6", 6),
    item("text-7", 7),
    item("text-8", 8),
]
BY_NAME = {row["item_id"]: row for row in ITEMS}
VOTES_CAST = [
    *votes_on(BY_NAME["q1/a"], "same", "same_other_side", "unsure"),
    *votes_on(BY_NAME["q1/b"], "same"),
    *votes_on(BY_NAME["q1/c"], "different", "same_site"),
    *(vote for photo in "abh" for vote in votes_on(BY_NAME[f"q2/{photo}"], "same")),
    *votes_on(BY_NAME["q2/d"], "same"),
    *votes_on(BY_NAME["q2/e"], "different", "unsure", "different"),
    *votes_on(BY_NAME["text-6"], "same", "same"),
    *votes_on(BY_NAME["text-8"], "different", "different", "same_site"),
]
CHECKS = [check(row, 100 + position) for position, row in enumerate(ITEMS) if row["query_id"]]
NAMED = [{"landmark_id": i, "landmark_name": f"name {i}", "n_images": 10 * i} for i in range(1, 10)]


def evidence(rule=Rule(), *, items=ITEMS, votes=VOTES_CAST, checks=CHECKS, **changes):
    tables = {
        "items": as_table(items, REVIEW_ITEMS),
        "votes": as_table(votes, VOTES),
        "verified": as_table(checks, VERIFIED),
    }
    decision = decide(rule, **tables, landmarks=as_table(NAMED, LANDMARKS), threshold=0.5)
    decided = {"items": decision.items, "landmarks": decision.landmarks}
    return Evidence(**(tables | decided | {"threshold": 0.5, "photos": {6: ("x", "y")}} | changes))


def gallery_of(view, query_id):
    [found] = [gallery for gallery in view.galleries if gallery.query_id == query_id]
    return found


def test_removed_landmarks_show_their_queries_and_photos_best_first():
    text, visual = gather_landmarks(evidence()).removed
    assert (visual.landmark_id, visual.name, visual.n_images, visual.removed) == (1, "name 1", 10, True)
    assert (visual.evaluation_set, visual.origin, visual.beaten) == ("oxford", "global", ())
    assert visual.reason == (
        "At least 1 reviewer confirmed at least 3 photos of it for 2 queries of oxford, and at least one query has "
        "none more often."
    )
    assert [gallery.query_id for gallery in visual.galleries] == ["q2", "q1"], "most confirmed first, then by score"
    pairs = gallery_of(visual, "q1").pairs
    assert [pair.image_id for pair in pairs] == ["b", "a", "c"], "confirmed first, then by score"
    assert [pair.state for pair in pairs] == ["confirmed", "confirmed", "not_asked"]
    assert text.landmark_id == 6, "most photos first"


def test_a_pair_shows_its_verification_and_its_answers():
    pair = gallery_of(gather_landmarks(evidence()).removed[1], "q1").pairs[1]
    assert (pair.image_id, pair.n_inliers, pair.n_matches) == ("a", 100, 200)
    assert pair.score == pytest.approx(0.6)
    assert pair.answers == {"same": 1, "same_other_side": 1, "unsure": 1}


def test_a_pair_that_was_not_verified_shows_the_score_of_its_item():
    pairs = gallery_of(gather_landmarks(evidence(checks=[])).removed[1], "q1").pairs
    assert [(round(pair.score, 2), pair.n_inliers) for pair in pairs] == [(0.9, None), (0.6, None), (0.95, None)]


def test_a_landmark_removed_by_its_name_shows_its_own_photos_and_answers():
    text = gather_landmarks(evidence()).removed[0]
    assert text.answers == {"same": 2}
    assert text.reason == "Its name suggests an evaluation set, and at least 1 reviewer confirmed that it is in one."
    (gallery,) = text.galleries
    assert gallery.query_id is None
    assert [pair.image_id for pair in gallery.pairs] == ["x", "y"]
    assert gather_landmarks(evidence(photos={})).removed[0].galleries == ()


def test_a_landmark_removed_by_its_name_shows_its_pairs_where_there_are_some():
    text = gather_landmarks(evidence(items=[*ITEMS, item("q4/h", 6, 0.2)])).removed[0]
    (gallery,) = text.galleries
    assert (gallery.query_id, [(pair.image_id, pair.state) for pair in gallery.pairs]) == ("q4", [("h", "open")])
    assert text.reason.endswith("confirmed that it is in one (1 query not asked).")


def test_suspicious_landmarks_that_stay_are_said_with_the_reason():
    found = gather_landmarks(evidence())
    assert [(view.landmark_id, view.reason) for view in found.kept] == [
        (2, "1 item: 1 confirmed; landmark 1 has more confirmed photos of 1 query."),
        (3, "1 item: 1 rejected."),
        (5, "1 item: 1 open."),
    ]
    assert found.n_kept == 3
    assert (found.kept[0].name, found.kept[0].n_images, found.kept[0].evaluation_set) == ("name 2", 20, "oxford")
    shown = [pair.state for view in found.kept for gallery in view.galleries for pair in gallery.pairs]
    assert shown == ["confirmed", "rejected", "open"]


def test_what_beat_a_landmark_that_stays_is_named_with_its_queries():
    found = gather_landmarks(evidence())
    assert [view.beaten for view in found.kept] == [(Beaten("oxford", "q2", 1, "name 1"),), (), ()]
    tie = [item("q5/k", 9), item("q5/m", 8)]
    tied = evidence(
        Rule(ties="none"), items=[*ITEMS, *tie], votes=[*VOTES_CAST, *(v for row in tie for v in votes_on(row, "same"))]
    )
    beaten = {view.landmark_id: view.beaten for view in gather_landmarks(tied).kept}
    assert beaten[8] == (Beaten("oxford", "q5", 9, "name 9"),)
    assert beaten[9] == (Beaten("oxford", "q5", 8, "name 8"),)


def test_text_candidates_are_listed_removed_first_then_the_largest():
    text = gather_landmarks(evidence()).text
    assert [(view.landmark_id, view.removed, view.state, view.answers) for view in text] == [
        (6, True, "confirmed", {"same": 2}),
        (8, False, "rejected", {"different": 2, "same_site": 1}),
        (7, False, "open", {}),
    ]


def test_kin_of_confirmed_landmarks_have_a_list_of_their_own_and_audited_ones_none():
    kin, audited = item("kin-9", 9, origin="closure"), item("audit-5", 5, origin="audit")
    found = gather_landmarks(evidence(items=[*ITEMS, kin, audited], votes=[*VOTES_CAST, *votes_on(kin, "same")]))
    assert [(view.landmark_id, view.removed, view.state) for view in found.proposed] == [(9, False, "confirmed")]
    assert [view.landmark_id for view in found.text] == [6, 8, 7]


def test_limits_bound_what_is_shown_and_the_counts_stay_whole():
    found = gather_landmarks(
        evidence(limits=Limits(galleries_per_landmark=1, photos_per_gallery=2, kept_landmarks=1, quarantined=1))
    )
    visual = found.removed[1]
    assert (len(visual.galleries), visual.n_galleries) == (1, 2)
    assert (len(visual.galleries[0].pairs), visual.galleries[0].n_pairs) == (2, 3)
    assert (len(found.kept), found.n_kept) == (1, 3)


def test_what_a_policy_without_people_decided_is_shown_alike():
    found = gather_landmarks(evidence(Rule(evidence="scores", whole=frozenset()), votes=[]))
    states = {
        (view.landmark_id, gallery.query_id, pair.image_id): pair.state
        for view in (*found.removed, *found.kept)
        for gallery in view.galleries
        for pair in gallery.pairs
    }
    reached = [(row["landmark_id"], row["query_id"], row["image_id"]) for row in ITEMS if (row["score"] or 0) >= 0.5]
    assert states == dict.fromkeys(reached, "confirmed")
    assert [(view.landmark_id, view.answers) for view in found.removed] == [(5, {}), (1, {})]
    assert found.removed[1].reason == (
        "The verification score confirmed 4 photos of it for 2 queries of oxford, and at least one query has none more "
        "often."
    )


def test_no_reviewer_is_named():
    assert not any(name in repr(gather_landmarks(evidence())) for name in REVIEWERS)


def test_the_order_of_the_rows_changes_nothing():
    turned = evidence(items=ITEMS[::-1], votes=VOTES_CAST[::-1], checks=CHECKS[::-1])
    outcomes = as_table(turned.landmarks.to_pylist()[::-1], OUTCOMES)
    assert gather_landmarks(dataclasses.replace(turned, landmarks=outcomes)) == gather_landmarks(evidence())


def test_nothing_gives_nothing():
    found = gather_landmarks(evidence(items=[], votes=[], checks=[]))
    assert (found.removed, found.kept, found.n_kept, found.text, found.proposed) == ((), (), 0, (), ())


def test_scores_are_split_by_what_became_of_their_pairs():
    failed, unqueued = check(item("q9/z", 9, 0.0), 3, status="no_model"), check(item("q9/y", 9, 0.3), 3)
    tables = evidence()
    split = split_scores(as_table([*CHECKS, failed, unqueued], VERIFIED), tables.items, threshold=0.5)
    assert sorted(round(score, 2) for score in split.confirmed) == [0.6, 0.65, 0.7, 0.8, 0.9, 0.9]
    assert [round(score, 2) for score in split.rejected] == [0.99]
    assert sorted(round(score, 2) for score in split.undecided) == [0.3, 0.4, 0.5, 0.95]
    assert split.threshold == 0.5


def test_counts_are_in_the_fixed_order():
    found = count_answers(as_table(VOTES_CAST, VOTES))
    assert list(found.items()) == [
        ("same", 8),
        ("same_other_side", 1),
        ("same_site", 2),
        ("different", 5),
        ("unsure", 2),
    ]
    assert count_statuses(as_table(CHECKS, VERIFIED))["ok"] == 10
    assert count_answers(VOTES.empty_table()) == {}
    assert count_statuses(VERIFIED.empty_table()) == {}


def test_quarantined_photos_are_bounded():
    rows = [{"image_id": str(i), "source": "gldv2", "path": f"{i}.jpg", "reason": "truncated"} for i in range(3)]
    found = first_quarantined(as_table(rows, QUARANTINE), Limits(quarantined=2))
    assert [(photo.image_id, photo.reason) for photo in found] == [("0", "truncated"), ("1", "truncated")]
