import pytest
import torch
from torch import Tensor
from torch.nn import functional

from overlap.base.errors import ConfigError
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.settings import CiderSettings


def photos(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def test_the_components_follow_each_other_as_in_equation_six() -> None:
    network = build_network("cider_small", seed=1).eval()
    with torch.inference_mode():
        features = network.context(network.enhance(network.trunk(network.colours(photos(2, 3, 96, 128)))))
        attention = network.attention(photos(2, 3, 96, 128))
        pooled = network.pool(network.localise(features))
        whitened = network.whiten(functional.normalize(pooled))
        assert attention.shape == (2, 3, 4)
        assert torch.equal(attention, network.localise.attention(features))
        torch.testing.assert_close(network(photos(2, 3, 96, 128)), functional.normalize(whitened))


def test_the_default_is_what_the_paper_chose() -> None:
    network = build_network("cider_resnet101")
    kinds = [type(network.get_submodule(name)).__name__ for name in ("enhance", "context", "localise", "pool")]
    assert kinds == ["SqueezeExcite", "SelectiveKernel", "Localisation", "GeM"]
    assert network.get_submodule("localise").alphas.shape == (2,)
    assert network.dimensions == 2048


def test_backgrounds_are_random_in_training_and_not_in_evaluation() -> None:
    network = build_network("cider_small", seed=1, settings=CiderSettings(whitening="none")).train()
    batch = photos(4, 3, 128, 128)
    torch.manual_seed(3)
    first, second = network(batch), network(batch)
    torch.manual_seed(3)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(network(batch), first)


def test_localisation_changes_the_descriptor() -> None:
    batch = photos(2, 3, 128, 128)
    plain, hard = (
        build_network("cider_small", seed=1, settings=CiderSettings(localisation=kind, test_background=0.0)).eval()
        for kind in ("none", "attention")
    )
    hard.load_state_dict(plain.state_dict(), strict=False)
    with torch.inference_mode():
        assert not torch.allclose(plain(batch), hard(batch), atol=1e-4)


def test_without_localisation_there_is_no_attention_map() -> None:
    network = build_network("cider_small", settings=CiderSettings(localisation="none"))
    with pytest.raises(ConfigError, match=r"this cider has no attention map: it was built with localisation = 'none'"):
        network.attention(photos(1, 3, 64, 64))


def test_without_whitening_the_size_is_the_trunk_s() -> None:
    with pytest.raises(ConfigError, match=r"cider without whitening gives 64 numbers, not 32; leave the dimensions"):
        build_network("cider_small", dimensions=32, settings=CiderSettings(whitening="none"))
