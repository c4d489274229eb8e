import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from overlap.base.config import DescriptorsConfig, SearchConfig, load_config
from overlap.base.errors import ConfigError
from overlap.base.tables import Descriptors
from overlap.pipeline import photos, retrieve
from overlap.pipeline.curate import curate
from overlap.pipeline.gpu import load_product, product_on
from overlap.pipeline.photos import read_sets
from overlap.pipeline.trials import map_here
from overlap.search.exact import search_exact


def test_torch_finds_the_photos_that_numpy_finds():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2300, 16)).astype(np.float16)
    probes = Descriptors([f"q{row}" for row in range(1100)], vectors[:1100])
    shards = [Descriptors([f"p{row}" for row in range(a, b)], vectors[a:b]) for a, b in ((0, 900), (900, 2300))]
    plain, other = (search_exact(probes, shards, k=5, block=256, product=each) for each in (None, product_on("cpu")))
    assert other.image_ids == plain.image_ids
    assert (other.similarities == plain.similarities).all()


def test_without_a_gpu_numpy_multiplies_and_cuda_is_an_error(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_product(SearchConfig()) is None
    with pytest.raises(ConfigError, match=r"search\.device"):
        load_product(SearchConfig(device="cuda"))


@pytest.mark.parametrize("key", ["search.device", "verify.device", "descriptors.device"])
def test_a_gpu_that_is_not_there_is_missed_before_any_photo_is_described(
    key: str, copy_curated, open_quietly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "network.pt2").touch()
    network = ["descriptors.kind=exported", f"descriptors.path={tmp_path / 'network.pt2'}"]
    config = load_config(copy_curated(tmp_path, "1"), [f"{key}=cuda", "run.workers=1", *network])
    described = sorted(config.store.glob("descriptors/*"))
    with open_quietly(config) as run, pytest.raises(ConfigError, match=key):
        curate(run)
    assert sorted(config.store.glob("descriptors/*")) == described


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["descriptors.kind=exported", "descriptors.path={}"], r"is not a torch.export archive"),
        (["descriptors.kind=network", "descriptors.path={}"], r"is not a checkpoint of plain tensors"),
        (["verify.features=disk", "verify.weights={}"], r"is not a checkpoint of plain tensors"),
        (["verify.matcher=lightglue", "verify.matcher_weights={}"], r"is not a checkpoint of plain tensors"),
    ],
)
def test_a_network_that_can_not_be_used_is_named_before_any_photo_is_looked_at(
    asked: list[str], found: str, tiny_photos: Path, open_quietly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "network").touch()
    network = [one.format(tmp_path / "network") for one in asked]
    config = load_config(tiny_photos / "config.toml", ["run.workers=1", f"store={tmp_path / 'store'}", *network])
    monkeypatch.setattr(photos, "read_sets", lambda run: pytest.fail("photos were read"))
    with open_quietly(config) as run, pytest.raises(ConfigError, match=rf"network {found}"):
        curate(replace(run, map_shards=map_here))


def test_a_network_is_loaded_after_large_pages_were_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    monkeypatch.setattr(retrieve, "_open_network", lambda *_, **__: os.environ["THP_MEM_ALLOC_ENABLE"])
    (tmp_path / "network.pt2").touch()
    settings = DescriptorsConfig(kind="exported", path=tmp_path / "network.pt2", device="cpu")
    assert retrieve._load_network.__wrapped__(settings) == "1"


def test_photos_that_are_asked_about_in_several_searches_have_the_same_neighbours(
    copy_curated, open_quietly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = load_config(copy_curated(tmp_path, "1"), ["run.workers=1"])
    with open_quietly(config) as run:
        sets = read_sets(run)
        described = retrieve.describe_sets(run, sets)
        asked = sets.training.images["image_id"].to_pylist()[::3]
        whole = retrieve.search_training(run, sets, described, asked)
        monkeypatch.setattr(retrieve, "_PROBES_AT_ONCE", 4)
        assert retrieve.search_training(run, sets, described, asked).equals(whole)
    assert set(whole["query_id"].to_pylist()) == set(asked)
