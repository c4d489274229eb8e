import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutate import mutations, within

from overlap.base.errors import DataError
from overlap.datasets.pickles import read_plain_pickle

plain = st.recursive(
    st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.none(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner)),
    max_leaves=5,
)


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=30, deadline=None)
def test_plain_values_are_read(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_plain_pickle(path, remedy="fetch it") == value


@given(content=st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda tail: b"\x80\x02}(" + tail)))
@settings(max_examples=120, deadline=None)
def test_noise_is_a_data_error_or_plain(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "noise.pkl"
    path.write_bytes(content)
    try:
        value = read_plain_pickle(path, remedy="fetch it")
    except DataError:
        return
    assert isinstance(value, dict | list | tuple | set | frozenset | str | bytes | bytearray | int | float | None)


def test_byte_strings_of_python_2_become_text(tmp_path):
    (tmp_path / "old.pkl").write_bytes(b"\x80\x02}U\x04nameU\x05caf\xc3\xa9s.")
    assert read_plain_pickle(tmp_path / "old.pkl", remedy="fetch it") == {"name": "café"}


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"ccollections\nOrderedDict\n.",
    ],
)
def test_every_way_to_name_code_is_refused(tmp_path, content):
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.pkl: the pickle holds code \([\w.]+\) and was not loaded; .*; fetch it"):
        read_plain_pickle(tmp_path / "bad.pkl", remedy="fetch it")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pickle.dumps(["a"] * 9)[:-3],
        b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b".",
        b"P1\n.",
        b"\x80\x63.",
        b"\x80\x04\x95" + struct.pack("<Q", 2**36) + b"].",
    ],
    ids=["empty", "cut", "huge bytes", "persistent id", "protocol", "frame"],
)
def test_damaged_pickles(tmp_path, content):
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.pkl: not a whole pickle \(\w+: .*\); fetch it"):
        read_plain_pickle(tmp_path / "bad.pkl", remedy="fetch it")


@pytest.mark.parametrize("content", [b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".", b"(lp4294967295\n."])
def test_a_few_bytes_can_not_ask_for_gigabytes(tmp_path, content):
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"not a whole pickle \(UnpicklingError: memo entry 4294967295 in \d+ bytes\)"):
        read_plain_pickle(tmp_path / "bad.pkl", remedy="fetch it")


def test_missing_large_and_unreadable_files(tmp_path):
    with pytest.raises(DataError, match=r"none\.pkl: no such file; fetch it"):
        read_plain_pickle(tmp_path / "none.pkl", remedy="fetch it")
    (tmp_path / "large.pkl").write_bytes(pickle.dumps("x" * 100))
    with pytest.raises(DataError, match=r"large\.pkl: \d+ bytes are over the limit of 99 for a ground truth; fetch it"):
        read_plain_pickle(tmp_path / "large.pkl", remedy="fetch it", limit_bytes=99)
    with pytest.raises(DataError, match=r"can't be read \(Is a directory\); fetch it"):
        read_plain_pickle(tmp_path, remedy="fetch it")


def nested(steps: bytes) -> bytes:
    """Put a tuple of the same tuple twice, 60 deep, where the steps have a mark: hashing it takes 2 ** 60 steps."""
    tuples = b"".join(b"q%ch%ch%c\x86" % (depth, depth, depth) for depth in range(60))
    return b"\x80\x04" + steps.replace(b"?", b")" + tuples)


@pytest.mark.parametrize(
    "steps",
    [b"}?Ns.", b"}(?Nu.", b"(?Nd.", b"\x8f(?\x90.", b"(?\x91."],
    ids=["setitem", "setitems", "dict", "additems", "frozenset"],
)
def test_tuples_in_tuples_are_not_hashed(tmp_path, steps):
    (tmp_path / "bad.pkl").write_bytes(nested(steps))
    with (
        within(2),
        pytest.raises(DataError, match=r"not a whole pickle \(UnpicklingError: a tuple is a key, or in a "),
    ):
        read_plain_pickle(tmp_path / "bad.pkl", remedy="fetch it")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_pickles_are_read_as_python_reads_them_or_refused(tmp_path, protocol, n):
    gnd = [{"bbx": [1.5, 2, 30, 40], "easy": [0, 2], "hard": [1], "junk": []}] * 3
    good = {"imlist": [f"photo_{row}" for row in range(9)], "qimlist": ["q_1", "q_2", "q_3"], "gnd": gnd}
    path = tmp_path / "bad.pkl"
    for content in mutations(pickle.dumps(good, protocol=protocol), n=n, seed=0):
        path.write_bytes(content)
        with within(2):
            try:
                found = read_plain_pickle(path, remedy="fetch it")
            except DataError as error:
                assert "bad.pkl: " in str(error)  # noqa: PT017
                continue
        assert repr(found) == repr(pickle.loads(content, encoding="utf-8"))
