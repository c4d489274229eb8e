"""Every block against the slow loops of its equation."""

from collections.abc import Callable

import pytest
import torch
from oracles import blocks as oracle
from torch import Tensor, nn

from overlap.study.networks import attention, context, dolg, glam, solar, tokens
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.pooling import MeanPool
from overlap.study.networks.settings import DolgSettings

SHAPE = (8, 3, 4)


def draw(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stir(block: nn.Module, *, seed: int = 5) -> nn.Module:
    """Give a block random weights and statistics, so that nothing is hidden by a start at zero."""
    generator = torch.Generator().manual_seed(seed)
    block = block.double().eval()
    for name, value in block.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
            value.copy_(noise + 0.5 if name.endswith("running_var") else noise - 0.4)
    return block


def numbers(block: nn.Module) -> dict[str, list]:
    return {name: value.tolist() for name, value in block.state_dict().items()}


def assert_equal(found: Tensor, expected: list) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)


MAP_BLOCKS: dict[str, tuple[Callable[[], nn.Module], Callable[[list, dict], list]]] = {
    "se": (lambda: attention.SqueezeExcite(8, reduction=4), oracle.squeeze_excite),
    "eca": (lambda: attention.EfficientChannel(8), oracle.efficient_channel),
    "gather_excite": (lambda: attention.GatherExcite(8, reduction=4), oracle.gather_excite),
    "non_local": (lambda: attention.NonLocal(8), oracle.non_local),
    "sk": (
        lambda: context.SelectiveKernel(8, groups=2, reduction=2, floor=3),
        lambda features, state: oracle.selective_kernel(features, state, 2),
    ),
    "aspp": (
        lambda: context.AtrousPyramid(8, width=2, out_channels=5, dilations=(1, 2, 3)),
        lambda features, state: oracle.atrous_pyramid(features, state, (1, 2, 3)),
    ),
    "second_order": (
        lambda: solar.SecondOrderAttention(8, reduction=2),
        lambda features, state: oracle.second_order(features, state, 4**-0.5),
    ),
    "glam_local": (lambda: glam.LocalAttention(8, width=2), oracle.glam_local),
    "glam_global": (lambda: glam.GlobalAttention(8, width=2), oracle.glam_global),
    "dolg_local": (lambda: dolg.LocalBranch(8, settings=DolgSettings()), oracle.dolg_local),
}


@pytest.mark.parametrize("name", sorted(MAP_BLOCKS))
def test_blocks_of_feature_maps_are_their_equations(name: str) -> None:
    build, restate = MAP_BLOCKS[name]
    block, features = stir(build()), draw(2, *SHAPE)
    with torch.inference_mode():
        found = block(features)
    for photo, expected in zip(features, found, strict=True):
        assert_equal(expected, restate(photo.tolist(), numbers(block)))


@pytest.mark.parametrize("name", ["non_local", "second_order"])
def test_residual_attention_starts_as_the_identity(name: str) -> None:
    features = draw(2, *SHAPE).float()
    assert torch.equal(MAP_BLOCKS[name][0]().eval()(features), features)


@pytest.mark.parametrize("channels", [16, 48, 2048])
def test_published_widths_of_the_selective_kernel(channels: int) -> None:
    with torch.device("meta"):
        block = context.SelectiveKernel(channels)
    assert block.squeeze[0].out_features == max(channels // 16, 32)
    assert block.branches[1][0].dilation == (2, 2)
    assert block.branches[0][0].groups == {16: 16, 48: 16, 2048: 32}[channels]


def test_the_pyramid_of_cider_keeps_the_channels_and_looks_far() -> None:
    block = context.pyramid(8)
    assert [branch.dilation[0] for branch in block.branches] == [1, 6, 12, 18]
    assert block(draw(1, *SHAPE).float()).shape == (1, *SHAPE)


def test_glam_mixes_both_branches_and_the_plain_map_by_learned_shares() -> None:
    network = stir(build_network("glam_small")).float()
    seen: list[Tensor] = []
    network.pool.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    photos = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        network(photos)
        features = network.trunk(network.colours(photos))
        shares = oracle.softmax(network.shares.tolist())
        branches = (network.local_attention(features), network.global_attention(features), features)
        torch.testing.assert_close(seen[0], sum(share * branch for share, branch in zip(shares, branches, strict=True)))


def test_glam_looks_at_distances_one_two_and_three() -> None:
    assert [conv.dilation[0] for conv in glam.LocalAttention(8, width=2).surroundings] == [1, 2, 3]


def test_mean_pool_is_the_mean() -> None:
    features = draw(2, *SHAPE)
    assert_equal(MeanPool()(features), [[oracle.mean_map(c) for c in photo] for photo in features.tolist()])
    assert MeanPool()(features.to(torch.bfloat16)).dtype is torch.float32


def test_what_dolg_adds_is_the_mean_of_every_position_s_orthogonal_part() -> None:
    local, whole = draw(2, *SHAPE), draw(2, 8, seed=4)
    found = dolg.remove_projection(local.mean(dim=(-2, -1)), whole)
    for row, photo, axis in zip(found, local.tolist(), whole.tolist(), strict=True):
        assert_equal(row, oracle.orthogonal_mean(photo, axis))
    torch.testing.assert_close((found * whole).sum(dim=1), torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_dolg_survives_a_global_vector_of_zero() -> None:
    axes = torch.zeros(1, 4, requires_grad=True)
    found = dolg.remove_projection(torch.ones(1, 4), axes)
    found.sum().backward()
    assert torch.equal(found, torch.ones(1, 4))
    assert axes.grad is not None
    assert axes.grad.isfinite().all()


def test_token_blocks_are_their_equations() -> None:
    rows, seeds = draw(2, 5, 8), draw(1, 3, 8, seed=6)
    encode = stir(tokens.Encoder(8, heads=2, dropout=0.3))
    decode = stir(tokens.Decoder(8, heads=2, dropout=0.3))
    with torch.inference_mode():
        encoded = encode(rows)
        shared = tokens.share_out(seeds, encoded)
        decoded = decode(shared, encoded)
    for photo in range(2):
        expected = oracle.encoder(rows[photo].tolist(), numbers(encode), 2)
        assert_equal(encoded[photo], expected)
        token = oracle.share_out(seeds[0].tolist(), expected)
        assert_equal(shared[photo], token)
        assert_equal(decoded[photo], oracle.decoder(token, expected, numbers(decode), 2))


def test_token_attention_starts_as_nothing() -> None:
    block = tokens.Attention(8, heads=2, dropout=0.0)
    assert torch.equal(block(draw(1, 3, 8).float(), draw(1, 4, 8).float()), torch.zeros(1, 3, 8))


def test_dropped_branches_are_made_up_for() -> None:
    torch.manual_seed(0)
    drop = tokens.DropPath(0.25).train()
    found = drop(torch.ones(4000, 3, 2))
    kept = found[:, 0, 0] != 0
    assert torch.equal(found[kept], torch.full_like(found[kept], 1 / 0.75))
    assert (found[~kept] == 0).all()
    assert abs(kept.float().mean().item() - 0.75) < 0.03
    assert torch.equal(drop.eval()(torch.ones(2, 1)), torch.ones(2, 1))
