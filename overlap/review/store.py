"""The review store: what is asked and what was answered, in SQLite or PostgreSQL.

Votes are append-only: the database itself refuses to change or delete one. A reviewer's vote on an item counts when it
is the last of that reviewer on that item, by ``voted_at`` and then by order of arrival; so vote files may arrive in
any order and lead to the same decision, and at most one vote per reviewer and item counts, by construction. A last
vote of ``withdrawn`` takes the earlier one back, and then none counts. A vote that only void imports brought is in the
log, and for all that counts and is asked it is as if it were not.
"""

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool, Pool, QueuePool

from overlap.base.errors import ConfigError, ReviewError
from overlap.base.tables import ANSWERS, REVIEW_ITEMS, VOTES, WITHDRAWN, checked
from overlap.review.chain import chained, find_breaks
from overlap.review.ids import vote_id
from overlap.review.imports import (
    Import,
    Source,
    batches,
    claim_import,
    find_changed_imports,
    find_imported,
    list_imports,
    next_number,
    read_entries,
    record_import,
    void_import,
    void_reasons,
)
from overlap.review.queue import find_changed_items, sorted_items
from overlap.review.schema import GOLD, ITEMS, LOG_HEAD, VOTE_LOG, is_asked, is_present, migrate, stands

_Row: TypeAlias = dict[str, Any]
_Earlier: TypeAlias = tuple[int, int, str]  # voted_at_ms, order of arrival, vote_id
_History: TypeAlias = dict[tuple[str, str], list[_Earlier]]  # by reviewer and item, in order of time


class VoteRefusedError(ReviewError):
    """A vote of a batch was refused, and with it the batch; ``row`` counts from 0."""

    def __init__(self, row: int, reason: str) -> None:
        self.row = row
        self.reason = reason
        super().__init__(f"vote {row + 1} of the batch: {reason}; nothing of the batch was recorded")


