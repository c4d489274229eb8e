"""Which landmarks get evidence, and which pairs."""

import pyarrow as pa
import pytest

from overlap.base.tables import LANDMARKS, REVIEW_ITEMS, VERIFIED, VOTES, as_table
from overlap.decisions.decide import decide
from overlap.decisions.items import believed
from overlap.decisions.rule import Rule
from overlap.evidence.choose import Decided, choose_evidence
from overlap.review.queue import item
from overlap.review.votes import EPOCH, make_votes

SCORES = {("q1", "a", 7): 0.9, ("q1", "b", 7): 0.95, ("q2", "c", 8): 0.6, ("q2", "d", 9): 0.7, ("q2", "e", 5): 0.2}

# Two confirmed photos of landmark 4 for each query: one of another landmark does not remove that.
WINNER = {("q1", "v", 4): 0.8, ("q1", "w", 4): 0.8, ("q2", "x", 4): 0.8, ("q2", "y", 4): 0.8}
WON = {asked: {"ann": "same"} for asked in WINNER}


def tables(*, answers, text=(), scores=SCORES, unqueued=(), rule=Rule()):
    """Decide on pairs by their scores, of which people are asked about all but the unqueued, and on names."""
    items = [item("s", *asked, origin="global", score=n) for asked, n in scores.items() if asked not in unqueued]
    items += [item("", None, None, landmark, origin="text", score=None) for landmark in text]
    by_question = {(row["query_id"], row["image_id"], row["landmark_id"]): row for row in items}
    votes = [
        (by_question[question], reviewer, answer)
        for question, said in answers.items()
        for reviewer, answer in said.items()
    ]
    found = {"n_matches": 9, "n_inliers": 8, "status": "ok", "geometry": "homography", "matrix": [1.0] * 9}
    verified = [
        {"evaluation_set": "s", "query_id": q, "image_id": i, "landmark_id": n, "score": score, **found}
        for (q, i, n), score in scores.items()
    ]
    known = [{"landmark_id": n, "landmark_name": f"L{n}", "n_images": n} for n in range(4, 10)]
    counted, pairs = votes_table(votes), as_table(verified, VERIFIED)
    decision = decide(
        rule,
        items=as_table(items, REVIEW_ITEMS),
        votes=counted,
        verified=pairs,
        landmarks=as_table(known, LANDMARKS),
        threshold=0.5,
    )
    return Decided(decision.items, decision.landmarks, counted, believed(pairs, threshold=0.5))


def votes_table(votes):
    parts = [
        make_votes(as_table([row], REVIEW_ITEMS), [answer], reviewer=reviewer, voted_at=EPOCH)
        for row, reviewer, answer in votes
    ]
    return pa.concat_tables([VOTES.empty_table(), *parts])


def test_removed_landmarks_come_first_then_suspicious_ones_and_others_not_at_all():
    found = choose_evidence(
        tables(
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
    assert (first.name, first.n_images) == ("L8", 8)
    assert first.reason == (
        "at least 1 reviewer confirmed 1 photo of it for 1 query of s, and at least one query has none more often"
    )
    assert [pair.state for one in found for pair in one.pairs] == ["confirmed", "open", "open", "rejected"]
    assert dict(by_name.answers) == {"same": 1, "different": 1}
    assert by_name.reason.startswith("its name suggests an evaluation set, and at least 1 reviewer confirmed")
    assert not by_name.pairs
    assert seven.reason == "2 items: 2 open"
    assert nine.reason == "1 item: 1 rejected"
    assert not any(one.beaten for one in found)
    assert list(nine.pairs[0].answers.items()) == [("different", 2), ("unsure", 1)]
    assert nine.pairs[0].verified["n_inliers"] == 8


def test_a_confirmed_pair_is_suspicious_without_a_score_and_comes_before_better_scores():
    said = {("q1", "a", 7): {"ann": "same_other_side"}, ("q2", "e", 5): {"ann": "same"}}
    found = choose_evidence(tables(answers=WON | said, scores=SCORES | WINNER), n_pairs=1)
    assert [(one.landmark_id, one.removed) for one in found] == [
        (4, True),
        (7, False),
        (5, False),
        (9, False),
        (8, False),
    ]
    _, seven, five, *_ = found
    assert [(pair.image_id, pair.state) for pair in seven.pairs] == [("a", "confirmed")]
    assert seven.n_pairs == 2
    assert five.pairs[0].verified == {}


def test_what_beat_a_landmark_that_stays_comes_with_it():
    said = {("q1", "a", 7): {"ann": "same"}, ("q2", "e", 5): {"ann": "same"}}
    found = choose_evidence(tables(answers=WON | said, scores=SCORES | WINNER), n_pairs=9)
    by_landmark = {one.landmark_id: one for one in found}
    assert by_landmark[7].beaten == ({"evaluation_set": "s", "query_id": "q1", "landmark_id": 4},)
    assert by_landmark[7].reason == ("2 items: 1 confirmed, 1 open; landmark 4 has more confirmed photos of 1 query")
    assert by_landmark[5].beaten == ({"evaluation_set": "s", "query_id": "q2", "landmark_id": 4},)
    assert by_landmark[4].beaten == by_landmark[9].beaten == ()
    # A second photo of landmark 7 can still make it even with 4; one of 8 or 9 cannot.
    assert [pair.state for pair in by_landmark[7].pairs] == ["confirmed", "open"]
    assert [by_landmark[n].reason for n in (8, 9)] == ["1 item: 1 not asked"] * 2


@pytest.mark.parametrize(("confirmations", "state"), [(1, "confirmed"), (2, "rejected")])
def test_a_pair_is_confirmed_by_the_rule_not_by_one_yes(confirmations, state):
    said = {("q2", "c", 8): {"ann": "same", "bob": "different", "cy": "different"}}
    found = choose_evidence(tables(answers=said, rule=Rule(confirmations=confirmations)), n_pairs=4)
    [eight] = [one for one in found if one.landmark_id == 8]
    assert (eight.removed, eight.pairs[0].state) == (state == "confirmed", state)


def test_a_well_verified_pair_that_nobody_was_asked_about_has_no_state():
    found = choose_evidence(tables(answers={}, unqueued=[("q1", "b", 7)]), n_pairs=4)
    [seven] = [one for one in found if one.landmark_id == 7]
    assert [(pair.image_id, pair.state, dict(pair.answers)) for pair in seven.pairs] == [
        ("b", None, {}),
        ("a", "open", {}),
    ]


def test_what_scores_decided_is_chosen_alike():
    found = choose_evidence(tables(answers={}, rule=Rule(evidence="scores")), n_pairs=4)
    assert [(one.landmark_id, one.removed, {pair.state for pair in one.pairs}) for one in found] == [
        (7, True, {"confirmed"}),
        (9, True, {"confirmed"}),
        (8, True, {"confirmed"}),
    ]
    assert found[0].reason.startswith("the verification score confirmed 2 photos of it for 1 query of s")


def test_nothing_gives_nothing():
    assert choose_evidence(tables(answers={}, scores={}), n_pairs=3) == []
