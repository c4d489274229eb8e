"""A void import: its votes stay in the log, count nowhere, and the chain proves all of it."""

import re
import sqlite3
from heapq import merge

import pyarrow as pa
import pytest
import sqlalchemy as sa

from overlap.base.errors import ReviewError
from overlap.base.tables import REVIEW_ITEMS, as_table
from overlap.decisions.rule import Rule
from overlap.review import schema
from overlap.review.board import Order, read_board
from overlap.review.chain import chained, find_breaks
from overlap.review.desk import Desk, answer_task, next_task
from overlap.review.imports import Source, find_changed_imports, read_entries
from overlap.review.queue import item, sorted_items
from overlap.review.store import _as_rows, _engine, _place, _prepare_sqlite, open_store
from overlap.review.votes import EPOCH, REQUIRED_COLUMNS, VOIDED, claim_import, export_votes, import_votes, make_votes

HEADER = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"
WRONG = ("s,q,photo0,0,ann,same", "s,q,other,9,ann,same", ",,,8,ann,same")


def items(n=4):
    rows = [item("s", "q", f"photo{number}", number, origin="global", score=0.5) for number in range(n)]
    return sorted_items(as_table(rows, REVIEW_ITEMS))


def vote(number, answer="same", reviewer="bob", supersedes=None):
    asked = items().slice(number, 1)
    return make_votes(
        asked,
        [answer],
        reviewer=reviewer,
        voted_at=EPOCH,
        supersedes=supersedes and {asked["item_id"][0].as_py(): supersedes},
    )


def filled(database):
    store = open_store(database)
    store.add_items(items())
    return store


@pytest.fixture
def store(tmp_path):
    return filled(tmp_path / "votes.sqlite")


def bring(store, folder, *rows, name="votes.csv"):
    (folder / name).write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return import_votes(store, folder / name, source=Source(name, "f" * 64, "lea", 7))


def void(store, number, reason="a wrong file"):
    return store.void(number, reason=reason, who="lea", now_ms=8)


def counting(store):
    return sorted((row["image_id"] or "", row["reviewer"], row["answer"]) for row in store.counting_votes().to_pylist())


def test_a_void_import_counts_nowhere_and_stays_in_the_log(database, tmp_path):
    store = filled(database)
    store.append_votes(vote(0))
    board = read_board(store, rule=Rule(), order=Order(gold_share=0))
    assert bring(store, tmp_path, *WRONG) == 3
    board.refresh()
    assert len(board.items) == 6
    assert set(board.said) == {"ann", "bob"}
    assert void(store, 1) == 3
    assert counting(store) == [("photo0", "bob", "same")]
    assert store.read_votes().num_rows == 4
    assert store.read_items().equals(items())
    board.refresh()
    assert len(board.items) == 4
    assert set(board.said) == {"bob"}
    assert store.audit()[::2] == (4, [])
    assert [(each.number, each.source.file, each.n_votes, each.reason) for each in store.imports()] == [
        (1, "votes.csv", 3, "a wrong file")
    ]


def test_who_voted_in_a_void_import_votes_again_in_the_app(store, tmp_path):
    (tmp_path / "late.csv").write_text(f"{HEADER},voted_at\ns,q,photo0,0,ann,same,2999-01-01T00:00:00Z\n")
    import_votes(store, tmp_path / "late.csv", source=Source("late.csv", "", "lea", 7))
    void(store, 1)
    desk = Desk(read_board(store, rule=Rule(), order=Order(gold_share=0)))
    while task := next_task(desk, "ann"):
        answers = {row["item_id"]: "different" for row in task.items}
        answer_task(desk, "ann", group_id=task.group_id, lease=task.lease, client_seq=1, answers=answers)
    assert {row[2] for row in counting(store)} == {"different"}
    assert store.audit()[2] == []


def test_a_mended_file_counts_again_as_far_as_it_repeats_the_void_one(store, tmp_path):
    bring(store, tmp_path, *WRONG)
    void(store, 1)
    assert bring(store, tmp_path, WRONG[0], "s,q,other,1,ann,same", WRONG[2]) == 3
    assert {row[0] for row in counting(store)} == {"photo0", "other", ""}
    assert store.read_votes().num_rows == 4
    assert {row["landmark_id"] for row in store.read_items().to_pylist()} == {0, 1, 2, 3, 8}
    assert store.audit()[2] == []
    assert void(store, 3) == 3
    assert counting(store) == []


