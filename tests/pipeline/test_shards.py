"""How work is cut, named and stored."""

import hashlib
import pickle
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.config import load_config
from overlap.base.errors import ArtifactError, DataError
from overlap.base.store import read_json, write_json
from overlap.base.tables import IMAGES, as_table
from overlap.pipeline.cuts import cut, cut_photos
from overlap.pipeline.run import Run
from overlap.pipeline.shards import (
    Done,
    Shard,
    hash_table,
    join_quarantine,
    put_list,
    read_rows,
    read_text_list,
    run_photos,
    run_shards,
    shard_folders,
    store_each,
)


@pytest.fixture
def run(tmp_path: Path, write_config, open_quietly) -> Iterator[Run]:
    with open_quietly(load_config(write_config(tmp_path, world=tmp_path / "world"))) as opened:
        yield opened


def _store_number(shard: Shard) -> None:
    with shard.store.put(shard.step, shard.fingerprint) as folder:
        write_json(folder, "number", shard.work)


def _shards(run: Run, numbers: range) -> list[Shard]:
    return [Shard(run.store, "numbers", f"n{number}", 1, number) for number in numbers]


def test_cut_keeps_order_and_bounds_the_size():
    assert [len(part) for part in cut(list(range(100)), 30)] == [7] * 14 + [2]
    assert [len(part) for part in cut(list(range(5000)), 100)] == [100] * 50
    assert [number for part in cut(list(range(100)), 30) for number in part] == list(range(100))
    assert cut([], 10) == []


def photos(numbers: Iterable[int], archives: int = 0) -> pa.Table:
    rows = [
        {
            **dict.fromkeys(IMAGES.names),
            "image_id": f"{number:016x}",
            "source": "s",
            "path": f"{number}.jpg",
            "stamp": str(number),
            "archive": f"images_{number % archives}.tar" if archives else None,
        }
        for number in numbers
    ]
    return as_table(rows, IMAGES)


def names(images: pa.Table, parts: list[np.ndarray]) -> set[tuple[str, ...]]:
    return {tuple(images["image_id"].take(part).to_pylist()) for part in parts}


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 10_000), max_size=120), st.integers(0, 10_000), st.integers(1, 30), st.integers(0, 3))
def test_photos_are_cut_by_the_photo_and_one_more_changes_two_shards_at_most(numbers, more, at_most, archives):
    images = photos(sorted(numbers), archives)
    parts = cut_photos(images, at_most)
    assert sorted(row for part in parts for row in part.tolist()) == list(range(len(images)))
    assert all(0 < len(part) <= at_most for part in parts)
    assert all(len(pc.unique(images["archive"].take(part))) == 1 for part in parts)
    turned = photos(sorted(numbers, reverse=True), archives)
    assert names(turned, cut_photos(turned, at_most)) == names(images, parts)
    grown = photos([more, *sorted(numbers - {more})], archives) if more not in numbers else images
    assert len(names(grown, cut_photos(grown, at_most)) - names(images, parts)) <= 2


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 10_000), max_size=120), st.integers(1, 30), st.integers(0, 3))
def test_photos_are_cut_as_their_hashes_say_bit_by_bit(numbers, at_most, archives):
    images = photos(sorted(numbers), archives)
    by_archive: dict[str, list[tuple[int, str]]] = {}
    for row in images.to_pylist():
        digest = hashlib.sha256(f"s\0{row['image_id']}".encode()).digest()
        by_archive.setdefault(row["archive"] or "", []).append((int.from_bytes(digest), row["image_id"]))
    wanted = [part for archive, own in sorted(by_archive.items()) for part in halve(own, at_most, 0 if archive else 4)]
    assert [images["image_id"].take(part).to_pylist() for part in cut_photos(images, at_most)] == wanted


def halve(hashed: list[tuple[int, str]], at_most: int, least: int, bit: int = 0) -> list[list[str]]:
    """Restate how photos are cut, one bit of the hash after another."""
    if len(hashed) <= at_most and bit >= least:
        return [[image_id for _, image_id in sorted(hashed)]] if hashed else []
    halves = [[one for one in hashed if one[0] >> (255 - bit) & 1 == side] for side in (0, 1)]
    return [part for half in halves for part in halve(half, at_most, least, bit + 1)]


def test_a_small_set_is_cut_for_several_workers():
    assert len(cut_photos(photos(range(500)), 1000)) == 16
    assert len(cut_photos(photos(range(500), 2), 1000)) == 2


