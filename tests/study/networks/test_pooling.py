import math

import pytest
import torch

from overlap.study.networks.pooling import GeM


def gem_by_loops(features: list[list[list[list[float]]]], p: float, floor: float) -> list[list[float]]:
    pooled = []
    for photo in features:
        vector = []
        for channel in photo:
            cells = [max(value, floor) ** p for line in channel for value in line]
            vector.append((math.fsum(cells) / len(cells)) ** (1 / p))
        pooled.append(vector)
    return pooled


@pytest.mark.parametrize("p", [1.0, 2.2, 3.0, 6.5])
def test_gem_is_the_formula(p: float) -> None:
    features = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(3))
    expected = gem_by_loops(features.double().tolist(), p, 1e-6)
    torch.testing.assert_close(GeM(p=p)(features).double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-7)


def test_gem_lies_between_mean_and_maximum_and_learns_its_exponent() -> None:
    features = torch.rand(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    pool = GeM(p=4.0)
    pooled = pool(features)
    assert (pooled >= features.mean((-2, -1))).all()
    assert (pooled <= features.amax((-2, -1))).all()
    pooled.sum().backward()
    assert pool.p.grad is not None
    assert pool.p.grad.abs().item() > 0


def test_gem_pools_half_precision_in_float32() -> None:
    features = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    assert GeM()(features).dtype is torch.float32
    torch.testing.assert_close(GeM()(features), GeM()(features.float()))
