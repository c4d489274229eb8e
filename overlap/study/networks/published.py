"""Where torchvision's ImageNet weights lie. Their names hold the first eight digits of their SHA-256.

Source: the addresses in torchvision's own model files. V1 is the weights of the original recipe, V2 of a newer one.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from overlap.base.errors import ConfigError

_BASE = "https://download.pytorch.org/models/"

PUBLISHED: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("resnet18", "v1"): "resnet18-f37072fd.pth",
        ("resnet34", "v1"): "resnet34-b627a593.pth",
        ("resnet50", "v1"): "resnet50-0676ba61.pth",
        ("resnet50", "v2"): "resnet50-11ad3fa6.pth",
        ("resnet101", "v1"): "resnet101-63fe2227.pth",
        ("resnet101", "v2"): "resnet101-cd907fc2.pth",
        ("mobilenet_v2", "v1"): "mobilenet_v2-b0353104.pth",
        ("mobilenet_v2", "v2"): "mobilenet_v2-7ebf99e0.pth",
    }
)


def check_published(path: Path) -> None:
    """Check the SHA-256 of a file that has the name of published weights; any other name is left unchecked.

    Raises:
        ConfigError: the file is not what its name says.
    """
    if path.name not in PUBLISHED.values() or not path.is_file():
        return
    expected = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise ConfigError(
            f"{path} is damaged: its SHA-256 starts with {found[:8]}, not with {expected}; fetch it again from "
            f"{_BASE}{path.name}"
        )