def test_a_vote_counts_while_one_of_its_imports_or_the_app_holds_it(store, tmp_path):
    store.append_votes(vote(1, reviewer="ann"))
    bring(store, tmp_path, WRONG[0], "s,q,photo1,1,ann,same")
    assert bring(store, tmp_path, WRONG[0], "s,q,photo2,2,ann,same") == 1
    assert void(store, 1) == 0
    assert [row[0] for row in counting(store)] == ["photo0", "photo1", "photo2"]
    assert void(store, 2) == 2
    assert [row[0] for row in counting(store)] == ["photo1"]


def test_a_file_that_adds_nothing_is_no_import(store, tmp_path):
    bring(store, tmp_path, *WRONG)
    assert bring(store, tmp_path, *WRONG) == 0
    assert len(store.imports()) == 1
    assert void(store, 1) == 3


def test_a_question_that_curate_asks_too_stays(store, tmp_path):
    bring(store, tmp_path, *WRONG)
    store.add_items(as_table([item("s", "q", "other", 9, origin="global", score=0.5)], REVIEW_ITEMS))
    void(store, 1)
    assert {row["landmark_id"] for row in store.read_items().to_pylist()} == {0, 1, 2, 3, 9}


def test_a_withdrawal_in_a_void_import_withdraws_nothing(store, tmp_path):
    bring(store, tmp_path, WRONG[0])
    bring(store, tmp_path, "s,q,photo0,0,ann,withdrawn", "s,q,photo0,0,ann,withdrawn")
    assert counting(store) == []
    void(store, 2)
    assert counting(store) == [("photo0", "ann", "same")]


@pytest.mark.parametrize(
    ("number", "reason", "message"),
    [
        (9, "x", "there is no import 9; there are: 1, 3; 'overlap votes imports' lists them"),
        (2, "x", "there is no import 2; there are: 1, 3"),
        (1, "x", "import 1 is void already: a wrong file"),
        (3, " ", "import 3: give a reason; it stays in the log and stands in every release"),
    ],
)
def test_what_can_not_be_declared_void(store, tmp_path, number, reason, message):
    bring(store, tmp_path, WRONG[0])
    void(store, 1)
    bring(store, tmp_path, WRONG[1])
    with pytest.raises(ReviewError, match=re.escape(message)):
        void(store, number, reason)
    assert len(store.counting_votes()) == 1


def run_sql(store, *statements):
    with store.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


CHANGES = {
    "UPDATE imports SET who = 'eve' WHERE number = 1": "import 1 was changed",
    "UPDATE imports SET after = 0 WHERE number = 1": "import 1 was changed",
    "UPDATE voids SET reason = 'none'": "void 2 was changed",
    "DELETE FROM voids": "vote 4 .* a vote before it is missing or new, or an import or void",
    "DELETE FROM imported WHERE vote_id = (SELECT max(vote_id) FROM imported WHERE import_number = 1)": "its votes are",
    "INSERT INTO voids SELECT 4, 3, reason, who, at_ms, after, chain FROM voids": "void 4 was changed",
}


def test_the_database_refuses_to_change_an_import_and_the_audit_finds_who_went_around_that(database, tmp_path):
    store = filled(database)
    bring(store, tmp_path, *WRONG)
    void(store, 1)
    bring(store, tmp_path, "s,q,photo3,3,ann,same")
    for change in CHANGES:
        if not change.startswith("INSERT"):
            with pytest.raises(sa.exc.SQLAlchemyError, match="imports are append-only: declare one void with"):
                run_sql(store, change)
    assert store.audit()[2] == []
    run_sql(store, *without_guards(store))
    for change, found in CHANGES.items():
        with store.engine.connect() as connection, connection.begin() as transaction:
            connection.execute(sa.text(change))
            breaks = audit_within(store, connection)
            transaction.rollback()
        assert any(re.search(found, text) for text in breaks), change


