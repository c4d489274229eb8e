"""Networks that came as a file: torch.export programs, which need no code of their maker's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from overlap.descriptors.archive import check_archive
from overlap.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

_LIMIT_MB = 4000


def load_exported(path: Path, *, device: str = "cpu", limit_mb: int = _LIMIT_MB) -> Callable[[Tensor], Tensor]:
    """Load a ``.pt2`` program that torch.export.save wrote.

    The archive is checked first (see ``archive``): members, operators or expressions by which torch.export.load would
    run code are refused. The guards on input shapes, which are Python text too, are not compiled: a shape that the
    program was not made for fails inside it, or is computed if its operators can.

    Args:
        device: ``cpu`` or ``cuda``.
        limit_mb: the most megabytes that the file may unpack to.

    Returns:
        A function from float32 RGB photos in 0..1, (B, 3, H, W) on that device, to (B, D) rows of length 1, whatever
        their length in the program.

    Raises:
        ConfigError: the file is missing, is no such program, or is refused.
    """
    import torch
    from torch.nn import functional

    check_archive(path, limit_mb=limit_mb)
    try:
        program = torch.export.load(path)
        module = program.module(check_guards=False).to(device)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ConfigError(
            f"{path} can't be loaded by torch {torch.__version__}: {type(error).__name__}: {str(error).strip()[:300]}; "
            "export it again with this version of torch"
        ) from None

    def embed(photos: Tensor) -> Tensor:
        vectors = module(photos)
        return functional.normalize(vectors.float(), dim=-1)

    return embed
