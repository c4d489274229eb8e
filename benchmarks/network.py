"""Extraction by a network, photos a second straight from a tar archive, beside what limits it.

    python -m benchmarks network [--photos ROOT] [--network gem_resnet50] [--network-px 512]

On a GPU where there is one (bfloat16, channels-last), else on all cores. Two ceilings are measured in the same run: how
fast all cores read, decode and resize, and how fast one large matrix product is, which gives the photos a second that
the network's arithmetic allows. The network alone, on photos that are decoded already, tells which one is in the way.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.extraction import write_archive
from benchmarks.results import Result
from overlap.base.config import DescriptorsConfig
from overlap.base.devices import choose_device, use_large_pages
from overlap.base.images import PhotoLimits
from overlap.base.threads import map_ahead
from overlap.base.workers import count_cores
from overlap.descriptors.batches import grid_shape, load_scaled
from overlap.descriptors.extract import describe_batches
from overlap.study.networks.catalogue import build_network, for_inference

if TYPE_CHECKING:
    from torch import nn

# A GPU needs more work than a core to be measured.
_REPEATS = {"cpu": 1, "cuda": 100}
_PRODUCT = {"cpu": 4096, "cuda": 8192}


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Measure the whole, the network alone, and both ceilings."""
    device = choose_device("auto", key="device")
    settings = DescriptorsConfig(
        size_px=options.network_px, batch=16, device=device, precision="bfloat16" if device == "cuda" else "float32"
    )
    use_large_pages()
    network = for_inference(build_network(options.network), device=device)
    with tempfile.TemporaryDirectory(prefix="network-") as name:
        rows = write_archive(Path(name) / "images_000.tar", options) * _REPEATS[device]
        describe = _describer(network, settings)
        describe(rows[: settings.batch])
        decoded = _rate(rows, lambda some: list(map_ahead(_loader(settings), some, workers=count_cores())))
        whole = _rate(rows, describe)
    shape = (min(settings.batch, len(rows)), settings.size_px * 3 // 4, settings.size_px, 3)
    alone, operations = _measure_alone(network, settings, shape)
    product = _measure_product(settings)
    what, unit = f"extraction: {options.network} at {settings.size_px} px", f"photos/s of {device}"
    note = f"{settings.precision}, {operations / 1e9:.1f} GFLOP a photo of {shape[2]} x {shape[1]} px"
    ceiling = f"the product's {product / 1e12:.2f} TFLOP/s"
    yield Result(f"{what}, network alone", alone, unit, ceiling, alone * operations / product, note)
    yield Result(f"{what}, from the archive", whole, unit, "the network alone", whole / alone, note)
    what = f"extraction: read, decode, resize to {settings.size_px} on all cores"
    yield Result(what, decoded, f"photos/s of {count_cores()} cores", "extraction as a whole", decoded / whole)


def _describer(network: "nn.Module", settings: DescriptorsConfig) -> Callable[[Sequence[dict[str, Any]]], object]:
    return lambda rows: describe_batches(rows, network=network, settings=settings, workers=count_cores())


def _loader(settings: DescriptorsConfig) -> Callable[[dict[str, Any]], object]:
    return lambda row: load_scaled(row, size_px=settings.size_px, scales=(1.0,), limits=PhotoLimits(), fit=grid_shape)


def _rate(rows: list[dict[str, Any]], work: Callable[[Sequence[dict[str, Any]]], object]) -> float:
    began = time.perf_counter()
    work(rows)
    return len(rows) / (time.perf_counter() - began)


def _measure_alone(
    network: "nn.Module", settings: DescriptorsConfig, shape: tuple[int, int, int, int]
) -> tuple[float, float]:
    """Return photos a second of batches that lie on the device, and operations a photo."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    batch = torch.rand(shape, device=settings.device).permute(0, 3, 1, 2)
    batch = batch if settings.device == "cuda" else batch.contiguous()
    mixed = torch.autocast(settings.device, dtype=torch.bfloat16, enabled=settings.device == "cuda")
    with torch.inference_mode(), mixed:
        with FlopCounterMode(display=False) as counter:
            network(batch)
        seconds = _median_seconds(lambda: network(batch), settings)
    return len(batch) / seconds, counter.get_total_flops() / len(batch)


def _measure_product(settings: DescriptorsConfig) -> float:
    """Return operations a second of one large matrix product."""
    import torch

    size, kind = _PRODUCT[settings.device], getattr(torch, settings.precision)
    left, right = (torch.randn(size, size, device=settings.device, dtype=kind) for _ in range(2))
    return 2 * size**3 / _median_seconds(lambda: left @ right, settings)


def _median_seconds(run: Callable[[], object], settings: DescriptorsConfig) -> float:
    import torch

    wait: Callable[[], None] = torch.cuda.synchronize if settings.device == "cuda" else lambda: None
    seconds = []
    for _ in range(3 if settings.device == "cpu" else 20):
        wait()
        began = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))
