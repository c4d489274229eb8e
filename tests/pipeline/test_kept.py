"""What whole runs keep, where a network describes photos: of a larger set, another k or limit, another device.

What a run computes is read from the journal.
"""

import json
import shutil
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from rich.console import Console
from torch import Tensor, export, manual_seed, nn, rand
from typer.testing import CliRunner

from overlap.base.config import Config, load_config
from overlap.base.images import decode_photo, encode_jpeg, resize_to
from overlap.cli.main import app
from overlap.descriptors import extract
from overlap.pipeline import retrieve
from overlap.pipeline import run as runs
from overlap.pipeline.curate import curate
from overlap.pipeline.desk import open_desk, open_gallery, open_lines
from overlap.pipeline.photos import read_quarantine
from overlap.pipeline.publish import publish
from overlap.pipeline.retrieve import read_candidates
from overlap.pipeline.review import read_queue
from overlap.pipeline.run import find_current, find_record, is_current
from overlap.pipeline.status import render_status
from overlap.pipeline.verify import read_verified
from overlap.review.desk import Desk, answer_task, next_task

# The shards that a run computes: the photos or pairs in each, by step.
Computed: TypeAlias = dict[str, list[int]]
Curate: TypeAlias = Callable[[Config], Computed]
Results: TypeAlias = tuple[list[dict[str, Any]], ...]

CHAIN = ("photos", "descriptors", "candidates", "copies", "names", "features", "verified", "queue")
BY_PHOTOS = ("descriptors", "hashes", "features")
N_PHOTOS, N_LANDMARKS, N_QUERIES = 60, 20, 2
CONFIG = """
name = "kept"
store = "store"
[train]
format = "csv"
root = "."
[[evaluation]]
format = "csv"
name = "asked"
root = "."
table = "queries.csv"
[descriptors]
kind = "exported"
path = "network.pt2"
size_px = 96
[search]
k = 12
[verify]
size_px = 160
keypoints = 80
[release]
out = "manifests"
[run]
workers = 1
photos_per_shard = 4
max_unreadable = 1.0
"""


