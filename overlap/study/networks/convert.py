"""The public checkpoints of SOLAR, DOLG and Token, in this project's layout.

Source: the parameter names of tonyngjichun/SOLAR, feymanpriv/DOLG and MCC-WH/Token. tests/oracles/published.py computes
each method's descriptor from the public names, and the converted network gives the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from overlap.base.errors import ConfigError
from overlap.base.weights import COUNTER, check_weights
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

_BACKBONE = "resnet101"
# Fixed in an earlier version of the public network, which then stores no exponent; learned in the later one.
_DOLG_EXPONENT = 3.0

# Patterns of public names, and ours; the first that fits counts. None leaves a name out: training's own state.
_RULES: Mapping[str, tuple[tuple[str, str | None], ...]] = MappingProxyType(
    {
        "solar": (
            (r"features\.soa[45]\.gamma$", None),  # of an earlier version, never used
            (r"features\.conv1\.0\.", "trunk.conv1."),
            (r"features\.conv1\.1\.", "trunk.bn1."),
            (r"features\.conv2_x\.2\.", "trunk.layer1."),
            (r"features\.conv3_x\.", "trunk.layer2."),
            (r"features\.conv4_x\.", "trunk.layer3."),
            (r"features\.conv5_x\.", "trunk.layer4."),
            (r"features\.soa4\.", "middle."),
            (r"features\.soa5\.", "last."),
            (r"pool\.", "pool."),
            (r"whiten\.", "whiten."),
        ),
        "dolg": (
            (r"desc_cls\.", None),
            (r"globalmodel\.stem\.conv\.", "trunk.conv1."),
            (r"globalmodel\.stem\.bn\.", "trunk.bn1."),
            (r"globalmodel\.s(\d)\.b(\d+)\.proj\.", r"trunk.layer\1.b\2.downsample.0."),
            (r"globalmodel\.s(\d)\.b(\d+)\.bn\.", r"trunk.layer\1.b\2.downsample.1."),
            (r"globalmodel\.s(\d)\.b(\d+)\.f\.a\.", r"trunk.layer\1.b\2.conv1."),
            (r"globalmodel\.s(\d)\.b(\d+)\.f\.a_bn\.", r"trunk.layer\1.b\2.bn1."),
            (r"globalmodel\.s(\d)\.b(\d+)\.f\.b\.", r"trunk.layer\1.b\2.conv2."),
            (r"globalmodel\.s(\d)\.b(\d+)\.f\.b_bn\.", r"trunk.layer\1.b\2.bn2."),
            (r"globalmodel\.s(\d)\.b(\d+)\.f\.c\.", r"trunk.layer\1.b\2.conv3."),
            (r"globalmodel\.s(\d)\.b(\d+)\.f\.c_bn\.", r"trunk.layer\1.b\2.bn3."),
            (r"localmodel\.aspp\.aspp\.", "local_branch.pyramid.branches."),
            (r"localmodel\.aspp\.im_pool\.1\.", "local_branch.pyramid.mean."),
            (r"localmodel\.aspp\.conv_after\.0\.", "local_branch.pyramid.join."),
            (r"localmodel\.conv1\.", "local_branch.conv."),
            (r"localmodel\.bn\.", "local_branch.norm."),
            (r"localmodel\.conv2\.", "local_branch.score."),
            (r"pool_g\.", "pool."),
            (r"fc_t\.", "reduce."),
            (r"fc\.", "whiten."),
        ),
        "token": (
            (r"classifier\.", None),
            (r"backbone\.block1\.0\.", "trunk.conv1."),
            (r"backbone\.block1\.1\.", "trunk.bn1."),
            (r"backbone\.block2\.", "trunk.layer1."),
            (r"backbone\.block3\.", "trunk.layer2."),
            (r"backbone\.block4\.", "trunk.layer3."),
            (r"backbone\.block5\.", "trunk.layer4."),
            (r"tr\.query$", "seeds"),
            (r"tr\.conv\.", "reduce."),
            (r"tr\.token_norm\.", "tokens_norm."),
            (r"tr\.encoder\.(\d+)\.bn\.", r"encoders.\1.norm."),
            (r"tr\.encoder\.(\d+)\.mlp\.", r"encoders.\1.mix."),
            (r"tr\.encoder\.(\d+)\.attn\.", r"encoders.\1.attention."),
            (r"tr\.decoder\.(\d+)\.bn1\.", r"decoders.\1.cross_norm."),
            (r"tr\.decoder\.(\d+)\.bn2\.", r"decoders.\1.self_norm."),
            (r"tr\.decoder\.(\d+)\.mlp\.fc1\.", r"decoders.\1.widen."),
            (r"tr\.decoder\.(\d+)\.mlp\.fc2\.", r"decoders.\1.narrow."),
            (r"tr\.decoder\.(\d+)\.cross_attn\.", r"decoders.\1.cross."),
            (r"tr\.decoder\.(\d+)\.self_attn\.", r"decoders.\1.own."),
            (r"tr\.proj\.0\.", "whiten."),
            (r"tr\.proj\.1\.", "norm."),
        ),
    }
)
# Then what is counted or named inside a block: the pattern's second group, and what becomes of it.
_INSIDE: Mapping[str, tuple[str, Callable[[str], str]]] = MappingProxyType(
    {
        "solar": (
            r"^(middle|last)\.([fghv])\.",
            {"f": "query", "g": "key", "h": "value", "v": "out"}.__getitem__,
        ),
        "dolg": (r"^(trunk\.layer\d)\.b(\d+)\.", lambda block: str(int(block) - 1)),
        "token": (
            r"^(.+\.(?:attention|cross|own))\.(q|k|v|proj)\.",
            {"q": "query", "k": "key", "v": "value", "proj": "out"}.__getitem__,
        ),
    }
)
CONVERTERS = tuple(_RULES)


def convert(name: str, weights: Mapping[str, Tensor], *, settings: Settings | None = None) -> dict[str, Tensor]:
    """Rename a public checkpoint's weights to this project's names.

    DOLG's public network takes colours in the order blue, green, red; its first layer is turned round, so that ours
    takes RGB as all do.

    Args:
        name: solar, dolg or token, for ResNet-101; or with another backbone, as in ``dolg_resnet50``.
        weights: as ``read_weights`` gives them.
        settings: of the network, where they are not the defaults (DOLG with atrous convolutions).

    Returns:
        What ``build_network`` with that name and those settings loads, whole.

    Raises:
        ConfigError: there is no converter of that name, a weight is unknown or missing, or has another shape.
    """
    method, _, backbone = name.partition("_")
    if method not in _RULES:
        raise ConfigError(f"no public checkpoints of {name!r} are known; choose of {', '.join(CONVERTERS)}")
    renamed = {ours: value for key, value in weights.items() if (ours := _rename(method, key)) is not None}
    if method == "dolg" and "trunk.conv1.weight" in renamed:
        renamed["trunk.conv1.weight"] = renamed["trunk.conv1.weight"].flip(1)
    return _complete(f"{method}_{backbone or _BACKBONE}", renamed, settings=settings)


def _rename(method: str, key: str) -> str | None:
    for pattern, ours in _RULES[method]:
        if re.match(pattern, key):
            return None if ours is None else _rename_inside(method, re.sub(f"^{pattern}", ours, key))
    raise ConfigError(
        f"{key!r} is no weight of the public {method} network; give the file its authors published, or choose another "
        f"of {', '.join(CONVERTERS)}"
    )


def _rename_inside(method: str, key: str) -> str:
    pattern, become = _INSIDE[method]
    return re.sub(pattern, lambda found: f"{found[1]}.{become(found[2])}.", key)


def _complete(name: str, renamed: Mapping[str, Tensor], *, settings: Settings | None) -> dict[str, Tensor]:
    """Check names and shapes, and add what a public file may lack: counters, and the exponent of a fixed pooling."""
    import torch

    with torch.device("meta"):
        expected = build_network(name, settings=settings).state_dict()
    defaults = {key: torch.zeros((), dtype=torch.int64) for key in expected if key.endswith(COUNTER)}
    if name.startswith("dolg"):
        defaults["pool.p"] = torch.tensor([_DOLG_EXPONENT])
    whole = {**defaults, **renamed}
    check_weights(expected, whole, name=name, source="the public file", advice="name the network that it holds")
    return {key: whole[key].clone() for key in expected}