@dataclass(frozen=True)
class ReviewStore:
    """Read and append to the review database; `open_store` makes one."""

    engine: sa.Engine

    def add_items(self, items: pa.Table) -> None:
        """Add REVIEW_ITEMS; those that are there take the new origin and score, so adding twice changes nothing."""
        rows = checked(items, REVIEW_ITEMS).to_pylist()
        with self.writing() as connection:
            _put_items(connection, rows, renew=True)

    def add_gold(self, items: pa.Table, confirms: Sequence[bool]) -> None:
        """Add items whose answer is known: whether it is one of those that confirm."""
        rows = checked(items, REVIEW_ITEMS).to_pylist()
        known = [{"item_id": row["item_id"], "confirms": each} for row, each in zip(rows, confirms, strict=True)]
        with self.writing() as connection:
            _put_items(connection, rows, renew=False)
            if known:
                insert = _dialect(connection).insert(GOLD)
                new = {"confirms": insert.excluded.confirms}
                connection.execute(insert.on_conflict_do_update(index_elements=["item_id"], set_=new), known)

    def append_votes(self, votes: pa.Table) -> int:
        """Append VOTES that were cast here and now, all or none; votes that are there already are passed over.

        Returns:
            The number of votes added.

        Raises:
            VoteRefusedError: the item is unknown, the answer or vote_id is not a known one, the reviewer is not given,
                or the reviewer's counting vote on the item is not the one that `supersedes` names.
        """
        return self._add(votes, [], _cast)

    def answer(self, votes: pa.Table, *, lease: str, client_seq: int, admit: Callable[[sa.Connection], bool]) -> int:
        """Append VOTES cast in the app, all or none, if their lease admits them in the same transaction.

        Args:
            admit: raises ReviewError for a vote that must not be taken; False for one that is there already.

        Returns:
            The number of votes added.

        Raises:
            VoteRefusedError: as for `append_votes`.
        """
        return self._add(votes, [], _cast, admit=admit, shown={"lease": lease, "client_seq": client_seq})

    def merge_votes(self, items: pa.Table, votes: pa.Table, *, source: Source | None = None) -> int:
        """Add VOTES from elsewhere with the items they are on, all or none; what is there already stays as it is.

        A vote that names none supersedes the reviewer's vote before it on the same item, by voted_at, then by order.

        Args:
            source: writes the votes down as an import, which `void` can take back; it brings void ones back.

        Returns:
            The number of votes added or brought back.

        Raises:
            VoteRefusedError: as for `append_votes`, or `supersedes` names no earlier vote of the reviewer on the item.
        """
        return self._add(votes, checked(items, REVIEW_ITEMS).to_pylist(), _merged, source=source)

    def imports(self) -> list[Import]:
        """Return the imports that were written down, in order."""
        with self.reading() as connection:
            return list_imports(connection)

    def claim(self, votes: pa.Table, *, source: Source) -> int:
        """Write down that VOTES came with an import of before imports were written down, and return its number.

        Raises:
            ReviewError: none of them is in the log, save those that were cast in the app or came with a known import.
        """
        asked = dict(zip(votes["vote_id"].to_pylist(), votes["item_id"].to_pylist(), strict=True))
        with self.writing() as connection:
            return claim_import(connection, source, asked)

    def void(self, number: int, *, reason: str, who: str, now_ms: int) -> int:
        """Declare an import void, for good, and return how many votes count no more.

        Raises:
            ReviewError: there is no such import, it is void already, or no reason is given.
        """
        with self.writing() as connection:
            return void_import(connection, number, reason=reason, who=who, now_ms=now_ms)

    def void_reasons(self) -> dict[str, str]:
        """Return, by vote_id, why a vote is void."""
        with self.reading() as connection:
            return void_reasons(connection)

    def read_items(self) -> pa.Table:
        """Return REVIEW_ITEMS: pairs by evaluation set, query, landmark and photo, then text candidates; no gold."""
        return sorted_items(
            checked(self._select(_read_items().where(ITEMS.c.origin != "gold", is_asked())), REVIEW_ITEMS)
        )

    def read_gold(self) -> tuple[pa.Table, dict[str, bool]]:
        """Return the gold REVIEW_ITEMS and, by item_id, whether the known answer confirms."""
        items = self._select(_read_items().where(ITEMS.c.item_id.in_(sa.select(GOLD.c.item_id))))
        with self.reading() as connection:
            confirms = {item: bool(known) for item, known in connection.execute(sa.select(GOLD))}
        return sorted_items(checked(items, REVIEW_ITEMS)), confirms

    def read_votes(self) -> pa.Table:
        """Return all VOTES in order of arrival; superseded and void ones, withdrawals and those on gold items too."""
        return _as_votes(self._select(_read_votes()))

    def counting_votes(self) -> pa.Table:
        """Return the VOTES that count, in order of arrival: the last of each reviewer on each item, gold left out."""
        return _as_votes(self._select(_read_votes().where(VOTE_LOG.c.sequence.in_(_last()), ITEMS.c.origin != "gold")))

    def last_votes_of(self, reviewer: str, item_ids: Sequence[str]) -> dict[str, str]:
        """Return, by item_id, the vote_id of the reviewer's last vote, withdrawn or not: the next must supersede it."""
        with self.reading() as connection:
            order = (VOTE_LOG.c.voted_at_ms, VOTE_LOG.c.sequence)
            mine = sa.select(VOTE_LOG.c.item_id, VOTE_LOG.c.vote_id).where(VOTE_LOG.c.reviewer == reviewer, stands())
            rows = connection.execute(mine.where(VOTE_LOG.c.item_id.in_(item_ids)).order_by(*order))
            return {row.item_id: row.vote_id for row in rows}

    def audit(self, *, expect: str | None = None) -> tuple[int, str, list[str]]:
        """Go through the whole log of votes.

        Args:
            expect: a link that an earlier audit returned; it must be in the chain.

        Returns:
            The number of votes, the last link of the chain, and in words what was changed or is missing.
        """
        with self.reading() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            n_votes, head = connection.execute(sa.select(LOG_HEAD.c.n_votes, LOG_HEAD.c.chain)).one()
            votes = map(dict, connection.execute(sa.select(VOTE_LOG).order_by(VOTE_LOG.c.sequence)).mappings())
            entries = merge(votes, read_entries(connection), key=_place)
            breaks = find_breaks(entries, n_votes=n_votes, head=head, expect=expect)
            breaks += find_changed_imports(connection)
            breaks += find_changed_items(map(dict, connection.execute(sa.select(ITEMS)).mappings()))
        return n_votes, head, breaks

    def _add(
        self,
        votes: pa.Table,
        items: list[_Row],
        link: "_Link",
        *,
        admit: Callable[[sa.Connection], bool] = lambda connection: True,
        shown: Mapping[str, Any] = MappingProxyType({}),
        source: Source | None = None,
    ) -> int:
        rows = _as_rows(votes)
        with self.writing() as connection:
            if not admit(connection):
                return 0
            number = None if source is None else next_number(connection)
            _put_items(connection, [{**row, "import_number": number} for row in items], renew=False)
            _check(rows, _known_items(connection, rows))
            given = set() if source is None else {row["vote_id"] for row in rows}
            known, back, history = _known_votes(connection, rows, given=given)
            new = link(rows, known.copy(), history)
            _append(connection, [{"lease": None, "client_seq": None, **row, **shown} for row in new])
            if source is not None and number is not None and (new or back):
                record_import(connection, number, source, (given - known) | find_imported(connection, given & known))
        return len(new) + len(back)

    def _select(self, statement: sa.Select[Any]) -> pa.Table:
        with self.reading() as connection:
            result = connection.execute(statement)
            names = list(result.keys())
            columns = list(zip(*result.all(), strict=True)) or [()] * len(names)
        return pa.table({name: pa.array(values, _type(name)) for name, values in zip(names, columns, strict=True)})

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection for reading; a failure becomes a ReviewError."""
        with _explained(self.engine), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a connection whose changes are committed at the end of the block; one writer at a time."""
        with _explained(self.engine), _begun(self.engine) as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(sa.text("LOCK TABLE items, votes IN SHARE ROW EXCLUSIVE MODE"))
            yield connection