class Filters(nn.Module):
    """Describe a photo by the strengths of a few filters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, photos: Tensor) -> Tensor:
        return self.conv(photos).relu().mean((2, 3))


def draw(number: int) -> bytes:
    """Draw photo ``number`` of landmark ``number % N_LANDMARKS``, which has a picture and a tint: a part of it."""
    rng, shift = np.random.default_rng(number % N_LANDMARKS), 3 * (number // N_LANDMARKS)
    whole = (rng.integers(0, 120, (30, 38, 3)) + rng.integers(0, 136, 3)).astype(np.uint8)
    return encode_jpeg(np.ascontiguousarray(resize_to(whole, (190, 150))[shift : shift + 120, shift : shift + 160]))


def add_photo(folder: Path, name: str, number: int) -> str:
    path = folder / "photos" / f"{name}.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(draw(number))
    return f"{name},photos/{name}.jpg"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a training set of 20 landmarks with three photos each, queries that show two of them, and a network.

    One photo has more than a megapixel.
    """
    folder = tmp_path_factory.mktemp("kept")
    rows = [f"{add_photo(folder, f't{n:02}', n)},{n % N_LANDMARKS}" for n in range(N_PHOTOS)]
    (folder / "images.csv").write_text("\n".join(["image_id,path,landmark_id", *rows, ""]))
    large = folder / "photos" / "t00.jpg"
    large.write_bytes(encode_jpeg(resize_to(decode_photo(large.read_bytes()), (1280, 960))))
    queries = [add_photo(folder, f"q{n}", n + 3 * N_LANDMARKS) for n in range(N_QUERIES)]
    (folder / "queries.csv").write_text("\n".join(["image_id,path", *queries, ""]))
    free = dict.fromkeys((0, 2, 3), export.Dim.AUTO)
    manual_seed(0)
    export.save(export.export(Filters().eval(), (rand(2, 3, 48, 64),), dynamic_shapes=(free,)), folder / "network.pt2")
    (folder / "config.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def compute(open_quietly) -> Curate:
    """Return what curates and tells what that computed."""

    def run(config: Config) -> Computed:
        journal = config.store / "journal.jsonl"
        n_before = len(journal.read_text().splitlines()) if journal.exists() else 0
        with open_quietly(config) as opened:
            curate(opened)
        found: Computed = {}
        for line in map(json.loads, journal.read_text().splitlines()[n_before:]):
            if "seconds" in line:
                found.setdefault(line["step"], []).append(line["n"])
        return found

    return run


def open_config(folder: Path, **settings: object) -> Config:
    """Open a config with settings whose dots are written as two underscores."""
    return load_config(folder / "config.toml", [f"{name.replace('__', '.')}={each}" for name, each in settings.items()])


def results_of(config: Config) -> Results:
    return read_candidates(config).to_pylist(), read_verified(config).to_pylist(), read_queue(config).to_pylist()


def add_row(folder: Path, place: int) -> None:
    """Give landmark 0 a photo more, in a row of the list."""
    rows = (folder / "images.csv").read_text().splitlines()
    rows.insert(place, f"{add_photo(folder, 'more', 4 * N_LANDMARKS)},0")
    (folder / "images.csv").write_text("\n".join([*rows, ""]))


@pytest.fixture(scope="module")
def stored(made: Path, tmp_path_factory: pytest.TempPathFactory, compute: Curate) -> tuple[Path, Computed]:
    """Return a folder whose set was curated, and what that computed."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("stored") / "own"))
    return folder, compute(open_config(folder))


@pytest.fixture(scope="module")
def of_larger(made: Path, tmp_path_factory: pytest.TempPathFactory, compute: Curate) -> Results:
    """Return the results of a fresh store, of the set with a photo more at its end."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("larger") / "own"))
    add_row(folder, 1 + N_PHOTOS)
    compute(open_config(folder))
    return results_of(open_config(folder))


@pytest.mark.parametrize("place", [1, 1 + N_PHOTOS // 2], ids=["head", "middle"])
def test_a_photo_more_computes_at_most_two_shards_of_a_step(
    stored: tuple[Path, Computed], of_larger: Results, tmp_path: Path, compute: Curate, place: int
):
    folder, before = Path(shutil.copytree(stored[0], tmp_path / "own")), stored[1]
    assert all(len(before[step]) > 15 for step in ("descriptors", "hashes"))
    add_row(folder, place)
    more = compute(open_config(folder))
    assert {step: len(sizes) for step, sizes in more.items() if step in BY_PHOTOS and len(sizes) > 2} == {}
    assert all(more[step] for step in BY_PHOTOS)
    found = results_of(open_config(folder))
    assert ("q0", "more") in {(row["query_id"], row["image_id"]) for row in found[1]}
    assert found == of_larger


def pairs_of(config: Config) -> set[tuple[str, str]]:
    verified = read_verified(config)
    return set(zip(verified["query_id"].to_pylist(), verified["image_id"].to_pylist(), strict=True))


def test_a_larger_k_computes_new_photos_and_pairs_and_both_results_are_read_without_a_run(
    made: Path, tmp_path: Path, compute: Curate
):
    few, many = (open_config(made, search__k=k, store=f"'{tmp_path}/store'") for k in (5, 6))
    compute(few)
    found = results_of(few)
    more = compute(many)
    new = pairs_of(many) - pairs_of(few)
    photos = {image_id for _, image_id in new} - {image_id for _, image_id in pairs_of(few)}
    assert pairs_of(few) < pairs_of(many)
    assert photos
    assert {step: sum(sizes) for step, sizes in more.items()} == {"features": len(photos), "verified": len(new)}
    assert results_of(few) == found


def refused_of(config: Config) -> list[str]:
    return sorted(row["image_id"] for row in read_quarantine(config).to_pylist())


def test_a_photo_within_another_limit_and_a_mended_file_are_tried_again_and_no_others(
    made: Path, stored: tuple[Path, Computed], tmp_path: Path, compute: Curate
):
    folder = Path(shutil.copytree(made, tmp_path / "own"))
    damaged = folder / "photos" / "t01.jpg"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-200])
    low, high = (open_config(folder, run__max_photo_mpx=mpx) for mpx in (1, 2))
    compute(low)
    assert refused_of(low) == ["t00", "t01"]
    assert compute(low) == {}
    before = pairs_of(low)
    for mend, left in ((None, ["t01"]), (whole, [])):
        if mend is not None:
            damaged.write_bytes(mend)
        computed = compute(high)
        new = pairs_of(high) - before
        assert {step: len(computed[step]) for step in BY_PHOTOS} == dict.fromkeys(BY_PHOTOS, 1)
        assert sum(computed["verified"]) == len(new) > 0
        assert refused_of(high) == left
        before |= new
    assert results_of(high) == results_of(open_config(stored[0]))


def has_cuda(patch: pytest.MonkeyPatch) -> set[str]:
    """Let "auto" become cuda, and the CPU run the network all the same; return which devices it is asked for."""
    asked: set[str] = set()

    def use_cpu(device: str, *, key: str) -> str:
        asked.add(device)
        return "cpu"

    patch.setattr(runs, "choose_device", lambda device, *, key: "cuda")
    for module in (retrieve, extract):
        patch.setattr(module, "choose_device", use_cpu)
    return asked


def answer_all(desk: Desk) -> None:
    """Answer as three people who know the landmarks, in turn, until nothing waits for any of them."""
    waiting = list("ABC")
    while waiting:
        name = waiting.pop(0)
        if (task := next_task(desk, name)) is not None:
            same = [row["query_id"] == f"q{row['landmark_id']}" for row in task.items]
            given = {row["item_id"]: ("different", "same")[each] for row, each in zip(task.items, same, strict=True)}
            answer_task(desk, name, group_id=task.group_id, lease=task.lease, client_seq=1, answers=given)
            waiting.append(name)


def say_status(config: Config) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(render_status(config))
    return console.file.getvalue()


@pytest.fixture(scope="module")
def cuda_store(made: Path, tmp_path_factory: pytest.TempPathFactory, compute: Curate) -> Path:
    """Return the store of a run on a machine with CUDA."""
    store = tmp_path_factory.mktemp("cuda") / "store"
    with pytest.MonkeyPatch.context() as patch:
        asked = has_cuda(patch)
        compute(open_config(made, store=f"'{store}'"))
    assert "cuda" in asked
    return store


@pytest.fixture
def elsewhere(made: Path, cuda_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Return what opens the config of that run with some settings, on a machine without CUDA that got its store."""
    monkeypatch.setattr("overlap.base.devices.has_driver", lambda: False)
    shutil.copytree(cuda_store, tmp_path / "store")
    return partial(open_config, made, store=f"'{tmp_path}/store'", release__out=f"'{tmp_path}/manifests'")


def test_what_cuda_made_is_reviewed_and_published_on_a_machine_without_it(
    elsewhere: Callable[..., Config], open_quietly
):
    config = elsewhere()
    states = [line.split()[:2] for line in say_status(config).splitlines()]
    assert [step for step in CHAIN if [step, "done"] not in states] == []
    assert "outdated" not in say_status(config)
    desk = open_desk(config)
    item = next_task(desk, "A").items[0]
    gallery = open_gallery(config, read_queue(config))
    keys = (item["evaluation_set"], item["query_id"]), (gallery.train, item["image_id"])
    assert all(Path(gallery.rows[key]["path"]).exists() for key in keys)
    assert len(open_lines(config)(*keys).query_xy) > 0
    answer_all(desk)
    with open_quietly(config) as run:
        release = publish(run).folder
    assert [line.split(",")[0] for line in (release / "removals.csv").read_text().splitlines()[1:]] == list("01")
    proof = CliRunner().invoke(app, ["verify-release", str(release), "--source", str(config.train.root / "images.csv")])
    assert (proof.exit_code, "proven" in proof.output) == (0, True)
    assert "outdated" not in say_status(config)


def test_another_device_s_result_stands_beside_it(elsewhere: Callable[..., Config], compute: Curate):
    cpu, cuda = (elsewhere(descriptors__device=f"'{device}'") for device in ("cpu", "cuda"))
    found, n_shards = results_of(elsewhere()), len(list((cuda.store / "descriptors").glob("*/vectors.npy")))
    assert found == results_of(cuda)
    assert not is_current(cpu, "descriptors")
    computed = compute(cpu)
    assert computed.keys() == {"descriptors"}
    assert len(computed["descriptors"]) == n_shards
    for step in ("descriptors", "candidates"):
        assert find_current(cpu, step) != find_current(cuda, step)
    assert [find_record(config, "descriptors").devices for config in (cpu, cuda)] == [
        {"descriptors.device": "cpu"},
        {"descriptors.device": "cuda"},
    ]
    assert results_of(cuda) == found
    assert "outdated" not in say_status(cuda)
