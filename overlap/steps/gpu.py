"""Inner products on a GPU, for exact search."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from overlap.config import SearchConfig
from overlap.devices import choose_device
from overlap.tables import FloatArray

if TYPE_CHECKING:
    from torch import Tensor


def load_product(settings: SearchConfig) -> Callable[[FloatArray, FloatArray], FloatArray] | None:
    """Return what multiplies on the GPU, or None where there is none.

    Raises:
        ConfigError: cuda was asked for and there is none.
    """
    device = choose_device(settings.device, key="search.device")
    return None if device == "cpu" else product_on(device)


def product_on(device: str) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Return what gives the (Q, B) float32 inner products of (Q, D) probes and (B, D) rows, computed on a device.

    Probes stay on the device, rows until others come: search_exact shows all its probes a block of rows before the next
    block.
    """
    import torch

    kept: dict[int, tuple[FloatArray, Tensor]] = {}
    last: list[tuple[FloatArray, Tensor]] = []

    def multiply(probes: FloatArray, rows: FloatArray) -> FloatArray:
        if id(probes) not in kept:
            kept[id(probes)] = (probes, torch.from_numpy(probes).to(device))
        if not last or last[0][0] is not rows:
            last[:] = [(rows, torch.from_numpy(rows).to(device))]
        product: FloatArray = (kept[id(probes)][1] @ last[0][1].T).cpu().numpy()
        return product

    return multiply
