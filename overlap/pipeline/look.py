"""Look into trained networks: attention maps, and the boxes that they pick out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.config import NetworkConfig
from overlap.base.errors import ConfigError
from overlap.base.images import PhotoLimits, Pixels, load_header, load_photo, resize_within
from overlap.study.evaluation.boxes import Box, component_boxes
from overlap.study.networks.catalogue import build_network, load_trunk
from overlap.study.networks.checkpoint import load_saved, make_settings, open_saved, read_saved

if TYPE_CHECKING:
    from torch import Tensor, nn

Map: TypeAlias = NDArray[np.float32]
Row: TypeAlias = Mapping[str, Any]
# What of a network's activation, scaled to 0..1, is taken for an object where it has no attention of its own.
_SALIENT = 0.5


@dataclass(frozen=True, eq=False)
class Eye:
    """Hold a network's gaze.

    Args:
        look: maps (B, 3, H, W) photos in 0..1 to (B, h, w) attention in 0..1.
        threshold: from which on a position belongs to the object.
        size_px: the longer side of the photos that it sees.
    """

    look: "Callable[[Tensor], Tensor]"
    threshold: float
    size_px: int


def open_eye(network: "nn.Module", *, size_px: int) -> Eye:
    """Take a network's attention map, or how strongly its backbone responds where it has none.

    The threshold is the highest of CiDeR's own.
    """
    from overlap.study.networks.localisation import scale_to_unit

    localise: Any = getattr(network, "localise", None)
    if localise is not None:
        attend: Any = network.attention
        return Eye(_frozen(attend), float(localise.thresholds.max()), size_px)
    trunk, colours = network.get_submodule("trunk"), network.get_submodule("colours")
    return Eye(_frozen(lambda photos: scale_to_unit(trunk(colours(photos)).norm(dim=1))), _SALIENT, size_px)


def open_trained(checkpoint: Path) -> "nn.Module":
    """Open the network of a checkpoint of a training.

    Raises:
        ConfigError: it is none.
    """
    saved = read_saved(checkpoint)
    if saved is None:
        raise ConfigError(f"{checkpoint} holds weights alone; name a checkpoint of 'overlap train'")
    return open_saved(checkpoint, saved)


def open_untrained(config: NetworkConfig, *, seed: int) -> "nn.Module":
    """Open a network as its training began."""
    method = config.name.partition("_")[0]
    settings = make_settings(config.name, getattr(config, method, {}))
    network = build_network(config.name, dimensions=config.dimensions, seed=seed, settings=settings)
    if config.weights is not None:
        saved = read_saved(config.weights)
        if saved is None:
            load_trunk(network, config.weights)
        else:
            load_saved(network, config.weights, saved, name=config.name)
    return network.eval()


def find_attention(eye: Eye, photo: Pixels) -> Map:
    """Return the (h, w) attention map of a whole photo."""
    return np.asarray(eye.look(as_tensor(resize_within(photo, eye.size_px)))[0].numpy(), dtype=np.float32)


def find_box(eye: Eye, photo: Pixels) -> Box:
    """Return the box of the connected part with most attention, in the photo's pixels; without one, the whole photo."""
    height, width = photo.shape[:2]
    found = component_boxes(find_attention(eye, photo), threshold=eye.threshold, size_px=(width, height))
    return found[0] if found else (0.0, 0.0, float(width), float(height))


def load_upright(row: Row, limits: PhotoLimits) -> Pixels | None:
    """Read a whole photo whose pixels are stored upright, so that boxes fit it; None for one that is turned.

    Raises:
        DataError: it can't be read.
    """
    if load_header(row, limits)[2] != 1:
        return None
    return load_photo(row, crop=False, limits=limits)


def as_tensor(photo: Pixels) -> "Tensor":
    """Return a photo as a (1, 3, H, W) tensor in 0..1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float() / 255


def _frozen(look: "Callable[[Tensor], Tensor]") -> "Callable[[Tensor], Tensor]":
    def run(photos: "Tensor") -> "Tensor":
        import torch

        with torch.inference_mode():
            return look(photos)

    return run
