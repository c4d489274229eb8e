"""The stopping rule against every way in which the open votes can still fall."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.decisions.fate import Asked, Votes, find_fate, find_removed
from overlap.decisions.rule import Rule

WHOLE = ("text", "closure", "audit")


def removed(asked, confirmed, rule):
    """Restate the policies literally: which landmarks go, for the confirmed items."""
    said = [row for row, yes in zip(zip(*asked, strict=True), confirmed, strict=True) if yes]
    pairs = [(q, mark) for q, mark, _ in said if q >= 0]
    out = {mark for q, mark, origin in said if q < 0 and origin in rule.whole}
    for query in {q for q, _ in pairs}:
        of_query = [mark for q, mark in pairs if q == query]
        counts = {mark: of_query.count(mark) for mark in of_query}
        if rule.per_query == "all":
            out |= set(counts)
            continue
        first = [mark for mark, count in counts.items() if count == max(counts.values())]
        if len(first) == 1 or rule.ties == "all":
            out |= set(first)
    return frozenset(out)


def outcomes(asked, yes, voted, rule, free):
    """Return the removal lists that votes on the free items can lead to; the others stay as they are."""
    choices = []
    for number, (n_yes, n_voted) in enumerate(zip(yes, voted, strict=True)):
        left = max(rule.reviewers - n_voted, 0) if number in free else 0
        choices.append({n_yes >= rule.confirmations, n_yes + left >= rule.confirmations})
    return {removed(asked, confirmed, rule) for confirmed in product(*choices)}


@st.composite
def states(draw):
    rule = Rule(
        confirmations=draw(st.integers(1, 2)),
        per_query=draw(st.sampled_from(["most", "most", "all"])),
        ties=draw(st.sampled_from(["all", "none"])),
        whole=frozenset(draw(st.sets(st.sampled_from(WHOLE)))),
        reviewers=draw(st.integers(1, 3)),
    )
    n = draw(st.integers(1, 9))
    query = draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))
    landmark = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    voted = draw(st.lists(st.integers(0, rule.reviewers), min_size=n, max_size=n))
    yes = [draw(st.integers(0, most)) for most in voted]
    origin = draw(st.lists(st.sampled_from(WHOLE), min_size=n, max_size=n))
    return (query, landmark, origin), yes, voted, rule


def number(asked, rule):
    query, landmark = (np.array(each, np.int64) for each in asked[:2])
    counted = np.array([origin in rule.whole for origin in asked[2]], bool)
    put = np.array([origin != "text" for origin in asked[2]], bool)
    return Asked(query, landmark, (query >= 0) | counted, (query < 0) & put)


def fate_of(asked, yes, voted, rule):
    yes, voted = np.array(yes), np.array(voted)
    return find_fate(number(asked, rule), Votes(yes, voted - yes, voted), rule)


def needed_items(asked, yes, voted, rule):
    return set(np.flatnonzero(fate_of(asked, yes, voted, rule).for_removals).tolist())


def shown(asked, confirmed, rule):
    """Restate which queries show each removed landmark."""
    gone = removed(asked, confirmed, rule)
    pairs = zip(*asked[:2], confirmed, strict=True)
    return {(q, mark) for q, mark, yes in pairs if yes and q >= 0 and mark in gone}


@settings(max_examples=200, deadline=None)
@given(states())
def test_what_is_removed_is_the_policy_s_restatement(state):
    asked, yes, _, rule = state
    confirmed = np.array(yes) >= rule.confirmations
    found = np.flatnonzero(find_removed(number(asked, rule), confirmed, rule))
    assert frozenset(found.tolist()) == removed(asked, confirmed, rule)


@settings(max_examples=400, deadline=None)
@given(states())
def test_what_is_not_needed_can_change_nothing_however_the_needed_votes_fall(state):
    asked, yes, voted, rule = state
    needed = needed_items(*state)
    everything = set(range(len(yes)))
    # Whatever the needed items end as, votes on the rest lead to one list only.
    ends = []
    for number in range(len(yes)):
        left = max(rule.reviewers - voted[number], 0) if number in needed else 0
        ends.append(sorted({0, left}))
    for more in product(*ends):
        then_yes = [y + m for y, m in zip(yes, more, strict=True)]
        full = [rule.reviewers if number in needed else voted[number] for number in everything]
        if not needed_items(asked, then_yes, full, rule):
            assert len(outcomes(asked, then_yes, full, rule, everything)) == 1


@settings(max_examples=300, deadline=None)
@given(states())
def test_without_needed_items_the_list_is_settled(state):
    asked, yes, voted, rule = state
    if not needed_items(*state):
        assert len(outcomes(asked, yes, voted, rule, set(range(len(yes))))) == 1


@settings(max_examples=300, deadline=None)
@given(states(), st.integers(0, 99))
def test_voting_until_nothing_is_needed_gives_the_list_and_the_figures_of_full_judging(state, seed):
    asked, yes, voted, rule = state
    rng = np.random.default_rng(seed)
    answers = rng.random((len(yes), rule.reviewers)) < 0.5
    yes, voted = [0] * len(yes), [0] * len(yes)

    def vote(number):
        yes[number] += int(answers[number, voted[number]])
        voted[number] += 1
        assert voted[number] <= rule.reviewers

    full = answers.sum(axis=1) >= rule.confirmations
    while needed := np.flatnonzero(fate_of(asked, yes, voted, rule).for_removals).tolist():
        vote(rng.choice(needed))
    assert removed(asked, [y >= rule.confirmations for y in yes], rule) == removed(asked, full, rule)
    while needed := np.flatnonzero(fate_of(asked, yes, voted, rule).for_figures).tolist():
        vote(rng.choice(needed))
        assert not fate_of(asked, yes, voted, rule).for_removals.any()
    assert shown(asked, [y >= rule.confirmations for y in yes], rule) == shown(asked, full, rule)


@pytest.mark.parametrize(
    ("rule", "query", "landmark", "yes", "voted", "needed"),
    [
        (Rule(), [0, 0, 1], [0, 0, 0], [1, 0, 0], [1, 0, 0], set()),  # one yes removes it: nothing else of it matters
        (Rule(), [0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 0], set()),  # one photo of the other can't catch up with two
        (Rule(), [0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 0, 0], {1, 2}),  # two of the other could pass one
        (Rule(), [0, -1], [0, 0], [0, 1], [0, 1], set()),  # removed by its name already
        (Rule(), [0], [0], [0], [2], {0}),  # the third reviewer may still say yes
        (Rule(), [0], [0], [0], [3], set()),
        (Rule(per_query="all"), [0, 0, 0], [0, 1, 1], [1, 1, 0], [1, 1, 0], set()),
        (Rule(whole=frozenset()), [-1], [0], [0], [0], set()),
        (Rule(confirmations=2), [0], [0], [1], [1], {0}),
    ],
)
def test_cases(rule, query, landmark, yes, voted, needed):
    assert needed_items((query, landmark, ["text"] * len(query)), yes, voted, rule) == needed


@pytest.mark.parametrize(
    ("origin", "whole", "yes", "needed", "others"),
    [
        ("text", {"closure"}, 0, {0}, []),  # nobody asked for it, and the rule does not count it: only the pair matters
        ("closure", {"text"}, 0, {0}, [1]),  # the lead put it before people, to compare policies: it removes nothing
        ("audit", set(), 0, {0}, [1]),
        ("closure", {"text"}, 1, {0}, []),  # its yes removes nothing under this rule: the pair is still asked about
        ("closure", {"closure"}, 0, {0, 1}, []),
        ("closure", {"closure"}, 1, set(), []),
    ],
)
def test_a_landmark_as_a_whole_that_the_rule_does_not_count_settles_nothing(origin, whole, yes, needed, others):
    asked = ([0, -1], [0, 0], ["global", origin])
    rule = Rule(whole=frozenset(whole))
    assert needed_items(asked, [0, yes], [0, yes], rule) == needed
    assert np.flatnonzero(fate_of(asked, [0, yes], [0, yes], rule).for_others).tolist() == others


def test_figures_wait_for_a_yes_of_each_query_and_removed_landmark():
    asked = ([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 0, 1], ["global"] * 6)
    fate = fate_of(asked, [1, 0, 0, 0, 0, 1], [1, 0, 0, 3, 2, 1], Rule())
    assert not fate.for_removals[:3].any()
    assert fate.for_figures.tolist() == [False, False, True, False, True, False]


def test_nobody_is_asked_what_closure_brought_up_of_a_landmark_that_goes():
    """Its pair removes it, whatever the rule makes of the whole."""
    asked = ([0, -1], [0, 0], ["global", "closure"])
    assert fate_of(asked, [1, 0], [1, 0], Rule()).for_others.tolist() == [False, False]
    assert fate_of(asked, [0, 0], [0, 0], Rule()).for_others.tolist() == [False, True]