def open_store(database: str | Path) -> ReviewStore:
    """Open the review store; make its tables when they are not there, and bring older ones to the present form.

    Args:
        database: a SQLAlchemy URL, or the path of a SQLite file, made with its folder when missing.

    Raises:
        ConfigError: the URL is not one, or its driver is not installed.
        ReviewError: the database can't be opened.
    """
    engine = _engine(sa.URL.create("sqlite", database=str(database)) if isinstance(database, Path) else database)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    store = ReviewStore(engine)
    with store.reading() as connection:
        present = is_present(connection)
    if not present:
        with _explained(engine), _begun(engine) as connection:
            migrate(connection)
    return store


def keep_connections(store: ReviewStore) -> ReviewStore:
    """Return the store with connections that stay open between uses: for a server, which never forks."""
    engine = _engine(store.engine.url, pool=QueuePool)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    return ReviewStore(engine)


def _engine(url: str | sa.URL, *, pool: type[Pool] = NullPool) -> sa.Engine:
    try:
        return sa.create_engine(url, poolclass=pool)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"review.database: no database can be opened by {str(url)!r} ({error}); give a URL such as "
            "sqlite:///runs/votes.sqlite or postgresql+psycopg://user@host/name, and install its driver"
        ) from None


def _prepare_sqlite(engine: sa.Engine) -> None:
    name = engine.url.database
    if name and name != ":memory:" and not name.startswith("file:"):
        with _explained(engine):
            Path(name).absolute().parent.mkdir(parents=True, exist_ok=True)
            # It holds the key that signs sessions. SQLite gives the files beside it the same mode.
            if not Path(name).exists():
                Path(name).touch(mode=0o600)
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)


