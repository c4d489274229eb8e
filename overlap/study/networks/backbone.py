"""Convolutional trunks in torchvision's exact layout, so that its published weights load key by key.

Torchvision itself is no dependency: its wheels are tied to one build of torch.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TypeAlias

from torch import Tensor, nn

from overlap.base.errors import ConfigError


class BasicBlock(nn.Module):
    """Add two 3x3 convolutions to their input (He et al. 2016, ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, width, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y))
        return _add(y, x if self.downsample is None else self.downsample(x))


class Bottleneck(nn.Module):
    """Add 1x1, 3x3 and 1x1 convolutions to their input (ResNet-50 and -101).

    The stride sits on the 3x3 convolution, as in torchvision ("V1.5"); the paper has it on the first 1x1.
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, width, 1, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, width * self.expansion, 1, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _shortcut(channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 4 width, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return _add(y, x if self.downsample is None else self.downsample(x))


class ResNet(nn.Module):
    """Compute a feature map at 1/32 of the photo's size; the classifier is left out.

    Args:
        block: BasicBlock or Bottleneck.
        depths: number of blocks in each of the four stages.
        width: channels of the first stage; 64 in every published network.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], depths: Sequence[int], *, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, width, width, depths[0], 1)
        self.layer2 = _stage(block, width * block.expansion, width * 2, depths[1], 2)
        self.layer3 = _stage(block, width * 2 * block.expansion, width * 4, depths[2], 2)
        self.layer4 = _stage(block, width * 4 * block.expansion, width * 8, depths[3], 2)
        self.middle_channels = width * 4 * block.expansion
        self.channels = width * 8 * block.expansion

    def middle(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, middle_channels, ceil(H / 16), ceil(W / 16)): the paper's conv4."""
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        features: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return features

    def last(self, x: Tensor) -> Tensor:
        """Map what ``middle`` gives to (B, channels, ceil(H / 32), ceil(W / 32)): the paper's conv5."""
        features: Tensor = self.layer4(x)
        return features

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature maps at 1/16 and 1/32 of the photo's size."""
        middle = self.middle(x)
        return middle, self.last(middle)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, channels, ceil(H / 32), ceil(W / 32))."""
        return self.last(self.middle(x))


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter channel by channel, narrow by 1x1 without activation (Sandler et al. 2018)."""

    def __init__(self, channels: int, out_channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels * expansion
        self.adds = stride == 1 and channels == out_channels
        self.conv = nn.Sequential(
            *([_conv_relu6(channels, width, 1)] if expansion != 1 else []),
            _conv_relu6(width, width, 3, stride=stride, groups=width),
            nn.Conv2d(width, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """Compute a (B, 1280, H / 32, W / 32) feature map; the classifier is left out."""

    # Expansion, channels, blocks, stride of the first block: Table 2 of Sandler et al. 2018.
    _STAGES = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    _N_MIDDLE = 14
    middle_channels = 96
    channels = 1280

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_relu6(3, 32, 3, stride=2)]
        channels = 32
        for expansion, out_channels, blocks, stride in self._STAGES:
            for row in range(blocks):
                block_stride = stride if row == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride=block_stride, expansion=expansion))
                channels = out_channels
        self.features = nn.Sequential(*layers, _conv_relu6(channels, self.channels, 1))

    def middle(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 96, ceil(H / 16), ceil(W / 16))."""
        features: Tensor = self.features[: self._N_MIDDLE](x)
        return features

    def last(self, x: Tensor) -> Tensor:
        """Map what ``middle`` gives to (B, 1280, ceil(H / 32), ceil(W / 32))."""
        features: Tensor = self.features[self._N_MIDDLE :](x)
        return features

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature maps at 1/16 and 1/32 of the photo's size."""
        middle = self.middle(x)
        return middle, self.last(middle)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1280, ceil(H / 32), ceil(W / 32))."""
        return self.last(self.middle(x))


class TimmTrunk(nn.Module):
    """Wrap a network of the timm library, without its classifier and with random weights.

    It gives its last two feature maps at once, so nothing can be put between its stages.

    Args:
        name: as ``timm.create_model`` takes it.

    Raises:
        ConfigError: timm isn't installed, or has no such network with feature maps.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            timm = import_module("timm")
        except ImportError:
            raise ConfigError(
                f"the backbone timm/{name} needs the timm library, which is not installed: pip install timm, or choose "
                "another backbone"
            ) from None
        try:
            self.features = timm.create_model(name, pretrained=False, features_only=True, out_indices=(-2, -1))
        except (RuntimeError, ValueError, AttributeError) as error:
            raise ConfigError(f"timm can't give feature maps of {name!r}: {error}") from None
        self.middle_channels, self.channels = self.features.feature_info.channels()

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last two feature maps, the finer first."""
        middle, last = self.features(x)
        return middle, last

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, channels, h, w)."""
        return self.maps(x)[1]


Trunk: TypeAlias = ResNet | MobileNetV2 | TimmTrunk


def _add(y: Tensor, shortcut: Tensor) -> Tensor:
    return (y + shortcut).relu()


def _conv(channels: int, out_channels: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, size, stride=stride, padding=size // 2, bias=False)


def _conv_relu6(channels: int, out_channels: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out_channels, size, stride=stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU6())


def _shortcut(channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels == out_channels:
        return None
    return nn.Sequential(_conv(channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    first = block(channels, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(blocks - 1)))
