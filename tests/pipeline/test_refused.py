"""Photos that are refused for a reason that passes are tried again, and nothing else is."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from overlap.base.config import Config, load_config
from overlap.base.errors import ArtifactError
from overlap.base.images import PhotoLimits, UnreachableError, decode_photo, encode_jpeg, resize_to
from overlap.base.store import Store
from overlap.base.tables import IMAGES, as_table
from overlap.pipeline import evidence, verify
from overlap.pipeline.copies import hash_sets, read_hashes
from overlap.pipeline.curate import curate
from overlap.pipeline.cuts import cut_photos
from overlap.pipeline.decoded import decode_photos
from overlap.pipeline.photos import read_quarantine, read_sets
from overlap.pipeline.planting import choose_photos, plant_photos
from overlap.pipeline.retrieve import read_candidates
from overlap.pipeline.shards import keep_parts, read_kept
from overlap.pipeline.verify import open_features, read_verified

LOOSE = ("run.max_unreadable=1.0", "search.k=6")
FIRST = f"{0:016x}"


def photo_path(folder: Path, image_id: str = FIRST) -> Path:
    return folder / "train" / "/".join(image_id[:3]) / f"{image_id}.jpg"


def deny(monkeypatch: pytest.MonkeyPatch, path: Path, number: int) -> None:
    """Let nobody open a file."""
    real = Path.open

    def open_others(self, *args, **named):
        if self == path:
            raise OSError(number, os.strerror(number))
        return real(self, *args, **named)

    monkeypatch.setattr(Path, "open", open_others)


def run_all(config: Config, open_quietly) -> tuple[list, list, list[str]]:
    with open_quietly(config) as run:
        curate(run)
    refused = sorted(row["image_id"] for row in read_quarantine(config).to_pylist())
    return read_candidates(config).to_pylist(), read_verified(config).to_pylist(), refused


def hash_folders(config: Config) -> set[str]:
    return {path.name for path in (config.store / "hashes").iterdir()}


def enlarge(path: Path) -> None:
    """Bring a photo to 1.2 megapixels and more than a megabyte."""
    path.write_bytes(encode_jpeg(resize_to(decode_photo(path.read_bytes()), (1200, 1000))) + bytes(1_000_000))


def test_a_run_ends_as_if_nothing_had_ever_been_refused(tiny_photos: Path, open_quietly):
    enlarge(photo_path(tiny_photos))
    path = tiny_photos / "config.toml"
    with pytest.MonkeyPatch.context() as patch:
        deny(patch, photo_path(tiny_photos, f"{5:016x}"), errno.EIO)
        few = run_all(load_config(path, [*LOOSE, "run.max_photo_mpx=1"]), open_quietly)
    assert few[2] == [FIRST, f"{5:016x}"]
    found = run_all(load_config(path, LOOSE), open_quietly)
    assert found == run_all(load_config(path, [*LOOSE, "store='fresh'"]), open_quietly)
    assert len(found[0]) == len(few[0]) + 2
    assert found[2] == []


@pytest.mark.parametrize("limit", ["run.max_photo_mpx=1", "run.max_photo_mb=1"])
def test_another_limit_reads_the_shards_of_refused_photos_again_and_no_other(tiny_photos: Path, open_quietly, limit):
    enlarge(photo_path(tiny_photos))
    low, high = (load_config(tiny_photos / "config.toml", settings) for settings in ([limit], []))
    said: list[str] = []
    with open_quietly(low) as run:
        assert count_hashes(run) == 7
    before = hash_folders(low)
    with open_quietly(low, said) as run:
        assert count_hashes(run) == 7
    assert "hashes: training: 5 of 5 shards are already stored" in said
    with open_quietly(high, said) as run:
        assert count_hashes(run) == 8
    assert "hashes: training: 4 of 5 shards are already stored" in said
    assert len(hash_folders(high) - before) == 1


def test_a_photo_that_moves_to_another_landmark_is_a_candidate_of_that_one(tiny_photos: Path, open_quietly):
    config = load_config(tiny_photos / "config.toml", ["search.copies=32"])
    run_all(config, open_quietly)
    path = tiny_photos / "train_clean.csv"
    path.write_text(path.read_text().replace("\n1,", "\n3,").replace("\n2,", "\n1,"))
    candidates, verified, _ = run_all(config, open_quietly)
    for rows in (candidates, verified):
        assert {(row["image_id"] > f"{2:016x}", row["landmark_id"]) for row in rows} == {(False, 3), (True, 1)}
    assert {row["origin"] for row in candidates} == {"global", "copy"}


def test_a_damaged_list_of_kept_parts_is_named(tmp_path: Path):
    path = tmp_path / "current" / f"parts-features-{'a' * 32}.json"
    path.parent.mkdir()
    path.write_text("")
    with pytest.raises(ArtifactError, match=r"parts-features-a+\.json .*delete it and run the step again"):
        read_kept(Store(tmp_path), "features", "a" * 64)


def test_a_list_of_kept_parts_is_on_the_disk_or_the_disk_is_said_to_be_full(tmp_path: Path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    keep_parts(Store(tmp_path), "features", "a" * 64, [])
    assert synced
    monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(ArtifactError, match=r"parts-features-a+\.json can't be written: No space left"):
        keep_parts(Store(tmp_path), "features", "a" * 64, [])


def test_pairs_that_are_cut_otherwise_are_all_verified(tiny_photos: Path, open_quietly):
    (tiny_photos / "eval" / "gnd_again.pkl").write_bytes((tiny_photos / "eval" / "gnd_tiny.pkl").read_bytes())
    again = "evaluation=[{format='revisited',name='tiny',root='eval'},{format='revisited',name='again',root='eval'}]"
    config, other = (
        load_config(tiny_photos / "config.toml", [again, "search.probes=all", f"run.pairs_per_shard={most}"])
        for most in (1, 2)
    )
    found = run_all(config, open_quietly)
    shutil.rmtree(config.store / "verified")
    assert run_all(other, open_quietly) == found


def count_hashes(run) -> int:
    hashed = hash_sets(run, read_sets(run))
    return len(read_hashes([*hashed.train, *hashed.probes["tiny"]]).image_ids)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOENT, errno.EMFILE, errno.EACCES])
def test_a_file_that_could_not_be_reached_is_tried_again(tiny_photos: Path, open_quietly, number):
    config = load_config(tiny_photos / "config.toml")
    with open_quietly(config) as run, pytest.MonkeyPatch.context() as patch:
        deny(patch, photo_path(tiny_photos), number)
        assert count_hashes(run) == 7
        before = hash_folders(config)
        assert count_hashes(run) == 7
        assert hash_folders(config) == before
    with open_quietly(config) as run:
        assert count_hashes(run) == 8


def test_planted_and_decoded_photos_are_tried_again(tiny_photos: Path, open_quietly):
    config = load_config(tiny_photos / "config.toml", LOOSE)

    def count(run) -> tuple[int, int]:
        sets = read_sets(run)
        planted = plant_photos(run, choose_photos(config, sets, 9))
        images = sets.training.images
        with decode_photos(run, images, base=images, training=config.training) as decoded:
            return len(decoded.rows), len(planted["recompressed"])

    with open_quietly(config) as run:
        with pytest.MonkeyPatch.context() as patch:
            deny(patch, photo_path(tiny_photos), errno.EIO)
            deny(patch, tiny_photos / "eval" / "jpg" / "q.jpg", errno.EIO)
            assert count(run) == (5, 0)
        assert count(run) == (6, 1)


def test_a_damaged_or_missing_photo_is_read_again_only_when_its_file_changed(tiny_photos: Path, open_quietly):
    config = load_config(tiny_photos / "config.toml")
    paths = [photo_path(tiny_photos), photo_path(tiny_photos, f"{3:016x}")]
    whole = [path.read_bytes() for path in paths]
    paths[0].write_bytes(whole[0][:-50])
    paths[1].unlink()
    with open_quietly(config) as run:
        assert count_hashes(run) == 6
    said: list[str] = []
    with open_quietly(config, said) as run:
        assert count_hashes(run) == 6
    assert "hashes: training: 5 of 5 shards are already stored" in said
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
    with open_quietly(config, said) as run:
        assert count_hashes(run) == 8
    assert "hashes: training: 3 of 5 shards are already stored" in said


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE])
def test_a_release_is_not_made_for_ever_without_a_picture_that_is_out_of_reach(tiny_photos: Path, number):
    path = photo_path(tiny_photos)
    row = {"path": str(path), "archive": None, "crop_px": None}
    with pytest.MonkeyPatch.context() as patch:
        deny(patch, path, number)
        for read in (evidence._thumbnail, evidence._digest):
            with pytest.raises(UnreachableError, match=rf"{FIRST}\.jpg: can't be read: {os.strerror(number)}"):
                read(row, PhotoLimits())
    assert evidence._thumbnail(row, PhotoLimits()).startswith(b"\xff\xd8")
    path.unlink()
    assert evidence._thumbnail(row, PhotoLimits()) is evidence._digest(row, PhotoLimits()) is None


def test_a_photo_that_two_shards_hold_is_taken_from_the_first(tiny_photos: Path, open_quietly):
    """Else the pairs of a photo that never changed would be verified again, for a neighbour that did."""
    with open_quietly(load_config(tiny_photos / "config.toml", LOOSE)) as run:
        images = read_sets(run).training.images
        pair = next(images.take(part) for part in cut_photos(images, 1000) if len(part) > 1).slice(0, 2)
        first, second = pair.to_pylist()
        moved = as_table([first, {**second, "stamp": "other"}], IMAGES)
        [before], [after], [again] = (verify._find_features(run, each, label="x") for each in (pair, moved, pair[:1]))
    assert before.fingerprint != after.fingerprint
    assert again.fingerprint == before.fingerprint


def test_a_photo_that_came_back_has_its_own_features_again(tiny_photos: Path, open_quietly):
    """Its file was another photo's for one run, whose features stand in the store, beside those of one that changed."""
    config = load_config(tiny_photos / "config.toml", LOOSE)
    with open_quietly(config) as run:
        rows = read_sets(run).training.images.to_pylist()
    cut = cut_photos(as_table(rows, IMAGES), 1000)
    together = next([rows[row] for row in part] for part in cut if len(part) > 1)
    paths = [Path(row["path"]) for row in together[:2]]
    other = Path(next(row["path"] for row in rows if row not in together)).read_bytes()
    content, status = paths[0].read_bytes(), paths[0].stat()
    found = []
    for replaced in ([], paths, [paths[0]]):
        for path in replaced:
            path.write_bytes(other if len(replaced) == 2 else content)
        os.utime(paths[0], ns=(status.st_atime_ns, status.st_mtime_ns + (len(replaced) == 2)))
        with open_quietly(config) as run:
            curate(run)
        found.append(open_features(config)((together[0]["source"], together[0]["image_id"])).xy_px.tobytes())
    assert found[0] != found[1]
    assert found[2] == found[0]
