"""What the steps ask of a GPU: that it is there, and inner products for exact search."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from overlap.base.config import SearchConfig
from overlap.base.devices import choose_device
from overlap.base.tables import FloatArray
from overlap.pipeline.run import Run
from overlap.search.exact import Product

if TYPE_CHECKING:
    from torch import Tensor


def check_devices(run: Run) -> None:
    """Look for the GPUs that the config asks for before any work is done.

    Search runs here; descriptors and verification run where the shards do, which may be another machine.

    Raises:
        ConfigError: cuda is asked for and there is none.
    """
    settings = run.config
    if settings.search.index == "exact":
        choose_device(settings.search.device, key="search.device")
    asked = {"verify.device": settings.verify.device}
    if settings.descriptors.kind != "vlad":
        asked["descriptors.device"] = settings.descriptors.device
    keys = [key for key, device in asked.items() if device == "cuda"]
    if keys:
        run.map_shards(_require_cuda, keys, label="look for a GPU", sizes=[1] * len(keys))


def _require_cuda(key: str) -> None:
    choose_device("cuda", key=key)


def load_product(settings: SearchConfig) -> Product | None:
    """Return what multiplies on the GPU, or None where there is none.

    Raises:
        ConfigError: cuda was asked for and there is none.
    """
    device = choose_device(settings.device, key="search.device")
    return None if device == "cpu" else product_on(device)


def product_on(device: str) -> Product:
    """Return what yields the (B, Q) float32 inner products of (B, D) rows with each (Q, D) part of the probes.

    They are computed on a device, where the probes stay until others come.
    """
    import torch

    held: tuple[Sequence[FloatArray], list[Tensor]] = ((), [])

    def multiply(rows: FloatArray, parts: Sequence[FloatArray]) -> Iterator[FloatArray]:
        nonlocal held
        whose, probes = held
        if whose is not parts:
            probes = [torch.from_numpy(part).to(device) for part in parts]
            held = parts, probes
        here = torch.from_numpy(rows).to(device)
        for each in probes:
            product: FloatArray = (here @ each.T).cpu().numpy()
            yield product

    return multiply
