"""What reading the sets says of their archives."""

import tarfile
from pathlib import Path

import pytest

from overlap.base.config import load_config
from overlap.base.errors import DataError
from overlap.pipeline.photos import read_sets


def pack(folder: Path, *beside: str) -> Path:
    """Move one photo into an archive, with other files."""
    photo = folder / "train" / "0" / "0" / "0" / f"{3:016x}.jpg"
    archive = folder / "images_000.tar"
    with tarfile.open(archive, "w") as file:
        file.add(photo, arcname=photo.name)
        for name in beside:
            file.addfile(tarfile.TarInfo(name))
    photo.unlink()
    return archive


def test_what_is_passed_over_in_archives_is_said_once_a_run(tiny_photos: Path, open_quietly):
    archive = pack(tiny_photos, ".DS_Store", f"._{3:016x}.jpg", f"{3:016x}.json")
    for _ in range(2):
        said: list[str] = []
        with open_quietly(load_config(tiny_photos / "config.toml"), said) as run:
            images = read_sets(run).training.images
        assert images["archive"].to_pylist() == [None, None, None, str(archive), None, None]
        words = "archives: 3 files in them are no photos and are passed over, for example '.DS_Store' in images_000.tar"
        assert [line for line in said if "passed over" in line] == [words]


def test_an_archive_that_points_nowhere_is_refused_in_one_sentence(tiny_photos: Path, open_quietly):
    pack(tiny_photos).unlink()
    (tiny_photos / "images_000.tar").symlink_to(tiny_photos / "away")
    with open_quietly(load_config(tiny_photos / "config.toml")) as run:
        with pytest.raises(DataError, match=r"images_000\.tar: no such archive"):
            read_sets(run)
