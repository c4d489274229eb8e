"""Both databases: migrations, append-only, the chain, and two hundred writers at once."""

import multiprocessing
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from overlap.base.errors import ReviewError
from overlap.base.tables import REVIEW_ITEMS, as_table
from overlap.decisions.rule import Rule
from overlap.review import schema
from overlap.review.board import Order, read_board
from overlap.review.desk import Desk, answer_task, next_task, now_ms, undo
from overlap.review.queue import item, sorted_items
from overlap.review.reviewers import (
    add_reviewer,
    check_token,
    end_session,
    find_reviewer,
    has_ended,
    list_reviewers,
    revoke_reviewer,
    session_key,
    welcome,
)
from overlap.review.store import _engine, _prepare_sqlite, open_store
from overlap.review.votes import EPOCH, export_votes, import_votes, make_votes


def items(n=4):
    rows = [item("s", "q", f"photo{number}", number, origin="global", score=0.5) for number in range(n)]
    return sorted_items(as_table(rows, REVIEW_ITEMS))


@pytest.fixture
def store(database):
    store = open_store(database)
    store.add_items(items())
    return store


@pytest.mark.parametrize("name", ["landmark%20overlap", "100% sure", "%(here)s", "a #[b] 'c' \"ü\"; {d}?"])
def test_a_program_in_a_folder_of_any_name_makes_its_tables(tmp_path, monkeypatch, name):
    shutil.copytree(Path(schema.__file__).parent / "migrations", tmp_path / name / "migrations")
    monkeypatch.setattr(schema, "__file__", str(tmp_path / name / "schema.py"))
    assert open_store(tmp_path / name / "runs" / "reviews.sqlite").read_items().num_rows == 0


def vote(number=0, answer="same", reviewer="ann"):
    return make_votes(items().slice(number, 1), [answer], reviewer=reviewer, voted_at=EPOCH)


def run_sql(store, *statements):
    with store.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def test_the_migrations_make_the_tables_that_queries_expect(store):
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_a_database_of_an_earlier_version_is_brought_forward_with_its_votes(database):
    engine = _engine(database)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    with engine.begin() as connection:
        schema.migrate(connection, to="0001")
        assert not schema.is_present(connection)
        asked = items().slice(0, 1).to_pylist()[0]
        connection.execute(sa.insert(schema.ITEMS), [asked])
    store = open_store(database)
    assert store.read_items().num_rows == 1
    assert store.append_votes(vote()) == 1
    assert open_store(database).counting_votes().num_rows == 1


def test_a_database_of_a_later_version_or_of_somebody_else_is_refused(store, database, tmp_path):
    run_sql(store, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ReviewError, match=r"has version 9999, which this program does not know.*update the program"):
        open_store(database)
    run_sql(store, "DROP TABLE alembic_version")
    with pytest.raises(ReviewError, match="tables that this program did not make; export its votes"):
        open_store(database)


@pytest.mark.parametrize("statement", ["UPDATE votes SET answer = 'different'", "DELETE FROM votes"])
def test_the_database_refuses_to_change_a_vote(store, statement):
    store.append_votes(vote())
    with pytest.raises(sa.exc.SQLAlchemyError, match="votes are append-only"):
        run_sql(store, statement)
    assert store.audit()[2] == []


def without_guards(store):
    if store.engine.dialect.name == "sqlite":
        return ["DROP TRIGGER votes_no_update", "DROP TRIGGER votes_no_delete"]
    return ["DROP TRIGGER votes_append_only ON votes"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE votes SET answer = 'different' WHERE sequence = 2", "vote 2 .* was changed"),
        ("UPDATE votes SET reviewer = 'eve' WHERE sequence = 3", "vote 3 .* was changed"),
        ("UPDATE votes SET note = 'x' WHERE sequence = 1", "vote 1 .* was changed"),
        ("DELETE FROM votes WHERE sequence = 2", "vote 2 .* a vote before it is missing"),
        ("DELETE FROM votes WHERE sequence = 3", "2 votes are there and 3 were written"),
        ("UPDATE items SET landmark_id = 5 WHERE image_id = 'photo1'", "item .* asks something else than its id"),
        ("UPDATE log_head SET chain = 'x'", "the last vote is not the one that was written last"),
    ],
)
def test_the_audit_finds_what_went_around_the_guards(store, change, found):
    for number in range(3):
        store.append_votes(vote(number))
    n_votes, _, breaks = store.audit()
    assert (n_votes, breaks) == (3, [])
    run_sql(store, *without_guards(store), change)
    assert any(re.search(found, text) for text in store.audit()[2])


def test_a_log_that_was_written_anew_lacks_the_link_that_was_noted_down(store, database, tmp_path):
    store.append_votes(vote())
    _, noted, _ = store.audit()
    store.append_votes(vote(1))
    assert store.audit(expect=noted)[2] == []
    assert "does not hold the expected link" in store.audit(expect="f00")[2][0]


