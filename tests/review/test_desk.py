"""At the desk: leases, sequences, order, undo, gold, second looks."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from overlap.base.errors import ReviewError
from overlap.base.tables import ANSWERS, REVIEW_ITEMS, as_table
from overlap.decisions.rule import Rule
from overlap.review.board import Order, draw, is_shared, read_board
from overlap.review.desk import Desk, NotThereError, answer_task, ask_again, next_task, skip_task, undo
from overlap.review.guidelines import GUIDELINE_VERSION
from overlap.review.leases import find_leased, read_skips
from overlap.review.queue import GOLD_PREFIX, item, sorted_items
from overlap.review.reviewers import Reviewer
from overlap.review.schema import VOTE_LOG
from overlap.review.store import open_store
from overlap.review.summary import find_agreed, find_outcomes, find_standings, summarise, visible_rows


class Clock:
    def __init__(self):
        self.now = 1_000_000

    def __call__(self):
        self.now += 10
        return self.now


def queue(n_landmarks=5, n_photos=3, n_queries=2):
    rows = [
        item(
            "s",
            f"q{query}",
            f"p{landmark}-{photo}",
            landmark,
            origin="global",
            score=0.5 + landmark / 100 + photo / 1000,
        )
        for query in range(n_queries)
        for landmark in range(n_landmarks)
        for photo in range(n_photos)
    ]
    return sorted_items(as_table([*rows, item("", None, None, 99, origin="text", score=None)], REVIEW_ITEMS))


def open_desk(path, *, rule=Rule(), order=Order(shared_share=0, gold_share=0), items=None):
    store = open_store(path)
    store.add_items(queue() if items is None else items)
    return Desk(read_board(store, rule=rule, order=order), clock=Clock())


@pytest.fixture
def desk(tmp_path):
    return open_desk(tmp_path / "v.sqlite")


def say(desk, reviewer, task, answer="different", seq=1, **more):
    answers = {row["item_id"]: answer for row in task.items}
    return answer_task(
        desk, reviewer, group_id=task.group_id, lease=task.lease, client_seq=seq, answers=answers, **more
    )


def test_one_answer_is_a_vote_a_pair_with_the_group_and_the_guideline(desk):
    task = next_task(desk, "ann")
    assert say(desk, "ann", task, "same", note="tower", seconds=2.5) == len(task.items)
    votes = desk.board.store.read_votes().to_pylist()
    assert {row["group_id"] for row in votes} == {task.group_id}
    assert {row["item_id"] for row in votes} == {row["item_id"] for row in task.items}
    assert {(row["note"], row["guideline_version"]) for row in votes} == {("tower", GUIDELINE_VERSION)}


def test_what_does_not_exist_is_named_and_nothing_is_written(desk):
    task = next_task(desk, "ann")
    for call in (
        lambda: next_task(desk, "ann", group_id="nothing"),
        lambda: skip_task(desk, "ann", group_id="nothing"),
        lambda: answer(desk, task, "nothing", task.items[0]["item_id"]),
    ):
        with pytest.raises(NotThereError, match="there is no such group in the queue"):
            call()
    with pytest.raises(NotThereError, match="there is no such photo in the queue"):
        answer(desk, task, task.group_id, "nothing")
    assert read_skips(desk.board.store, "ann") == {}
    assert desk.board.store.read_votes().num_rows == 0


def answer(desk, task, group, item_id):
    return answer_task(desk, "ann", group_id=group, lease=task.lease, client_seq=1, answers={item_id: "same"})


def test_an_answer_that_arrives_twice_counts_once(desk):
    task = next_task(desk, "ann")
    assert say(desk, "ann", task) == len(task.items)
    assert say(desk, "ann", task) == 0
    assert desk.board.store.read_votes().num_rows == len(task.items)
    with pytest.raises(ReviewError, match="another answer to this was recorded before"):
        say(desk, "ann", task, "same")


def test_an_answer_to_what_is_not_shown_is_refused(desk):
    old = next_task(desk, "ann")
    new = next_task(desk, "ann", group_id=old.group_id)
    with pytest.raises(ReviewError, match="open in another tab"):
        say(desk, "ann", old)
    with pytest.raises(ReviewError, match="not shown to you"):
        say(desk, "bob", new)
    with pytest.raises(ReviewError, match="not shown to you"):
        say(desk, "ann", replace(new, lease="invented"))
    other = next(each for each in desk.board.groups if each != new.group_id)
    with pytest.raises(ReviewError, match="not in this group"):
        say(desk, "ann", replace(new, group_id=other))
    shown = tuple(desk.board.items[row] for row in desk.board.rows_of_group[other])
    with pytest.raises(ReviewError, match="not shown to you"):
        say(desk, "ann", replace(new, group_id=other, items=shown))
    with pytest.raises(ReviewError, match="answer 'maybe' is not one of"):
        say(desk, "ann", new, "maybe")
    assert desk.board.store.read_votes().num_rows == 0


def test_a_lease_expires(desk):
    task = next_task(desk, "ann")
    assert find_leased(desk.board.store, now_ms=desk.clock.now) == {"ann": {task.group_id}}
    desk.clock.now += 31 * 60_000
    assert find_leased(desk.board.store, now_ms=desk.clock.now) == {}
    with pytest.raises(ReviewError, match="shown too long ago"):
        say(desk, "ann", task)


def test_undo_withdraws_brings_the_group_back_and_goes_further(desk):
    first = next_task(desk, "ann")
    say(desk, "ann", first, "same")
    second = next_task(desk, "ann")
    say(desk, "ann", second)
    assert undo(desk, "ann") == second.group_id
    assert undo(desk, "ann") == first.group_id
    assert undo(desk, "ann") is None
    store = desk.board.store
    assert store.counting_votes().num_rows == 0
    assert store.read_votes().num_rows == 2 * (len(first.items) + len(second.items))
    again = next_task(desk, "ann", group_id=first.group_id)
    assert again.group_id == first.group_id
    say(desk, "ann", again, "same_site")
    assert set(store.counting_votes()["answer"].to_pylist()) == {"same_site"}
    assert store.audit()[2] == []


def test_a_yes_takes_the_landmark_from_all_queues_and_undo_brings_it_back(desk):
    task = next_task(desk, "ann")
    landmark = task.items[0]["landmark_id"]
    before = desk.board.n_waiting("bob")
    say(desk, "ann", task, "same")
    desk.board.refresh()
    after = {desk.board.items[row]["landmark_id"] for row in desk.board.needed("bob").nonzero()[0]}
    if task.items[0]["query_id"] is None:
        assert landmark not in after
    assert desk.board.n_waiting("bob") <= before
    undo(desk, "ann")
    desk.board.refresh()
    assert desk.board.n_waiting("bob") == before


def drain(desk, reviewers, truth):
    n_decisions = 0
    while tasks := [(name, task) for name in reviewers if (task := next_task(desk, name))]:
        for name, task in tasks:
            answers = {row["item_id"]: truth(name, row) for row in task.items}
            answer_task(desk, name, group_id=task.group_id, lease=task.lease, client_seq=1, answers=answers)
            n_decisions += 1
        assert n_decisions < 500
    return n_decisions


def test_different_everywhere_is_asked_of_all_three_and_no_more(desk):
    n = drain(desk, ["ann", "bob", "cyd"], lambda name, row: "different")
    assert n == 3 * len(desk.board.groups)
    assert next_task(desk, "dan") is None


def test_same_everywhere_needs_few_and_then_one_of_each_query_for_the_figures(tmp_path):
    few = open_desk(tmp_path / "few.sqlite", rule=Rule(figures=False))
    assert drain(few, ["ann"], lambda name, row: "same") < len(few.board.groups)
    desk = open_desk(tmp_path / "all.sqlite")
    drain(desk, ["ann"], lambda name, row: "same")
    removed = {row["landmark_id"] for row in decide_landmarks_of(desk) if row["removed"]}
    said = {row["group_id"] for row in desk.board.store.counting_votes().to_pylist()}
    asked = {row["group_id"] for row in desk.board.items if row["query_id"] and row["landmark_id"] in removed}
    assert asked <= said


def test_the_round_for_figures_begins_when_no_vote_can_change_what_is_removed(tmp_path):
    rows = [item("s", query, f"p{query}", 1, origin="global", score=0.9) for query in ("q0", "q1", "q2")]
    rows += [item("s", "q3", "p3", 2, origin="global", score=0.8)]
    desk = open_desk(tmp_path / "v.sqlite", items=as_table(rows, REVIEW_ITEMS))
    while desk.board.fate().for_removals.any():
        task = next_task(desk, "ann")
        assert task is not None or next_task(desk, "bob") is not None, "nobody is asked while something is open"
        for name in ("ann", "bob", "cyd"):
            task = next_task(desk, name)
            if task is not None and desk.board.fate().for_removals.any():
                first = task.items[0]["landmark_id"] == 1
                assert not (first and removed_ids(desk) == {1}), "figures are asked for before the rest is settled"
                say(desk, name, task, "same" if first else "different")
        desk.board.refresh()
    assert removed_ids(desk) == {1}
    assert summarise(desk.board, confirms={}).review.startswith("settled but for figures: ")
    assert drain(desk, ["ann"], lambda name, row: "same") == 2
    assert summarise(desk.board, confirms={}).review.startswith("complete: ")
    assert decide_landmarks_of(desk)[0]["n_queries"] == 3


def decide_landmarks_of(desk):
    desk.board.refresh()
    return find_outcomes(desk.board).to_pylist()


def removed_ids(desk):
    return {row["landmark_id"] for row in decide_landmarks_of(desk) if row["removed"]}


def test_shared_groups_go_to_all_whatever_is_decided(tmp_path):
    desk = open_desk(tmp_path / "v.sqlite", order=Order(seed=3, shared_share=0.4, gold_share=0))
    shared = {group for group in desk.board.groups if is_shared(desk.board.order, group)}
    assert 0 < len(shared) < len(desk.board.groups)
    drain(desk, ["ann", "bob", "cyd"], lambda name, row: "same")
    votes = desk.board.store.counting_votes().to_pylist()
    for group in shared:
        assert {row["reviewer"] for row in votes if row["group_id"] == group} == {"ann", "bob", "cyd"}
    summary = summarise(desk.board, confirms={})
    assert {each.kind for each in summary.agreement} <= {"s", "names"}
    assert sum(each.ac1.n for each in summary.agreement) == sum(len(desk.board.rows_of_group[g]) for g in shared)


def test_every_reviewer_gets_an_own_order_that_is_not_by_score(desk):
    orders = {name: desk.board.next_groups(name, busy={}, skips={}, n=99) for name in ("ann", "bob")}
    assert orders["ann"] != orders["bob"]
    assert sorted(orders["ann"]) == sorted(orders["bob"]) == sorted(desk.board.groups)
    assert orders["ann"] == read_board(desk.board.store, rule=Rule(), order=desk.board.order).next_groups(
        "ann", busy={}, skips={}, n=99
    )
    scores = [desk.board.items[desk.board.rows_of_group[group][0]]["score"] or 1 for group in orders["ann"]]
    assert scores != sorted(scores)
    assert scores != sorted(scores, reverse=True)


def test_what_others_look_at_and_what_was_skipped_comes_later(desk):
    first, second = desk.board.next_groups("ann", busy={}, skips={}, n=2)
    assert desk.board.next_groups("ann", busy={"bob": {first}}, skips={}, n=1) == [second]
    assert desk.board.next_groups("ann", busy={"ann": {first}}, skips={}, n=1) == [first]
    task = next_task(desk, "ann")
    skip_task(desk, "ann", group_id=task.group_id)
    assert next_task(desk, "ann").group_id != task.group_id
    assert desk.board.next_groups("ann", busy={}, skips={task.group_id: 5}, n=99)[-1] == task.group_id


def test_gold_is_mixed_in_judged_and_decides_nothing(tmp_path):
    desk = open_desk(tmp_path / "v.sqlite", order=Order(shared_share=0, gold_share=0.5))
    store = desk.board.store
    gold = [item(f"{GOLD_PREFIX}s", f"q{n}", f"g{n}", -1 - n, origin="gold", score=None) for n in range(6)]
    store.add_gold(as_table(gold, REVIEW_ITEMS), [n < 3 for n in range(6)])
    known = store.read_gold()[1]
    right = {True: "same", False: "different"}
    drain(desk, ["ann"], lambda name, row: right[known[row["item_id"]]] if row["item_id"] in known else "different")
    drain(desk, ["bob"], lambda name, row: "same")
    assert not set(known) & set(store.counting_votes()["item_id"].to_pylist())
    assert not set(known) & set(store.read_items()["item_id"].to_pylist())
    figures = summarise(desk.board, confirms=known).gold
    assert figures["ann"].sensitivity.value == figures["ann"].specificity.value == 1
    assert figures["bob"].specificity.value == 0
    assert all(each.landmark_id >= 0 for each in find_standings(desk.board))


def test_a_second_look_asks_everybody_again_and_votes_stay(desk):
    drain(desk, ["ann", "bob", "cyd"], lambda name, row: "same" if name == "ann" else "different")
    alone = [each for each in find_standings(desk.board) if each.rests_on_one]
    chosen = alone[0]
    before = desk.board.store.counting_votes()
    ask_again(desk, "lea", landmark_id=chosen.landmark_id)
    assert desk.board.store.counting_votes().equals(before)
    task = next_task(desk, "ann")
    assert task.items[0]["landmark_id"] == chosen.landmark_id
    n = drain(desk, ["ann", "bob", "cyd"], lambda name, row: "different")
    assert n >= 3
    after = next(each for each in find_standings(desk.board) if each.landmark_id == chosen.landmark_id)
    assert (after.yes, after.n_confirmed) == ((), 0)


def test_items_that_come_later_are_asked_too(desk):
    drain(desk, ["ann", "bob", "cyd"], lambda name, row: "different")
    new = item("s", "q9", "p9", 77, origin="global", score=0.9)
    desk.board.store.add_items(as_table([new], REVIEW_ITEMS))
    assert next_task(desk, "ann").items[0]["item_id"] == new["item_id"]


def test_the_board_says_what_the_database_says(desk):
    drain(desk, ["ann", "bob"], lambda name, row: "same" if draw(1, name, row["item_id"]) < 0.4 else "different")
    undo(desk, "ann")
    fresh = read_board(desk.board.store, rule=Rule(), order=desk.board.order)
    desk.board.refresh()
    for name in ("ann", "bob", "cyd"):
        assert (fresh.needed(name) == desk.board.needed(name)).all()
    with desk.board.store.reading() as connection:
        n_votes = connection.scalar(sa.select(sa.func.count()).select_from(VOTE_LOG))
    assert n_votes == desk.board.store.audit()[0]


def test_a_photo_set_apart_has_its_own_vote_within_one_answer(desk):
    group = next(group for group, rows in desk.board.rows_of_group.items() if len(rows) > 2)
    task = next_task(desk, "ann", group_id=group)
    answers = {row["item_id"]: "same" for row in task.items}
    odd = task.items[1]["item_id"]
    answers[odd] = "different"
    added = answer_task(desk, "ann", group_id=task.group_id, lease=task.lease, client_seq=1, answers=answers, seconds=9)
    votes = {row["item_id"]: row["answer"] for row in desk.board.store.counting_votes().to_pylist()}
    assert added == len(task.items)
    assert votes == answers
    desk.board.refresh()
    summary = summarise(desk.board, confirms={})
    assert [(each.n_answers, each.n_votes) for each in summary.work] == [(1, len(answers))]
    standing = next(each for each in find_standings(desk.board) if each.landmark_id == task.items[0]["landmark_id"])
    assert standing.n_confirmed == len(answers) - 1
    assert undo(desk, "ann") == task.group_id
    assert desk.board.store.counting_votes().num_rows == 0


ANN, LEA = (Reviewer(name, role, "") for name, role in (("ann", "reviewer"), ("lea", "lead")))


def judge_by_draw(desk, seed):
    """Let three reviewers answer half of the groups, photo by photo, and take one answer back."""
    for name in ("ann", "bob", "lea"):
        for group in desk.board.groups:
            if draw(seed, name, group) < 0.5 and (task := next_task(desk, name, group_id=group)).group_id == group:
                own = {row["item_id"]: name * (draw(seed, name, row["item_id"]) < 0.2) for row in task.items}
                drawn = {each: draw(seed, word, each) for each, word in own.items()}
                answers = {each: ANSWERS[int(len(ANSWERS) * number)] for each, number in drawn.items()}
                answer_task(desk, name, group_id=group, lease=task.lease, client_seq=1, answers=answers)
    undo(desk, "bob")
    desk.board.refresh()


@pytest.mark.parametrize("seed", range(2))
def test_votes_of_others_are_seen_only_where_the_own_one_is_in(tmp_path, seed):
    desk = open_desk(tmp_path / "v.sqlite", items=queue(n_landmarks=3, n_photos=4, n_queries=1))
    judge_by_draw(desk, seed)
    board, votes = desk.board, desk.board.store.counting_votes().to_pylist()
    mine = {board.row_of[row["item_id"]] for row in votes if row["reviewer"] == "ann"}
    assert visible_rows(board, ANN) == mine
    waiting = {row for group in board.groups for row in board.open_rows("lea", group)} & set(
        board.needed("lea").nonzero()[0].tolist()
    )
    assert visible_rows(board, LEA) == set(range(len(board.items))) - waiting
    said = {row: [each["answer"] for each in votes if board.row_of[each["item_id"]] == row] for row in mine}
    agreed = find_agreed(board, visible_rows(board, ANN))
    assert tuple(agreed) == ANSWERS
    for answer, rows in agreed.items():
        assert rows == sorted(
            row
            for row, answers in said.items()
            if len(answers) > 1 and set(answers) == {answer} and board.items[row]["query_id"]
        )
