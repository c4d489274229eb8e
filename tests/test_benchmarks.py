"""Where the benchmarks write: the folder is made before anything is measured, and what was measured is kept."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.full_size import write_set
from benchmarks.results import Result
from overlap.base.images import PhotoLimits, load_photo, read_bytes
from overlap.datasets.archives import index_archive
from overlap.datasets.gldv2 import list_gldv2


def _measure_and_fail(options: argparse.Namespace) -> Iterator[Result]:
    assert options.out.is_dir()
    yield Result("overhead: an empty shard", 1.5, "ms")
    raise KeyboardInterrupt


def test_a_new_folder_is_made_first_and_keeps_what_was_measured_before_the_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"overhead": _measure_and_fail})
    out = tmp_path / "a new" / "folder"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "overhead", "--out", str(out)])
    with pytest.raises(KeyboardInterrupt):
        benchmarks.main()
    [kept] = json.loads((out / "benchmarks.json").read_text())["results"]
    assert (kept["name"], kept["value"]) == ("overhead: an empty shard", 1.5)
    assert "an empty shard" in (out / "benchmarks.md").read_text()


def test_a_folder_that_can_not_be_made_is_said_before_anything_is_measured(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"overhead": lambda options: pytest.fail("it was measured")})
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["benchmarks", "overhead", "--out", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as ended:
        benchmarks.main()
    assert ended.value.code == 2
    assert "file can't be made: File exists; name another folder" in capsys.readouterr().err


def test_the_full_size_set_holds_the_real_photos_among_the_generated_ones(tiny_photos: Path, tmp_path: Path):
    photos, root = tmp_path / "photos", tmp_path / "set"
    photos.mkdir()
    (photos / "gldv2").symlink_to(tiny_photos)
    write_set(photos, root, n_photos=50, n_archives=3)
    image_ids, landmarks = list_gldv2(root)
    places = {row["image_id"]: (path, row) for path in root.glob("*.tar") for row in index_archive(path).to_pylist()}
    assert sorted(places) == sorted(image_ids.to_pylist())
    assert len(places) == 50
    assert len(set(landmarks.to_pylist())) == 2 + 44
    for image_id, (path, row) in places.items():
        place = {**row, "archive": str(path), "path": image_id, "crop_px": None}
        own = tiny_photos / "train" / "/".join(image_id[:3]) / f"{image_id}.jpg"
        if own.exists():
            assert read_bytes(place, PhotoLimits()) == own.read_bytes()
        else:
            assert load_photo(place).shape == (20, 20, 3)
