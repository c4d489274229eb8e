"""A review that stops early, with its round for the figures, publishes what full judging of the same answers would."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import pyarrow as pa
import pytest

from overlap.base.config import Config
from overlap.base.tables import VERIFIED
from overlap.decisions.decide import Decision, decide
from overlap.pipeline.decisions import rule_of
from overlap.pipeline.photos import read_photos
from overlap.pipeline.review import read_queue
from overlap.review.board import Order, read_board
from overlap.review.desk import Desk, answer_task, next_task
from overlap.review.store import open_store
from overlap.review.votes import read_truth, simulate_votes

REVIEWERS = ("simulated-1", "simulated-2", "simulated-3")


def _answer_all(desk: Desk, answers: Mapping[tuple[str, str], str]) -> tuple[int, int]:
    """Answer in turn until nothing waits; count the showings before what is removed was settled, and those after."""
    counted, idle = [0, 0], 0
    for name in cycle(REVIEWERS):
        task = next_task(desk, name)
        idle = idle + 1 if task is None else 0
        if idle == len(REVIEWERS):
            break
        if task is not None:
            given = {row["item_id"]: answers[name, row["item_id"]] for row in task.items}
            counted[not desk.board.fate().for_removals.any()] += 1
            answer_task(desk, name, group_id=task.group_id, lease=task.lease, client_seq=1, answers=given)
    return counted[0], counted[1]


def _decide(config: Config, items: pa.Table, votes: pa.Table) -> Decision:
    landmarks = read_photos(config, "landmarks")
    return decide(
        rule_of(config), items=items, votes=votes, verified=VERIFIED.empty_table(), landmarks=landmarks, threshold=0.5
    )


def _figures(decision: Decision) -> tuple[object, ...]:
    columns = ("landmark_id", "origin", "evaluation_set", "n_queries")
    return dict(decision.duplicated_queries), decision.removals.select(columns).to_pylist()


def _stop(
    config: Config, folder: Path, *, seed: int, figures: bool = True
) -> tuple[Decision, Decision, tuple[int, int]]:
    """Return what full judging decides, and what the same answers decide where the desk asks for them."""
    config = config.model_copy(update={"review": config.review.model_copy(update={"figures": figures})})
    items, truth = read_queue(config), read_truth(config.train.root / "truth" / "true_pairs.csv")
    full = simulate_votes(items, truth, reviewers=len(REVIEWERS), error_rate=0.05, seed=seed)
    answers = {(row["reviewer"], row["item_id"]): row["answer"] for row in full.to_pylist()}
    store = open_store(folder / f"{seed}-{figures}.sqlite")
    store.add_items(items)
    order = Order(seed=seed, shared_share=0, gold_share=0)
    n_showings = _answer_all(Desk(read_board(store, rule=rule_of(config), order=order)), answers)
    return _decide(config, items, full), _decide(config, items, store.counting_votes()), n_showings


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 10), marks=pytest.mark.long)], ids=["few", "more"])
def test_the_figures_of_a_stopped_review_are_those_of_full_judging(curated: Config, tmp_path: Path, seeds: range):
    for seed in seeds:
        judged, stopped, (_, n_round) = _stop(curated, tmp_path, seed=seed)
        assert _figures(stopped) == _figures(judged)
        assert (judged.review, stopped.review) == ("complete", "complete")
        assert not any(stopped.not_asked_queries.values())
        assert n_round > 0
        least = zip(stopped.removals.to_pylist(), judged.removals.to_pylist(), strict=True)
        for few, all_of_it in least:
            assert few["n_confirmed"] <= all_of_it["n_confirmed"] <= few["n_confirmed"] + few["n_not_asked"]
            assert set(few["evidence"]) <= set(all_of_it["evidence"])


def test_without_the_round_the_list_is_the_same_and_what_was_not_asked_is_counted(curated: Config, tmp_path: Path):
    judged, stopped, (n_settled, n_round) = _stop(curated, tmp_path, seed=0, figures=False)
    assert n_round == 0
    assert stopped.removals["landmark_id"].equals(judged.removals["landmark_id"])
    assert stopped.review == "settled but for figures"
    for name, n in judged.duplicated_queries.items():
        least = stopped.duplicated_queries.get(name, 0)
        assert least <= n <= least + stopped.not_asked_queries[name]
    *_, (with_round, _) = _stop(curated, tmp_path, seed=0)
    assert with_round == n_settled