def test_a_photo_that_stands_there_twice_is_in_one_part():
    parts = cut_photos(pa.concat_tables([photos(range(3)), photos([1])]), 1)
    assert sorted(sorted(part.tolist()) for part in parts) == [[0], [1, 3], [2]]


def test_a_shard_names_its_photos_on_disk_and_reads_them_there(run: Run):
    images = photos(range(40))
    shards = run_photos(run, "hashes", images, _store_names, settings="x", label="names")
    assert all(len(pickle.dumps(shard)) < 2000 for shard in shards)
    assert sum(shard.size for shard in shards) == 40
    rows = [row for shard in shards for row in read_rows(shard)]
    assert sorted(rows, key=itemgetter("image_id")) == images.to_pylist()
    again = run_photos(run, "hashes", photos(range(39, -1, -1)), _never, settings="x", label="names")
    assert [shard.fingerprint for shard in again] == [shard.fingerprint for shard in shards]


def _never(shard: Shard) -> str:
    raise AssertionError(f"{shard.fingerprint} was done again")


def _store_names(shard: Shard) -> str:
    return store_each(shard, _name, _write_names)


def _name(row: dict[str, Any]) -> str:
    if row["stamp"] == "3":
        raise DataError("photo 3 is broken")
    return f"{row['stamp']} of {row['source']}"


def _write_names(folder: Path, done: Done[str]) -> None:
    write_json(folder, "names", {done.rows[place]["image_id"]: name for place, name in done.made.items()})


def test_what_can_be_made_is_stored_and_the_rest_is_in_quarantine(run: Run):
    shards = run_photos(run, "hashes", photos(range(5)), _store_names, settings=None, label="names")
    folders = [run.store.get("hashes", shard.fingerprint) for shard in shards]
    made: dict[str, str] = {}
    for folder in folders:
        made |= cast("dict[str, str]", read_json(folder, "names"))
    assert made == {f"{number:016x}": f"{number} of s" for number in (0, 1, 2, 4)}
    [bad] = join_quarantine(folders).to_pylist()
    assert (bad["image_id"], bad["reason"]) == (f"{3:016x}", "photo 3 is broken")


def test_a_list_of_parts_that_is_none_is_named_and_never_read_as_no_photos(run: Run):
    [shard] = run_photos(run, "hashes", photos(range(1)), _store_names, settings=None, label="names")
    for wrong in ("{}", "[]"):
        (run.store.get("listed", shard.work.listed) / "parts.json").write_text(wrong)
        with pytest.raises(ArtifactError, match=r"parts\.json holds no list of parts; delete .* run the step"):
            run_photos(run, "hashes", photos(range(1)), _never, settings=None, label="names")


def test_a_table_is_hashed_by_its_rows_however_it_lies_in_memory():
    whole = photos(range(10))
    pieces = pa.concat_tables([whole.slice(0, 3), photos(range(3, 10))])
    assert hash_table(pieces) == hash_table(whole) == hash_table(photos(range(12)).slice(0, 10))
    assert hash_table(whole.slice(1)) != hash_table(whole)
    cut_otherwise = [pa.table({"a": pa.array(texts)}) for texts in (["ab", "c"], ["a", "bc"], ["ab", None, "c"])]
    assert len({*map(hash_table, cut_otherwise)}) == 3


def test_only_missing_shards_are_done(run: Run):
    run_shards(run, _shards(run, range(3)), _store_number, label="numbers")
    before = {path: path.stat().st_mtime_ns for path in run.store.root.glob("numbers/*/number.json")}
    run_shards(run, _shards(run, range(5)), _store_number, label="numbers")
    after = {path: path.stat().st_mtime_ns for path in run.store.root.glob("numbers/*/number.json")}
    assert len(before) == 3
    assert len(after) == 5
    assert before.items() <= after.items()


def test_a_list_names_its_shards_in_order(run: Run):
    shards = _shards(run, range(3))
    run_shards(run, shards, _store_number, label="numbers")
    whole = put_list(run, "numbers", shards)
    assert [folder.name for folder in shard_folders(run.store, "numbers", whole)] == ["n0", "n1", "n2"]
    assert put_list(run, "numbers", shards) == whole


def test_a_list_of_something_else_is_named(run: Run):
    with run.store.put("numbers", "odd") as folder:
        write_json(folder, "shards", {"a": 1})
    with pytest.raises(ArtifactError, match=r"shards\.json holds no list of texts"):
        read_text_list(run.store.get("numbers", "odd"), "shards")