def test_export_and_import_round_trip_withdrawals_too(store, tmp_path):
    desk = Desk(read_board(store, rule=Rule(), order=Order(shared_share=0, gold_share=0)))
    task = next_task(desk, "ann")
    answers = {row["item_id"]: "same" for row in task.items}
    answer_task(desk, "ann", group_id=task.group_id, lease=task.lease, client_seq=1, answers=answers, note="=1+1")
    undo(desk, "ann")
    export_votes(store, tmp_path / "votes.csv")
    other = open_store(tmp_path / "other.sqlite")
    import_votes(other, tmp_path / "votes.csv")
    assert other.read_votes().sort_by("vote_id").equals(store.read_votes().sort_by("vote_id"))
    assert other.counting_votes().num_rows == 0


def write_many(url, number, n):
    store = open_store(url)
    for place in range(n):
        store.append_votes(vote(place, reviewer=f"r{number}"))


def test_two_hundred_writers_at_once_lose_nothing(store, database):
    with ThreadPoolExecutor(200) as pool:
        done = [pool.submit(write_many, database, number, 2) for number in range(200)]
    assert [each.exception() for each in done] == [None] * 200
    assert store.read_votes().num_rows == 400
    assert store.counting_votes().num_rows == 400
    n_votes, _, breaks = store.audit()
    assert (n_votes, breaks) == (400, [])


def test_writers_in_processes_open_a_new_database_at_once(database):
    context = multiprocessing.get_context("spawn")
    open_store(database).add_items(items())
    workers = [context.Process(target=write_many_of, args=(database, number)) for number in range(2)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert open_store(database).audit()[0] == 8


def write_many_of(url, number):
    write_many(url, number, 4)


def test_two_showings_answered_at_once_are_both_there(store):
    boards = [Desk(read_board(store, rule=Rule(), order=Order(shared_share=0))) for _ in range(2)]

    def work(desk, name):
        while task := next_task(desk, name):
            answers = {row["item_id"]: "different" for row in task.items}
            answer_task(desk, name, group_id=task.group_id, lease=task.lease, client_seq=1, answers=answers)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, boards, ["ann", "bob"]))
    assert store.counting_votes().num_rows == 2 * 4


def test_tokens_let_in_until_they_are_revoked(store):
    token = add_reviewer(store, "Ann", role="lead", now_ms=now_ms())
    known = check_token(store, f" {token}\n")
    assert (known.name, known.role) == ("Ann", "lead")
    assert check_token(store, token[:-1]) is None
    assert check_token(store, "nobody.nothing") is None
    assert check_token(store, "") is None
    with store.reading() as connection:
        kept = connection.execute(sa.select(schema.REVIEWERS)).one()
    assert token.partition(".")[2] not in str(kept)
    assert kept.token_hash.startswith("$argon2id$")
    revoke_reviewer(store, "Ann", now_ms=now_ms())
    assert check_token(store, token) is None
    assert find_reviewer(store, "Ann") is None
    second = add_reviewer(store, "Ann", role="reviewer", now_ms=now_ms())
    assert check_token(store, token) is None
    assert check_token(store, second).role == "reviewer"
    assert find_reviewer(store, "Ann", token_id=known.token_id) is None
    assert list_reviewers(store).to_pylist() == [{"name": "Ann", "role": "reviewer", "revoked": False}]


def test_reviewers_that_can_not_be(store):
    add_reviewer(store, "Ann", role="lead", now_ms=now_ms())
    with pytest.raises(ReviewError, match="'Ann' is there already; revoke the token first"):
        add_reviewer(store, "Ann", role="lead", now_ms=now_ms())
    with pytest.raises(ReviewError, match="role 'boss' is not one of reviewer, lead"):
        add_reviewer(store, "Bob", role="boss", now_ms=now_ms())
    for name in ("", " Bob", "B\nob", "x" * 101):
        with pytest.raises(ReviewError, match="give a name of 1 to 100 printable characters"):
            add_reviewer(store, name, role="lead", now_ms=now_ms())
    with pytest.raises(ReviewError, match="there is no reviewer 'Bob' to revoke"):
        revoke_reviewer(store, "Bob", now_ms=now_ms())


def test_who_is_welcome_is_added_once_and_not_after_a_revocation(store):
    assert welcome(store, "ann", now_ms=now_ms()).role == "reviewer"
    assert welcome(store, "ann", now_ms=now_ms()) == find_reviewer(store, "ann")
    revoke_reviewer(store, "ann", now_ms=now_ms())
    assert welcome(store, "ann", now_ms=now_ms()) is None


def test_a_session_ends_once_and_for_all_servers(store, database):
    assert not has_ended(store, "a")
    end_session(store, "a", now_ms=now_ms())
    end_session(store, "a", now_ms=now_ms())
    assert has_ended(open_store(database), "a")
    assert not has_ended(store, "b")
    assert check_token(store, "\0.\0") is None  # which PostgreSQL takes in no text


def test_the_session_key_stays(store, database):
    assert session_key(store) == session_key(open_store(database))
    assert len(session_key(store)) == 64
