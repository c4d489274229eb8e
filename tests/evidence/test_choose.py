"""Which landmarks get evidence, and which pairs."""

import pyarrow as pa

from overlap.evidence.choose import Decided, choose_evidence
from overlap.review.queue import item
from overlap.review.votes import EPOCH, make_votes
from overlap.tables import LANDMARKS, REMOVALS, REVIEW_ITEMS, VERIFIED, VOTES, as_table

SCORES = {("q1", "a", 7): 0.9, ("q1", "b", 7): 0.95, ("q2", "c", 8): 0.6, ("q2", "d", 9): 0.7, ("q2", "e", 5): 0.2}


def tables(*, removed, answers, text=(), scores=SCORES):
    items = [item("s", *asked, origin="global", score=score) for asked, score in scores.items()]
    items += [item("", None, None, landmark, origin="text", score=None) for landmark in text]
    by_question = {(row["query_id"], row["image_id"], row["landmark_id"]): row for row in items}
    votes = [
        (by_question[question], reviewer, answer)
        for question, said in answers.items()
        for reviewer, answer in said.items()
    ]
    nothing = {"n_matches": 9, "n_inliers": 8, "status": "ok", "geometry": "homography", "matrix": [1.0] * 9}
    verified = [
        {"evaluation_set": "s", "query_id": q, "image_id": i, "landmark_id": n, "score": score, **nothing}
        for (q, i, n), score in scores.items()
        if score > 0.5
    ]
    rest = {"evaluation_set": "s", "origin": "global", "n_queries": 1, "n_confirmed": 1, "n_images": 3}
    rows = [{"landmark_id": n, "landmark_name": f"L{n}", **rest, "evidence": ids} for n, ids in removed.items()]
    known = [{"landmark_id": n, "landmark_name": f"L{n}", "n_images": n} for n in (5, 6, 7, 8, 9)]
    return Decided(
        as_table(rows, REMOVALS),
        dict.fromkeys(removed, "because"),
        as_table(items, REVIEW_ITEMS),
        votes_table(votes),
        as_table(verified, VERIFIED),
        as_table(known, LANDMARKS),
    )


def votes_table(votes):
    parts = [
        make_votes(as_table([row], REVIEW_ITEMS), [answer], reviewer=reviewer, voted_at=EPOCH)
        for row, reviewer, answer in votes
    ]
    return pa.concat_tables([VOTES.empty_table(), *parts])


def proof(*asked):
    return item("s", *asked, origin="global", score=None)["item_id"]


def test_removed_landmarks_come_first_then_suspicious_ones_and_others_not_at_all():
    found = choose_evidence(
        tables(
            removed={8: [proof("q2", "c", 8)], 6: ["x"]},
            answers={
                ("q2", "c", 8): {"ann": "same"},
                ("q2", "d", 9): {"ann": "different", "bob": "unsure", "cy": "different"},
                ("q2", "e", 5): {"ann": "different"},
                (None, None, 6): {"ann": "same", "bob": "different"},
            },
            text=[6],
        ),
        n_pairs=4,
    )
    assert [(one.landmark_id, one.removed, one.n_pairs) for one in found] == [
        (8, True, 1),
        (6, True, 0),
        (7, False, 2),
        (9, False, 1),
    ]
    first, by_name, seven, nine = found
    assert (first.name, first.n_images, first.reason) == ("L8", 8, "because")
    assert first.pairs[0].confirmed
    assert dict(by_name.answers) == {"same": 1, "different": 1}
    assert not by_name.pairs
    assert seven.reason == "verified by geometry, and nobody voted on it"
    assert nine.reason == "verified by geometry, but no reviewer confirmed it"
    assert list(nine.pairs[0].answers.items()) == [("different", 2), ("unsure", 1)]
    assert nine.pairs[0].verified["n_inliers"] == 8


def test_a_confirmed_pair_is_suspicious_without_a_score_and_comes_before_better_scores():
    found = choose_evidence(
        tables(removed={}, answers={("q1", "a", 7): {"ann": "same_other_side"}, ("q2", "e", 5): {"ann": "same"}}),
        n_pairs=1,
    )
    assert [one.landmark_id for one in found] == [7, 5, 9, 8]
    assert [(pair.image_id, pair.confirmed) for pair in found[0].pairs] == [("a", True)]
    assert found[0].n_pairs == 2
    assert found[0].reason == "a reviewer confirmed a pair, but the policy keeps the landmark"
    assert found[1].pairs[0].verified == {}


def test_nothing_gives_nothing():
    assert choose_evidence(tables(removed={}, answers={}, scores={}), n_pairs=3) == []