def _set_pragmas(connection: Any, _: object) -> None:
    # The driver's own transactions would begin too late, after the first read; see _begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("busy_timeout = 60000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _begun(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        yield connection


@contextmanager
def _explained(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise ReviewError(f"the review store {engine.url.render_as_string()} failed: {reason}") from None


def _put_items(connection: sa.Connection, rows: list[_Row], *, renew: bool) -> None:
    if not rows:
        return
    insert = _dialect(connection).insert(ITEMS)
    if renew:
        new = {"origin": insert.excluded.origin, "score": insert.excluded.score, "import_number": None}
        connection.execute(insert.on_conflict_do_update(index_elements=["item_id"], set_=new), rows)
    else:
        connection.execute(insert.on_conflict_do_nothing(index_elements=["item_id"]), rows)


def _dialect(connection: sa.Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def _append(connection: sa.Connection, rows: list[_Row]) -> None:
    if not rows:
        return
    n_votes, head = connection.execute(sa.select(LOG_HEAD.c.n_votes, LOG_HEAD.c.chain)).one()
    new = chained(head, rows)
    connection.execute(sa.insert(VOTE_LOG), new)
    connection.execute(sa.update(LOG_HEAD).values(n_votes=n_votes + len(new), chain=new[-1]["chain"]))


def _place(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Return the place of an entry in the log: an import or void comes after the vote that it names."""
    return (entry["after"], entry["number"]) if "kind" in entry else (entry["sequence"], 0)


def _last() -> sa.Select[Any]:
    place = sa.func.row_number().over(
        partition_by=(VOTE_LOG.c.item_id, VOTE_LOG.c.reviewer),
        order_by=(VOTE_LOG.c.voted_at_ms.desc(), VOTE_LOG.c.sequence.desc()),
    )
    placed = sa.select(VOTE_LOG.c.sequence, VOTE_LOG.c.answer, place.label("place")).where(stands()).subquery()
    return sa.select(placed.c.sequence).where(placed.c.place == 1, placed.c.answer != WITHDRAWN)


def _known_items(connection: sa.Connection, rows: list[_Row]) -> set[str]:
    found: set[str] = set()
    for batch in batches({row["item_id"] for row in rows}):
        found.update(connection.scalars(sa.select(ITEMS.c.item_id).where(ITEMS.c.item_id.in_(batch))))
    return found


def _known_votes(
    connection: sa.Connection, rows: list[_Row], *, given: set[str]
) -> tuple[set[str], set[str], _History]:
    """Return the votes on the rows' items, those of them that are void and now given again, and who said what."""
    columns = [VOTE_LOG.c[name] for name in ("reviewer", "item_id", "voted_at_ms", "sequence", "vote_id")]
    known, back = set[str](), set[str]()
    history: _History = defaultdict(list)
    for batch in batches({row["item_id"] for row in rows}):
        said = sa.select(*columns, stands().label("stands")).where(VOTE_LOG.c.item_id.in_(batch))
        for row in connection.execute(said):
            known.add(row.vote_id)
            if not row.stands and row.vote_id in given:
                back.add(row.vote_id)
            if row.stands or row.vote_id in given:
                history[row.reviewer, row.item_id].append((row.voted_at_ms, row.sequence, row.vote_id))
    for votes in history.values():
        votes.sort()
    return known, back, history


def _check(rows: list[_Row], known_items: set[str]) -> None:
    for number, row in enumerate(rows):
        if row["answer"] not in (*ANSWERS, WITHDRAWN):
            raise VoteRefusedError(number, f"answer {row['answer']!r} is not one of {', '.join(ANSWERS)}")
        if not row["reviewer"] or row["reviewer"] != row["reviewer"].strip():
            raise VoteRefusedError(number, f"reviewer {row['reviewer']!r} must be a name without blanks around it")
        if not 0 <= (row["seconds"] or 0) < math.inf:
            raise VoteRefusedError(number, f"seconds {row['seconds']} is not a duration")
        if row["item_id"] not in known_items:
            raise VoteRefusedError(number, f"item {row['item_id']} is not in the store; add the queue's items first")
        if row["vote_id"] != _hash(row):
            raise VoteRefusedError(number, f"vote_id {row['vote_id']} is not the hash of what the vote says")


def _hash(row: _Row) -> str:
    names = ("voted_at_ms", "seconds", "note", "guideline_version")
    return vote_id(
        row["item_id"], row["evaluation_set"], row["reviewer"], row["answer"], **{name: row[name] for name in names}
    )


_Link: TypeAlias = Callable[[list[_Row], set[str], _History], list[_Row]]


def _cast(rows: list[_Row], known: set[str], history: _History) -> list[_Row]:
    new = []
    for number, row in enumerate(rows):
        if row["vote_id"] in known:
            continue
        earlier = history[row["reviewer"], row["item_id"]]
        _check_replaces(number, row, earlier)
        _remember(row, known, earlier)
        new.append(row)
    return new


def _check_replaces(number: int, row: _Row, earlier: Sequence[_Earlier]) -> None:
    counting = earlier[-1] if earlier else None
    if row["supersedes"] != (counting and counting[-1]):
        raise VoteRefusedError(
            number,
            f"the counting vote of {row['reviewer']} on this item is {counting and counting[-1]}, and supersedes names "
            f"{row['supersedes']}; show the item again and vote on what is there now",
        )
    if counting and row["voted_at_ms"] < counting[0]:
        raise VoteRefusedError(number, f"it is older than the vote {counting[-1]} it supersedes; set the clock right")


def _merged(rows: list[_Row], known: set[str], history: _History) -> list[_Row]:
    new = []
    for number, row in sorted(enumerate(rows), key=lambda numbered: numbered[1]["voted_at_ms"]):
        if row["vote_id"] in known:
            continue
        votes = history[row["reviewer"], row["item_id"]]
        earlier = [vote for moment, _, vote in votes if moment <= row["voted_at_ms"]]
        if row["supersedes"] and row["supersedes"] not in earlier:
            raise VoteRefusedError(
                number,
                f"supersedes names {row['supersedes']}, which is no earlier vote of {row['reviewer']} on this item",
            )
        linked = {**row, "supersedes": row["supersedes"] or (earlier[-1] if earlier else None)}
        _remember(linked, known, votes)
        new.append(linked)
    return new


def _remember(row: _Row, known: set[str], votes: list[_Earlier]) -> None:
    known.add(row["vote_id"])
    arrival = 1 + max((vote[1] for vote in votes), default=0)
    insort(votes, (row["voted_at_ms"], arrival, row["vote_id"]))


def _as_rows(votes: pa.Table) -> list[_Row]:
    votes = checked(votes, VOTES)
    moments = votes["voted_at"].cast(pa.int64()).to_pylist()
    names = [column.name for column in VOTE_LOG.columns if column.name in votes.column_names]
    rows: list[_Row] = votes.select(names).to_pylist()
    return [row | {"voted_at_ms": moment} for row, moment in zip(rows, moments, strict=True)]


def _as_votes(rows: pa.Table) -> pa.Table:
    moments = rows["voted_at_ms"].cast(VOTES.field("voted_at").type)
    return checked(rows.append_column("voted_at", moments), VOTES)


def _type(name: str) -> pa.DataType:
    if name == "voted_at_ms":
        return pa.int64()
    return (VOTES if name in VOTES.names else REVIEW_ITEMS).field(name).type


def _read_items() -> sa.Select[Any]:
    return sa.select(*(ITEMS.c[name] for name in REVIEW_ITEMS.names))


def _read_votes() -> sa.Select[Any]:
    asked = (ITEMS.c.group_id, ITEMS.c.query_id, ITEMS.c.image_id, ITEMS.c.landmark_id)
    said = (column for column in VOTE_LOG.columns if column.name in (*VOTES.names, "voted_at_ms"))
    return sa.select(*said, *asked).join(ITEMS).order_by(VOTE_LOG.c.sequence)
