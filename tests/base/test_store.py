import errno
import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from overlap.base.errors import ArtifactError
from overlap.base.store import (
    Store,
    map_table,
    read_array,
    read_json,
    read_part,
    read_table,
    write_array,
    write_json,
    write_open_table,
    write_parts,
    write_table,
)
from overlap.base.tables import LANDMARKS, QUARANTINE, as_table

KEY = "f" * 64
LANDMARK = {"landmark_id": 1, "landmark_name": "Panthéon", "n_images": 3}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def files_below(store):
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*"))


def test_what_was_put_is_there(store):
    assert not store.exists("step", KEY)
    with store.put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})
        assert not store.exists("step", KEY), "a draft is no artefact"
    assert store.exists("step", KEY)
    assert store.get("step", KEY) == store.path("step", KEY)
    assert read_json(store.get("step", KEY), "counts") == {"n": 1}
    assert files_below(store) == ["step", f"step/{KEY}", f"step/{KEY}/counts.json"]


def test_what_is_not_there_names_the_step(store):
    with pytest.raises(ArtifactError, match=rf"step.{KEY} is not there; run what made it again"):
        store.get("step", KEY)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1), FileNotFoundError("no")])
def test_an_error_in_the_block_leaves_nothing_and_stays_what_it_is(store, error):
    with pytest.raises(type(error)) as caught, store.put("step", KEY) as folder:  # noqa: PT012
        write_json(folder, "counts", {"n": 1})
        raise error
    assert caught.value is error
    assert not store.exists("step", KEY)
    assert files_below(store) == ["step"]


def test_a_run_that_is_killed_leaves_a_draft_that_is_never_read_and_is_swept(store):
    program = f"""
import os, signal
from pathlib import Path
from overlap.base.store import Store, write_json
with Store(Path({str(store.root)!r})).put("step", {KEY!r}) as folder:
    write_json(folder, "counts", dict(n=1))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert len(files_below(store)) == 3, "step, draft, counts.json"
    assert not store.exists("step", KEY)
    with store.lock():
        assert files_below(store) == [".lock", "step"]


def test_sweeping_keeps_what_is_whole(store):
    with store.put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})
    with store.lock():
        assert read_json(store.get("step", KEY), "counts") == {"n": 1}


def test_the_first_of_two_writers_wins_and_the_second_ends_well(store):
    with store.put("step", KEY) as second:
        write_json(second, "counts", {"n": 2})
        with store.put("step", KEY) as first:
            write_json(first, "counts", {"n": 1})
    assert read_json(store.get("step", KEY), "counts") == {"n": 1}
    assert files_below(store) == ["step", f"step/{KEY}", f"step/{KEY}/counts.json"]


def test_writers_that_finish_at_once_all_end_well(store):
    errors, barrier = [], threading.Barrier(8)

    def write(number):
        try:
            with store.put("step", KEY) as folder:
                write_json(folder, "counts", {"n": number})
                barrier.wait()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert read_json(store.get("step", KEY), "counts")["n"] in range(8)
    assert len(files_below(store)) == 3


def test_a_rename_that_fails_for_another_reason_is_an_error(store, monkeypatch):
    def refuse(self, target):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.rename", refuse)
    with pytest.raises(PermissionError), store.put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})
    assert files_below(store) == ["step"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_leaves_nothing(store, monkeypatch, number):
    def full(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", full)
    message = r"the disk is full: .* was not written; free some space"
    with pytest.raises(ArtifactError, match=message), store.put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})
    assert files_below(store) == ["step"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_array(folder, "x", np.zeros(1_000_000)),
        lambda folder: write_table(folder, "x", as_table([LANDMARK] * 1000, LANDMARKS)),
        lambda folder: write_json(folder, "x", "x" * 1_000_000),
        lambda folder: write_open_table(folder, "x", as_table([LANDMARK] * 1000, LANDMARKS)),
        lambda folder: write_parts(folder, "x", [as_table([LANDMARK] * 1000, LANDMARKS)] * 9, LANDMARKS),
    ],
    ids=["array", "table", "json", "open table", "parts"],
)
def test_every_kind_of_file_says_that_the_disk_is_full(store, write):
    with pytest.raises(ArtifactError, match="the disk is full"), store.put("step", KEY) as folder:  # noqa: PT012
        for ending in ("npy", "parquet", "json", "arrow"):
            (folder / f"x.{ending}").symlink_to("/dev/full")
        write(folder)
    assert not store.exists("step", KEY)


def test_an_array_is_never_written_by_a_call_that_hides_a_full_disk(store, monkeypatch):
    """ndarray.tofile raises an OSError without errno when the disk is full."""

    class Watched(np.ndarray):
        def tofile(self, *_):
            raise OSError("8 requested and 4 written")

    monkeypatch.setattr(
        "overlap.base.store.np.asarray", lambda array, order: np.array(array, order=order).view(Watched)
    )
    with store.put("step", KEY) as folder:
        write_array(folder, "x", np.arange(8.0))
    assert read_array(store.get("step", KEY), "x").tolist() == list(range(8))


def test_the_lock_refuses_a_second_run_and_names_the_first(store):
    program = f"""
from pathlib import Path
from overlap.base.errors import ArtifactError
from overlap.base.store import Store
try:
    with Store(Path({str(store.root)!r})).lock():
        print("held")
except ArtifactError as error:
    print(error)
