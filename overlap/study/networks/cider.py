"""CiDeR: find the object by attention and describe it, in one pass and without labels of where it is.

Source: arXiv 2404.01524, section 4. Its authors published no code; what is ours is said in ``settings``.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional

from overlap.base.errors import ConfigError
from overlap.study.networks.attention import ENHANCEMENTS
from overlap.study.networks.backbone import Trunk
from overlap.study.networks.colours import Colours
from overlap.study.networks.context import CONTEXTS
from overlap.study.networks.localisation import Localisation
from overlap.study.networks.pooling import GeM, MeanPool
from overlap.study.networks.settings import CiderSettings


class Cider(nn.Module):
    """Describe photos by backbone, enhancement, context, localisation and pooling (equation 6).

    Args:
        trunk: gives the feature map.
        dimensions: size of the descriptor.

    Raises:
        ConfigError: without whitening, the descriptor's size is not the trunk's.
    """

    def __init__(self, trunk: Trunk, *, dimensions: int, settings: CiderSettings) -> None:
        super().__init__()
        channels = trunk.channels
        self.colours = Colours()
        self.trunk = trunk
        self.enhance = _block(ENHANCEMENTS, settings.enhancement, channels)
        self.context = _block(CONTEXTS, settings.context, channels)
        self.localise = Localisation(channels, settings=settings) if settings.localisation == "attention" else None
        self.pool = GeM() if settings.pooling == "gem" else MeanPool()
        self.whiten = _whitening(settings.whitening, channels, dimensions)
        self.norm = nn.BatchNorm1d(dimensions) if settings.whitening == "batch_norm" else nn.Identity()
        self.dimensions = dimensions

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        features = self._features(photos)
        if self.localise is not None:
            features = self.localise(features)
        vectors = functional.normalize(self.pool(features), dim=-1)
        return functional.normalize(self.norm(self.whiten(vectors)).float(), dim=-1)

    def attention(self, photos: Tensor) -> Tensor:
        """Return what the network looks at: (B, h, w) in [0, 1], at the resolution of the feature map.

        Where it reaches a threshold of the settings, the mask is foreground.

        Raises:
            ConfigError: the network was built without localisation.
        """
        if self.localise is None:
            raise ConfigError("this cider has no attention map: it was built with localisation = 'none'")
        return self.localise.attention(self._features(photos))

    def _features(self, photos: Tensor) -> Tensor:
        features: Tensor = self.context(self.enhance(self.trunk(self.colours(photos))))
        return features


def _block(blocks: Mapping[str, Callable[[int], nn.Module]], name: str, channels: int) -> nn.Module:
    return nn.Identity() if name == "none" else blocks[name](channels)


def _whitening(kind: str, channels: int, dimensions: int) -> nn.Module:
    if kind != "none":
        return nn.Linear(channels, dimensions)
    if channels != dimensions:
        raise ConfigError(
            f"cider without whitening gives {channels} numbers, not {dimensions}; leave the dimensions out or set "
            "whitening"
        )
    return nn.Identity()
