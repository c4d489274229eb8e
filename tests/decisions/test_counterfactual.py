"""The least evidence, by brute force over the decisions that follow when votes are left out or added."""

from datetime import UTC, datetime
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.tables import LANDMARKS, REVIEW_ITEMS, VERIFIED, VOTES, as_table
from overlap.decisions.counterfactual import keeps_removed, would_remove
from overlap.decisions.decide import decide
from overlap.decisions.rule import Rule

START = datetime(2026, 1, 1, tzinfo=UTC)
LANDMARK_TABLE = as_table([{"landmark_id": n, "landmark_name": "", "n_images": 9} for n in range(4)], LANDMARKS)
PAIRS = [
    ("s", query, photo, landmark)
    for landmark in range(3)
    for query in "pq"
    for photo in (f"a{landmark}", f"b{landmark}")
]
WHOLE = [("", None, None, 0), ("", None, None, 3)]


def name(question):
    return "/".join(map(str, question))


def row(question):
    names = ("evaluation_set", "query_id", "image_id", "landmark_id")
    origin = {"origin": "global" if question[1] else "closure", "group_id": "g", "score": None}
    return dict(zip(names, question, strict=True)) | origin | {"item_id": name(question)}


def items_of(questions):
    return as_table([row(question) for question in questions], REVIEW_ITEMS)


def decision_on(rule, questions, yes):
    """Decide on so many yeses on each question."""
    rest = {"answer": "same", "voted_at": START, "seconds": None, "note": None, "guideline_version": None}
    votes = [
        row(q) | rest | {"vote_id": f"{name(q)}{n}", "reviewer": f"r{n}", "supersedes": None}
        for q in questions
        for n in range(yes.get(name(q), 0))
    ]
    votes = [{key: vote[key] for key in VOTES.names} for vote in votes]
    return decide(
        rule,
        items=items_of(questions),
        votes=as_table(votes, VOTES),
        verified=VERIFIED.empty_table(),
        landmarks=LANDMARK_TABLE,
        threshold=0.5,
    )


def removed(rule, questions, yes):
    return set(decision_on(rule, questions, yes).removals["landmark_id"].to_pylist())


def subsets(things, sizes):
    return chain.from_iterable(combinations(things, size) for size in sizes)


cases = st.tuples(
    st.lists(st.sampled_from(PAIRS + WHOLE), unique=True, min_size=1, max_size=9),
    st.lists(st.integers(0, 2), min_size=9, max_size=9),
    st.sampled_from(["all", "most"]),
    st.sampled_from(["all", "none"]),
    st.integers(1, 2),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_least_evidence_is_enough_and_nothing_less_is(case):
    questions, counts, per_query, ties, confirmations, closure = case
    whole = frozenset({"closure"} if closure else ())
    rule = Rule(confirmations=confirmations, per_query=per_query, ties=ties, whole=whole)
    yes = {name(q): n for q, n in zip(questions, counts, strict=False) if n}
    gone = removed(rule, questions, yes)
    decisions = decision_on(rule, questions, yes).items
    kept_gone, coming = keeps_removed(decisions, rule), would_remove(decisions, rule)
    landmarks = {q[3] for q in questions}
    assert kept_gone.keys() == gone
    assert coming.keys() == landmarks - gone
    for landmark in landmarks:
        own = [name(q) for q in questions if q[3] == landmark]
        others = {item: n for item, n in yes.items() if item not in own}
        if landmark in gone:
            least = kept_gone[landmark]
            assert landmark in removed(rule, questions, others | dict.fromkeys(least.items, confirmations))
            assert least.n_votes == len(least.items) * confirmations
            confirmed = [item for item in own if yes.get(item, 0) >= confirmations]
            for fewer in subsets(confirmed, range(len(least.items))):
                assert landmark not in removed(rule, questions, others | dict.fromkeys(fewer, confirmations))
            continue
        price = {item: max(confirmations - yes.get(item, 0), 0) for item in own}
        ways = [
            sum(price[item] for item in way)
            for way in subsets(own, range(len(own) + 1))
            if landmark in removed(rule, questions, yes | {item: yes.get(item, 0) + price[item] for item in way})
        ]
        least = coming[landmark]
        assert (least is None) == (not ways)
        if least is not None:
            assert least.n_votes == min(ways)
            more = {item: yes.get(item, 0) + price[item] for item in least.items}
            assert landmark in removed(rule, questions, yes | more)


def test_the_query_that_decides_is_named():
    questions = [("s", "p", "a", 1), ("s", "p", "b", 2), ("s", "p", "c", 2)]
    yes = {name(questions[1]): 1, name(questions[2]): 1, name(questions[0]): 1}
    rule = Rule(ties="none", whole=frozenset())
    decisions = decision_on(rule, questions, yes).items
    assert keeps_removed(decisions, rule)[2].query == ("s", "p")
    assert would_remove(decisions, rule)[1] is None


@pytest.mark.parametrize("closure", [True, False])
def test_a_landmark_as_a_whole_counts_by_what_brought_it_up(closure):
    rule = Rule(per_query="all", whole=frozenset({"closure"} if closure else ()))
    least = keeps_removed(decision_on(rule, WHOLE[1:], {name(WHOLE[1]): 2}).items, rule)
    assert (3 in least) == closure
    if closure:
        assert (least[3].n_votes, least[3].query) == (1, None)
