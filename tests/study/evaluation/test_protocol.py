import math
import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import revisitop

from overlap.base.errors import ConfigError, DataError
from overlap.datasets.sets import QueryTruth
from overlap.study.evaluation.protocol import NO_SCORE, PROTOCOLS, score_positions, score_ranking, split_truth


@dataclass(frozen=True)
class Lists:
    """What the ground truth's file holds for one query."""

    easy: list[int] = field(default_factory=list)
    hard: list[int] = field(default_factory=list)
    junk: list[int] = field(default_factory=list)

    def truth(self) -> QueryTruth:
        return QueryTruth(*(np.array(part, dtype=np.int64) for part in (self.easy, self.hard, self.junk)))


def assert_like_the_oracle(ranking: list[int], lists: Lists, protocol: str, n_photos: int) -> None:
    score = score_ranking(np.array(ranking), lists.truth(), protocol=protocol, n_photos=n_photos)
    ap, precision = revisitop.score(ranking, vars(lists), protocol)
    if math.isnan(ap):
        assert score == NO_SCORE
    else:
        assert score.ap == pytest.approx(ap, abs=1e-12)
        assert score.precision == pytest.approx(precision, abs=1e-12)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], Lists, int]:
    n_photos = draw(st.integers(1, 25))
    n_distractors = draw(st.integers(0, 15))
    labels = draw(st.lists(st.sampled_from("ehjn"), min_size=n_photos, max_size=n_photos))
    ranking = draw(st.permutations(range(n_photos + n_distractors)))
    rows = {label: [row for row, found in enumerate(labels) if found == label] for label in "ehj"}
    return ranking, Lists(rows["e"], rows["h"], rows["j"]), n_photos


@settings(max_examples=300, deadline=None)
@given(case=cases(), protocol=st.sampled_from(PROTOCOLS))
def test_scores_are_the_reference_s(case: tuple[list[int], Lists, int], protocol: str) -> None:
    ranking, lists, n_photos = case
    assert_like_the_oracle(ranking, lists, protocol, n_photos)


def test_thousands_of_random_rankings_score_as_the_reference_does() -> None:
    rng = np.random.default_rng(7)
    for _ in range(1000):
        n_photos, n_distractors = int(rng.integers(5, 120)), int(rng.integers(0, 80))
        labels = rng.choice(4, n_photos, p=rng.dirichlet([0.5] * 4))
        lists = Lists(*(np.flatnonzero(labels == label).tolist() for label in range(3)))
        ranking = rng.permutation(n_photos + n_distractors).tolist()
        for protocol in PROTOCOLS:
            assert_like_the_oracle(ranking, lists, protocol, n_photos)


@pytest.mark.parametrize(
    ("protocol", "ap", "precision"),
    [
        ("easy", (1 + (1 / 3 + 2 / 4) / 2) / 2, (1, 2 / 4, 2 / 4)),
        ("medium", 0.667262, (1, 3 / 5, 4 / 7)),
        ("hard", 0.2875, (0, 2 / 5, 2 / 5)),
        ("base", 0.667262, (1, 3 / 5, 4 / 7)),
    ],
)
def test_the_worked_example(protocol: str, ap: float, precision: tuple[float, ...]) -> None:
    lists = Lists(easy=[2, 4], hard=[0, 8], junk=[7, 1])
    score = score_ranking(np.array([7, 2, 5, 0, 9, 4, 1, 3, 8, 6]), lists.truth(), protocol=protocol, n_photos=10)
    assert score.ap == pytest.approx(ap, abs=1e-6)
    assert score.precision == pytest.approx(precision)


def test_the_worked_example_with_two_distractors() -> None:
    lists = Lists(easy=[2, 4], hard=[0, 8], junk=[7, 1])
    ranking = np.array([7, 10, 2, 5, 0, 11, 9, 4, 1, 3, 8, 6])
    score = score_ranking(ranking, lists.truth(), protocol="medium", n_photos=10)
    assert score.ap == pytest.approx(0.364335, abs=1e-6)
    assert score.precision == pytest.approx((0, 2 / 5, 4 / 9))


@pytest.mark.parametrize(
    ("positions", "ap", "precision"),
    [
        ([2], (0 + 1 / 3) / 2, (0, 1 / 3, 1 / 3)),  # the cut-off shrinks to the last positive
        ([0], 1.0, (1, 1, 1)),
        ([0, 2], 0.791667, (1, 2 / 3, 2 / 3)),  # a trapezoid: the usual AP is 0.833333
        ([1], 0.25, (0, 1 / 2, 1 / 2)),  # and 0.5
        ([0, 30], (1 + (1 / 30 + 2 / 31) / 2) / 2, (1, 1 / 5, 1 / 10)),
    ],
)
def test_the_reference_s_quirks(positions: list[int], ap: float, precision: tuple[float, ...]) -> None:
    score = score_positions(np.array(positions))
    assert score.ap == pytest.approx(ap, abs=1e-6)
    assert score.precision == pytest.approx(precision)


def test_the_classic_walk_gives_the_same_average_precision() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        labels = rng.choice(3, 40)
        lists = Lists(easy=np.flatnonzero(labels == 0).tolist(), junk=np.flatnonzero(labels == 1).tolist())
        ranking = rng.permutation(40).tolist()
        score = score_ranking(np.array(ranking), lists.truth(), protocol="base", n_photos=40)
        assert score.ap == pytest.approx(
            revisitop.vgg_average_precision(ranking, set(lists.easy), set(lists.junk)), abs=1e-12
        )


def test_a_query_without_positives_has_no_score() -> None:
    lists = Lists(hard=[0], junk=[1])
    assert score_ranking(np.arange(3), lists.truth(), protocol="easy", n_photos=3) == NO_SCORE


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ConfigError, match=r"protocol 'extreme' is unknown; choose of base, easy, medium, hard"):
        split_truth(Lists().truth(), "extreme")


@pytest.mark.parametrize(
    ("ranking", "found"),
    [([5, 2, 9], 3), ([0, 1, 2, 3, 4, 5, 6, 7, 8, 8], 9), ([*range(10), 12], 10), ([*range(9), -1], 9)],
)
def test_an_incomplete_ranking_is_an_error(ranking: list[int], found: int) -> None:
    with pytest.raises(DataError, match=rf"ranking of {len(ranking)} rows holds {found} of the database's 10 photos"):
        score_ranking(np.array(ranking), Lists(easy=[2, 4]).truth(), protocol="easy", n_photos=10)


@pytest.mark.parametrize("row", [-1, 3])
def test_a_ground_truth_of_another_database_is_an_error(row: int) -> None:
    with pytest.raises(DataError, match=rf"names row {row} of a database of 3 photos; describe every photo"):
        score_ranking(np.arange(3), Lists(junk=[row]).truth(), protocol="easy", n_photos=3)


def test_the_published_ground_truth_scores_as_the_reference_does(shared) -> None:  # type: ignore[no-untyped-def]
    path = shared / "groundtruth" / "gnd_roxford5k.pkl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    content = pickle.loads(path.read_bytes())
    n_photos = len(content["imlist"])
    rng = np.random.default_rng(1)
    for query in content["gnd"][::7]:
        lists = Lists(query["easy"], query["hard"], query["junk"])
        similar = rng.random(n_photos)
        similar[[*lists.easy, *lists.hard, *lists.junk]] += 0.7
        for protocol in ("easy", "medium", "hard"):
            assert_like_the_oracle(np.argsort(-similar).tolist(), lists, protocol, n_photos)