"""
    with store.lock():
        refused = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert refused.startswith(f"another run (process {os.getpid()}) is writing to {store.root}; wait for it")
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "held"


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/none"])
def test_a_store_that_can_not_be_made_is_named(tmp_path, folder):
    (tmp_path / "file").touch()
    store = Store(tmp_path / folder)
    message = r"can't be made or written to: [A-Z].*; name another folder, or mend its rights"
    with pytest.raises(ArtifactError, match=message), store.lock():
        pytest.fail("it was locked")
    with pytest.raises(ArtifactError, match=message), store.put("step", "abc"):
        pytest.fail("it was written to")


def test_the_lock_is_given_back_after_an_error(store):
    with pytest.raises(ValueError, match="no"), store.lock():
        raise ValueError("no")
    with store.lock():
        assert (store.root / ".lock").read_text() == str(os.getpid())


@given(arrays(st.sampled_from([np.float16, np.float32, np.int64, np.uint8, np.bool_]), array_shapes(min_side=0)))
def test_an_array_reads_back_as_it_was(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("arrays")
    for form in (array, array.T, np.asfortranarray(array)):
        write_array(folder, "x", form)
        read = np.load(folder / "x.npy", allow_pickle=False)
        assert read.dtype == form.dtype
        np.testing.assert_array_equal(read, form)


def test_an_array_is_mapped_read_only(tmp_path):
    write_array(tmp_path, "x", np.arange(6, dtype=np.float32).reshape(2, 3))
    read = read_array(tmp_path, "x")
    assert isinstance(read, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        read[0, 0] = 1


def test_texts_can_be_stored_and_objects_can_not(tmp_path):
    write_array(tmp_path, "x", np.array(["a", "Ünïcode"]))
    assert read_array(tmp_path, "x").tolist() == ["a", "Ünïcode"]
    with pytest.raises(TypeError, match="x: an array of Python objects can't be stored"):
        write_array(tmp_path, "x", np.array([{}, "a"], dtype=object))


def test_a_table_reads_back_as_it_was(tmp_path):
    table = as_table([LANDMARK], LANDMARKS)
    write_table(tmp_path, "t", table)
    assert read_table(tmp_path, "t", LANDMARKS).equals(table)


def test_an_open_table_reads_back_as_it_was(tmp_path):
    table = pa.concat_tables([as_table([LANDMARK], LANDMARKS), as_table([LANDMARK] * 2, LANDMARKS)])
    write_open_table(tmp_path, "x", table)
    assert map_table(tmp_path, "x", LANDMARKS).equals(table)


def test_an_open_table_whose_texts_end_beyond_the_file_is_refused(tmp_path):
    write_open_table(tmp_path, "x", as_table([{**LANDMARK, "landmark_name": "a" * n} for n in (77, 12)], LANDMARKS))
    whole = (tmp_path / "x.arrow").read_bytes()
    ends = struct.pack("<iii", 0, 77, 89)
    assert whole.count(ends) == 1
    (tmp_path / "x.arrow").write_bytes(whole.replace(ends, struct.pack("<iii", 0, 77, 1 << 30)))
    with pytest.raises(ArtifactError, match="can't be read"):
        map_table(tmp_path, "x", LANDMARKS)


def test_each_of_several_tables_reads_back_as_it_was(tmp_path):
    parts = [as_table([{**LANDMARK, "landmark_id": n}] * n, LANDMARKS) for n in range(1, 4)]
    write_parts(tmp_path, "x", parts, LANDMARKS)
    assert all(read_part(tmp_path, "x", number).equals(part) for number, part in enumerate(parts))


def test_json_reads_back_as_it_was_and_its_bytes_do_not_depend_on_the_order(tmp_path):
    write_json(tmp_path, "a", {"b": ["Panthéon", 1.5, None], "a": 1})
    write_json(tmp_path, "b", {"a": 1, "b": ["Panthéon", 1.5, None]})
    assert read_json(tmp_path, "a") == {"b": ["Panthéon", 1.5, None], "a": 1}
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


READERS = {
    "x.parquet": lambda folder: read_table(folder, "x", LANDMARKS),
    "x.npy": lambda folder: read_array(folder, "x"),
    "x.json": lambda folder: read_json(folder, "x"),
    "open.arrow": lambda folder: map_table(folder, "open", LANDMARKS),
    "parts.arrow": lambda folder: read_part(folder, "parts", 1),
}


@pytest.mark.parametrize("name", READERS)
def test_a_missing_file_is_said(tmp_path, name):
    with pytest.raises(ArtifactError, match=rf"{name} can't be read .*; delete .* and run the step again"):
        READERS[name](tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_said_wherever_it_was_cut(tmp_path, name):
    write_table(tmp_path, "x", as_table([LANDMARK], LANDMARKS))
    write_array(tmp_path, "x", np.arange(40))
    write_json(tmp_path, "x", {"key": [1, 2, 3]})
    write_open_table(tmp_path, "open", as_table([LANDMARK], LANDMARKS))
    write_parts(tmp_path, "parts", [as_table([LANDMARK] * n, LANDMARKS) for n in (1, 2)], LANDMARKS)
    whole = (tmp_path / name).read_bytes()
    for cut in [*range(0, len(whole) - 1, 1 + len(whole) // 100), len(whole) - 2]:
        (tmp_path / name).write_bytes(whole[:cut])
        with pytest.raises(ArtifactError, match=r"can't be read .*; delete .* and run the step again"):
            READERS[name](tmp_path)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="can't be read"):
        read_array(tmp_path, "x")


def test_a_table_with_other_columns_asks_for_the_step_again(tmp_path):
    write_table(tmp_path, "x", pa.table({"landmark_id": [1]}))
    with pytest.raises(ArtifactError, match=r"lacks the column\(s\) landmark_name, n_images.*run the step again"):
        read_table(tmp_path, "x", LANDMARKS)
    write_table(tmp_path, "x", pa.table({"image_id": [1], "source": ["s"], "path": ["p"], "reason": ["r"]}))
    with pytest.raises(ArtifactError, match="'image_id' holds int64, expected string"):
        read_table(tmp_path, "x", QUARANTINE)
