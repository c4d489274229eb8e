"""Which device a computation runs on."""

import ctypes
import os
from typing import Literal

from overlap.base.errors import ConfigError


def choose_device(device: str, *, key: str) -> Literal["cpu", "cuda"]:
    """Return ``cpu`` or ``cuda``; ``auto`` takes CUDA where there is one.

    PyTorch is imported only where a driver is installed: to import it takes seconds.

    Args:
        device: auto, cpu or cuda.
        key: the setting, for the message.

    Raises:
        ConfigError: CUDA is asked for and absent.
    """
    if device == "cpu" or (device == "auto" and not has_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ConfigError(f'{key} = "cuda", but PyTorch finds no CUDA device here; use "auto" or "cpu"')
    return "cpu"


def has_driver() -> bool:
    """Tell whether the driver of an NVIDIA GPU is installed."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def use_large_pages() -> None:
    """Let PyTorch ask for memory in large pages where Linux has them; to be called before its first tensor.

    A network on a CPU spends half its time on page faults otherwise: every layer's output is new memory.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
