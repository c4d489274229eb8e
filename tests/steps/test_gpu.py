import numpy as np
import pytest

from overlap.config import SearchConfig
from overlap.errors import ConfigError
from overlap.search.exact import search_exact
from overlap.steps.gpu import load_product, product_on
from overlap.tables import Descriptors


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
