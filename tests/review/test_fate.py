"""The stopping rule against every way in which the open votes can still fall."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.review.fate import Asked, Rule, find_needed


def removed(asked, confirmed, rule):
    """Restate the policies literally: which landmarks go, for the confirmed items."""
    pairs = [(q, mark) for q, mark, yes in zip(*asked, confirmed, strict=True) if yes and q >= 0]
    out = {mark for q, mark, yes in zip(*asked, confirmed, strict=True) if yes and q < 0 and rule.text}
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
        text=draw(st.booleans()),
        reviewers=draw(st.integers(1, 3)),
    )
    n = draw(st.integers(1, 9))
    query = draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))
    landmark = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    voted = draw(st.lists(st.integers(0, rule.reviewers), min_size=n, max_size=n))
    yes = [draw(st.integers(0, most)) for most in voted]
    return (query, landmark), yes, voted, rule


def needed_items(asked, yes, voted, rule):
    query, landmark = (np.array(each, np.int64) for each in asked)
    mask = find_needed(Asked(query, landmark), yes=np.array(yes), voted=np.array(voted), rule=rule)
    return set(np.flatnonzero(mask).tolist())


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


@settings(max_examples=200, deadline=None)
@given(states())
def test_voting_until_nothing_is_needed_ends_and_gives_the_list_of_full_judging(state):
    asked, yes, voted, rule = state
    rng = np.random.default_rng(len(yes))
    answers = rng.random((len(yes), rule.reviewers)) < 0.5
    yes, voted = [0] * len(yes), [0] * len(yes)
    n_votes = 0
    while needed := needed_items(asked, yes, voted, rule):
        number = min(needed)
        yes[number] += int(answers[number, voted[number]])
        voted[number] += 1
        n_votes += 1
        assert n_votes <= len(yes) * rule.reviewers
    full = removed(asked, answers.sum(axis=1) >= rule.confirmations, rule)
    assert removed(asked, [y >= rule.confirmations for y in yes], rule) == full


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
        (Rule(text=False), [-1], [0], [0], [0], set()),
        (Rule(confirmations=2), [0], [0], [1], [1], {0}),
    ],
)
def test_cases(rule, query, landmark, yes, voted, needed):
    assert needed_items((query, landmark), yes, voted, rule) == needed
