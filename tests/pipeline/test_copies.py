"""What is searched for, by which ways a pair may be found, and that each is kept and verified once."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from overlap.base.config import Config, load_config
from overlap.base.images import decode_photo, encode_jpeg
from overlap.base.store import Store
from overlap.pipeline.audit import read_found
from overlap.pipeline.copies import find_copies
from overlap.pipeline.curate import curate
from overlap.pipeline.decisions import decide_removals
from overlap.pipeline.export import export_table
from overlap.pipeline.photos import find_probes, read_sets, split_probes
from overlap.pipeline.retrieve import read_candidates
from overlap.pipeline.run import Run, open_run, read_record
from overlap.pipeline.verify import read_verified

COPY = f"{4:016x}"


@pytest.fixture
def copied(tiny_photos: Path) -> Path:
    """Put the query's whole photo, at a low quality, among the training photos of landmark 2."""
    query = decode_photo((tiny_photos / "eval" / "jpg" / "q.jpg").read_bytes())
    path = tiny_photos / "train" / "/".join(COPY[:3]) / f"{COPY}.jpg"
    path.write_bytes(encode_jpeg(query, quality=40))
    return tiny_photos


@contextmanager
def _open(config: Config, said: list[str] | None = None) -> Iterator[Run]:
    """Open a run that works in this process."""

    def map_shards(function: Callable, tasks: Sequence, *, label: str, sizes: Sequence[int]) -> list:
        return list(map(function, tasks))

    with open_run(config, map_shards=map_shards, say=[].append if said is None else said.append) as run:
        yield run


def _curated(folder: Path, *settings: str) -> Config:
    config = load_config(folder / "config.toml", ("search.k=2", "policy.name=automatic", *settings))
    with _open(config) as run:
        curate(run)
    return config


def _origins(config: Config) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for row in read_candidates(config).to_pylist():
        found.setdefault((row["query_id"], row["image_id"]), set()).add(row["origin"])
    return found


def test_a_copy_that_search_misses_is_found_by_its_hash(copied: Path, tmp_path: Path):
    config = _curated(copied)
    assert _origins(config).pop(("q", COPY)) == {"copy"}
    assert sorted(map(sorted, _origins(config).values())) == [["copy"], ["global"], ["global"]]
    pairs = [(row["query_id"], row["image_id"]) for row in read_verified(config).to_pylist()]
    assert sorted(pairs) == sorted(_origins(config))
    assert read_found(config).to_pylist() == [{"detector": "copies", "landmark_id": 2}]
    assert decide_removals(config)["landmark_id"].to_pylist() == [2]
    export_table(config, "candidates", tmp_path / "candidates.csv")
    with (tmp_path / "candidates.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["origin"] == "copy"]
    assert [(row["image_id"], row["rank"]) for row in rows] == [(COPY, "0")]
    assert 54 / 64 <= float(rows[0]["similarity"]) <= 1


def test_no_hash_is_computed_where_copies_are_off(copied: Path):
    config = load_config(copied / "config.toml", ("search.copies=0",))
    with _open(config) as run:
        assert find_copies(run, read_sets(run)).num_rows == 0
    assert not list((copied / "store" / "hashes").glob("*/codes.npy"))
    assert read_record(Store(config.store), "copies").counts == {"photos": 0, "pairs": 0}


def test_hashes_that_are_stored_are_not_computed_again(copied: Path):
    config = load_config(copied / "config.toml")
    with _open(config) as run:
        first = find_copies(run, read_sets(run))
    said: list[str] = []
    wider = config.model_copy(update={"search": config.search.model_copy(update={"copies": 32})})
    with _open(wider, said) as run:
        again = find_copies(run, read_sets(run))
    assert first.num_rows == 1
    assert again.num_rows > 1
    assert "hashes: training: 5 of 5 shards are already stored" in said


def test_a_photo_without_a_hash_is_nobodys_copy(copied: Path):
    path = copied / "train" / "/".join(COPY[:3]) / f"{COPY}.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    config = load_config(copied / "config.toml")
    with _open(config) as run:
        assert find_copies(run, read_sets(run)).num_rows == 0


def test_all_photos_are_probes_whole_and_cut_to_their_boxes(copied: Path):
    config = _curated(copied, "search.probes=all")
    candidates = read_candidates(config).to_pylist()
    assert {(row["query_id"], row["origin"]) for row in candidates} == {
        ("q", "global"),
        ("q", "whole"),
        ("d", "database"),
        ("q", "copy"),
    }
    assert _origins(config)["q", COPY] >= {"whole", "copy"}
    best = {(row["query_id"], row["origin"]): row for row in candidates if row["rank"] == 0}
    assert best["q", "whole"]["image_id"] == COPY
    assert best["q", "whole"]["similarity"] > best["q", "global"]["similarity"]
    verified = read_verified(config).to_pylist()
    assert len({(row["query_id"], row["image_id"]) for row in verified}) == len(verified) == len(_origins(config))
    assert [row["detector"] for row in read_found(config).to_pylist()] == ["photos", "copies"]


def test_a_query_without_a_box_is_searched_for_once(tiny_photos: Path):
    config = load_config(tiny_photos / "config.toml", ("search.probes=all",))
    with _open(config) as run:
        (evaluation,) = read_sets(run).evaluations
    probes = split_probes(config, evaluation)
    assert {origin: images["image_id"].to_pylist() for origin, images in probes.items()} == {
        "global": ["q"],
        "whole": ["q"],
        "database": ["d"],
    }
    assert probes["whole"]["crop_px"].to_pylist() == [None]
    again = split_probes(config, replace(evaluation, queries=probes["whole"]))
    assert again["whole"].num_rows == 0
    assert find_probes(config, evaluation)["image_id"].to_pylist() == ["q", "d"]
