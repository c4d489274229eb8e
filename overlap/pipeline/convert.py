"""Public checkpoints to this project's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overlap.base.weights import read_weights
from overlap.pipeline.run import require_out
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.checkpoint import NetworkSpec, make_settings, save_weights, size_of
from overlap.study.networks.convert import convert


def convert_checkpoint(weights: Path, out: Path, *, name: str, values: Mapping[str, Any]) -> NetworkSpec:
    """Write a public checkpoint of SOLAR, DOLG or Token as one that says what network it is.

    Args:
        name: METHOD_BACKBONE.
        values: settings of the method that are not the defaults.

    Raises:
        ConfigError: the file is no checkpoint, or another network's, or `out` can't be written.
    """
    import torch

    require_out(out)
    settings = make_settings(name, values)
    found = convert(name, read_weights(weights, key="IN"), settings=settings)
    with torch.device("meta"):
        network = build_network(name, settings=settings)
    spec = NetworkSpec(name, size_of(network), settings)
    save_weights(out, spec, found)
    return spec
