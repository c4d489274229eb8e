"""What is published is proven first: sets of every layout, and nothing in place where the proof fails."""

import json
import shutil
from pathlib import Path

import pytest

from overlap.base.config import load_config
from overlap.base.errors import CheckError
from overlap.pipeline import publish as step
from overlap.pipeline.curate import curate
from overlap.pipeline.publish import publish
from overlap.release.paper import compare_tables
from overlap.release.verify import verify_release

AUTOMATIC = ("policy.name=automatic", "release.name=own")
NO_LANDMARKS = {"evidence/about.json": b'{"settings": {}, "weights_sha256": "", "matcher_sha256": "", "landmarks": []}'}


@pytest.fixture
def own(tiny_photos: Path) -> Path:
    """Turn the tiny set into one of the user's own, a line a photo; the query is a photo of landmark 1."""
    photos = sorted(path.relative_to(tiny_photos).as_posix() for path in tiny_photos.glob("train/*/*/*/*.jpg"))
    rows = [f"{Path(path).stem},{path},{1 + row // 3},Église,{row} {row}" for row, path in enumerate(photos)]
    text = "\n".join(["image_id,path,landmark_id,landmark_name,images", *rows, ""])
    (tiny_photos / "lists").mkdir()
    (tiny_photos / "lists" / "mine.csv").write_text(text, encoding="utf-8")
    shutil.copy(tiny_photos / photos[0], tiny_photos / "eval" / "jpg" / "q.jpg")
    path = tiny_photos / "config.toml"
    path.write_text(path.read_text().replace('format = "gldv2"', 'format = "csv"\ntable = "lists/mine.csv"'))
    return path


def test_a_release_of_an_own_set_is_proven_and_says_its_sizes(own: Path, open_quietly):
    config = load_config(own, AUTOMATIC)
    with open_quietly(config) as run:
        curate(run)
        published = publish(run)
    folder = published.folder
    assert (folder / "table3.csv").read_text().splitlines()[1:] == ["training set,6,2", "own,3,1"]
    for source in (own.parent / "lists", own.parent / "lists" / "mine.csv"):
        assert verify_release(folder, source=source) == []
    said = json.loads((folder / "release.json").read_text())["files"]["mine.csv"]
    assert (said["rows_in"], said["rows_out"], said["landmarks_in"], said["landmarks_out"]) == (6, 3, 2, 1)
    card = (folder / "README.md").read_text()
    assert "| upstream | 2 | 6 |" in card
    assert "| this release | 1 | 3 |" in card
    assert "overlap verify-release . --source mine.csv" in card
    assert "1 landmark with 3 images. Upstream:\n2 landmarks with 6 images" in (folder / "DATASHEET.md").read_text()
    cells = compare_tables(folder, {})
    assert [cell.found for cell in cells if (cell.table, cell.column) == ("3", "landmarks")] == [2, 1]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("_sizes", lambda rows: rows[::-1], "table3.csv row 0 says"),
        ("_about", lambda about: {**about, "date": "2026-02-30"}, "refused by mlcroissant"),
        ("gather_evidence", lambda files: {**files, **NO_LANDMARKS}, "shows nothing of landmark_id 1"),
    ],
)
def test_nothing_is_published_that_is_not_proven(own: Path, open_quietly, monkeypatch, name, change, message):
    pytest.importorskip("mlcroissant")
    config = load_config(own, AUTOMATIC)
    make = getattr(step, name)
    monkeypatch.setattr(step, name, lambda *given: change(make(*given)))
    with open_quietly(config) as run:
        curate(run)
        with pytest.raises(CheckError, match=rf"nothing was published, .*\n.*{message}"):
            publish(run)
    assert not list(config.release.out.iterdir())