def audit_within(store, connection):
    """Audit what a transaction sees."""
    votes = map(dict, connection.execute(sa.select(schema.VOTE_LOG).order_by(schema.VOTE_LOG.c.sequence)).mappings())
    n_votes, head = connection.execute(sa.select(schema.LOG_HEAD.c.n_votes, schema.LOG_HEAD.c.chain)).one()
    breaks = find_breaks(merge(votes, read_entries(connection), key=_place), n_votes=n_votes, head=head)
    return [*breaks, *find_changed_imports(connection)]


def without_guards(store):
    if store.engine.dialect.name == "sqlite":
        names = [
            f"{table}_no_{change}" for table in ("imports", "voids", "imported") for change in ("update", "delete")
        ]
        return [f"DROP TRIGGER {name}" for name in names]
    return [f"DROP TRIGGER {table}_append_only ON {table}" for table in ("imports", "voids", "imported")]


def test_an_import_of_before_imports_were_written_down_is_named_by_its_file(store, tmp_path):
    store.append_votes(vote(0, reviewer="ann"))
    (tmp_path / "old.csv").write_text("\n".join([HEADER, *WRONG[:2], "s,q,photo1,1,ann,same", ""]))
    import_votes(store, tmp_path / "old.csv")
    (tmp_path / "old.csv").write_text("\n".join([HEADER, *WRONG[:2], "s,q,photo2,2,ann,same", ""]))
    assert claim_import(store, tmp_path / "old.csv", source=Source("old.csv", "", "lea", 7)) == 1
    assert void(store, 1) == 2
    assert counting(store) == [("photo1", "ann", "same")]
    assert store.read_items().equals(items())
    assert store.audit()[2] == []
    with pytest.raises(ReviewError, match=r"old\.csv holds no vote that is in the log and came with none"):
        claim_import(store, tmp_path / "old.csv", source=Source("old.csv", "", "lea", 7))


def test_an_import_is_not_replaced(store, tmp_path):
    bring(store, tmp_path, *WRONG)
    void(store, 1)
    with sqlite3.connect(tmp_path / "votes.sqlite") as connection:
        for table in ("imports", "voids", "imported"):
            with pytest.raises(sqlite3.IntegrityError, match="imports are append-only"):
                connection.execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    connection.close()


def test_the_export_says_what_is_void_and_importing_passes_it_over(store, tmp_path):
    bring(store, tmp_path, WRONG[0], WRONG[1])
    void(store, 1, "no such photo, says Łukasz")
    bring(store, tmp_path, "s,q,photo0,0,ann,different")
    export_votes(store, tmp_path / "all.csv")
    lines = (tmp_path / "all.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith(f",supersedes,{VOIDED}")
    assert sum("no such photo, says Łukasz" in line for line in lines) == 2
    other = open_store(tmp_path / "other.sqlite")
    assert import_votes(other, tmp_path / "all.csv") == 1
    assert counting(other) == counting(store) == [("photo0", "ann", "different")]


def test_a_blank_is_no_reason_why_a_vote_would_be_void(store, tmp_path):
    (tmp_path / "v.csv").write_text(f"{','.join(REQUIRED_COLUMNS)},{VOIDED}\ns,q,photo0,0,ann,same, \n")
    assert import_votes(store, tmp_path / "v.csv") == 1


def test_a_database_of_before_imports_keeps_its_votes_and_its_chain(database, tmp_path):
    engine = _engine(database)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    cast = pa.concat_tables([vote(number, reviewer=name) for number in range(3) for name in ("ann", "bob")])
    rows = chained("", [{"lease": None, "client_seq": None, **row} for row in _as_rows(cast)])
    earlier = sa.table("items", *map(sa.column, REVIEW_ITEMS.names))
    with engine.begin() as connection:
        schema.migrate(connection, to="0002")
        connection.execute(sa.insert(earlier), items().to_pylist())
        connection.execute(sa.insert(schema.VOTE_LOG), rows)
        connection.execute(sa.update(schema.LOG_HEAD).values(n_votes=len(rows), chain=rows[-1]["chain"]))
    store = open_store(database)
    assert store.audit() == (6, rows[-1]["chain"], [])
    assert store.counting_votes().equals(cast)
    assert store.read_items().equals(items())
    assert store.imports() == []
    bring(store, tmp_path, "s,q,photo3,3,ann,same")
    void(store, 1)
    assert store.audit(expect=rows[-1]["chain"])[::2] == (7, [])
    assert store.counting_votes().equals(cast)
