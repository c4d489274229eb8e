"""Photos a second of every network, in a forward pass and in a training step, against the plain backbone.

    python benchmarks/train.py [--backbone resnet101] [--methods cider,gem] [--batch 32] [--profile cider]

It needs torch and this source tree only. A forward pass describes photos at the scales 0.7071, 1 and 1.4142, as the
evaluation does; a training step is one of the optimiser over a batch at 448 pixels, with a cosine classifier over
``--landmarks``. Without a GPU the defaults are a small backbone and small photos. Networks are measured in turn,
``--rounds`` times, and the median is printed, so that other work on the machine touches all of them alike.

With a GPU: bfloat16, channels-last, and the share of the measured rate of a plain matrix product that the network's own
products reach (their number counted by torch's FlopCounterMode). ``--profile`` prints where one network's time goes.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from overlap.study.networks.catalogue import NETWORKS, build_network
from overlap.study.networks.checkpoint import size_of

SCALES = (0.7071, 1.0, 1.4142)


@dataclass(frozen=True)
class Bench:
    """Hold what all measurements share: sides in pixels, photos a batch."""

    device: str
    backbone: str
    forward_px: tuple[int, int]
    train_px: tuple[int, int]
    batch: int
    train_batch: int
    landmarks: int
    compile: bool


def main() -> None:
    """Print the table, and a profile where one is asked for."""
    options = read_options()
    bench = choose(options)
    methods = options.methods.split(",")
    print(f"{describe_machine(bench)}; {bench}")
    rate = measure_product(bench) if bench.device == "cuda" else None
    if rate:
        print(f"matrix product of 8192 x 8192 in bfloat16: {rate / 1e12:.0f} TFLOP/s")
    for kind, prepare in (("forward", prepare_forward), ("train", prepare_step)):
        print_table(kind, {method: prepare(bench, method) for method in methods}, rounds=options.rounds, rate=rate)
    if options.profile:
        for prepare in (prepare_forward, prepare_step):
            print_profile(bench, prepare(bench, options.profile))


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", help="resnet101 on a GPU, resnet18 without")
    parser.add_argument("--methods", default=",".join(NETWORKS))
    parser.add_argument("--batch", type=int, help="photos a forward pass")
    parser.add_argument("--train-batch", type=int)
    parser.add_argument("--landmarks", type=int, help="81313 on a GPU, 1000 without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", metavar="METHOD")
    return parser.parse_args()


def choose(options: argparse.Namespace) -> Bench:
    """Choose sizes that fit the machine; height and width are those of a wide photo."""
    if torch.cuda.is_available():
        bench = Bench("cuda", "resnet101", (768, 1024), (448, 448), 32, 64, 81_313, options.compile)
    else:
        bench = Bench("cpu", "resnet18", (192, 256), (128, 128), 4, 8, 1000, options.compile)
    given = {name: getattr(options, name) for name in ("backbone", "batch", "train_batch", "landmarks")}
    return Bench(**{**bench.__dict__, **{name: value for name, value in given.items() if value}})


@dataclass(frozen=True, eq=False)
class Work:
    """Hold something to time: what does it once, on how many photos, with how many operations."""

    run: Callable[[], object]
    photos: int
    operations: int


def prepare_forward(bench: Bench, method: str) -> Work:
    """Return the description of a batch at three scales."""
    network = ready(build_network(f"{method}_{bench.backbone}").eval(), bench)
    sizes = [tuple(max(round(side * scale / 16) * 16, 64) for side in bench.forward_px) for scale in SCALES]
    batches = [photos(bench, bench.batch, size) for size in sizes]

    def run() -> list[Tensor]:
        with torch.inference_mode(), autocast(bench):
            return [network(batch) for batch in batches]

    return Work(run, bench.batch, count_operations(run))


def prepare_step(bench: Bench, method: str) -> Work:
    """Return a step of the optimiser."""
    network = ready(build_network(f"{method}_{bench.backbone}").train(), bench)
    classifier = nn.Parameter(torch.randn(bench.landmarks, size_of(network), device=bench.device))
    optimiser = torch.optim.SGD([*network.parameters(), classifier], lr=1e-4, momentum=0.9)
    batch = photos(bench, bench.train_batch, bench.train_px)
    labels = torch.arange(bench.train_batch, device=bench.device) % bench.landmarks

    def run() -> None:
        with autocast(bench):
            logits = functional.linear(network(batch), functional.normalize(classifier, dim=-1))
            loss = functional.cross_entropy(30 * logits.float(), labels)
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return Work(run, bench.train_batch, count_operations(run))


def ready(network: nn.Module, bench: Bench) -> nn.Module:
    """Move a network to the device in the layout that suits it."""
    network = network.to(bench.device)
    if bench.device == "cuda":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
    if bench.compile:
        network.compile()
    return network


def photos(bench: Bench, batch: int, size: tuple[int, ...]) -> Tensor:
    """Return random photos."""
    made = torch.rand(batch, 3, *size, device=bench.device)
    return made.to(memory_format=torch.channels_last) if bench.device == "cuda" else made


def autocast(bench: Bench) -> torch.autocast:
    """Return bfloat16 on a GPU, and nothing on a CPU."""
    return torch.autocast(bench.device, dtype=torch.bfloat16, enabled=bench.device == "cuda")


def count_operations(run: Callable[[], object]) -> int:
    """Count additions and multiplications of convolutions and products; the first run warms up besides."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def measure_product(bench: Bench) -> float:
    """Return operations a second of a large matrix product."""
    left, right = (torch.randn(8192, 8192, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = statistics.median(time_once(lambda: left @ right) for _ in range(20))
    return 2 * 8192**3 / seconds


def time_once(run: Callable[[], object]) -> float:
    """Return the seconds of one run, the device's work included."""
    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def print_table(kind: str, works: dict[str, Work], *, rounds: int, rate: float | None) -> None:
    """Time all networks in turn and print a row each."""
    for work in works.values():
        work.run()
    times: dict[str, list[float]] = {method: [] for method in works}
    for _ in range(rounds):
        for method, work in works.items():
            times[method].append(time_once(work.run))
    speeds = {method: work.photos / statistics.median(times[method]) for method, work in works.items()}
    plain = speeds.get("gem", max(speeds.values()))
    print(f"\n| {kind} | photos/s | of the plain backbone | GFLOP a photo | share of the product's rate |")
    print("|---|---|---|---|---|")
    for method, work in works.items():
        each = work.operations / work.photos
        share = f"{speeds[method] * each / rate:.0%}" if rate else "-"
        print(f"| {method} | {speeds[method]:.1f} | {speeds[method] / plain:.2f} | {each / 1e9:.2f} | {share} |")


def print_profile(bench: Bench, work: Work) -> None:
    """Print which operations take the time."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.device == "cuda" else [])]
    with profile(activities=activities) as found:
        for _ in range(3):
            work.run()
        wait()
    order = "self_cuda_time_total" if bench.device == "cuda" else "self_cpu_time_total"
    print(found.key_averages().table(sort_by=order, row_limit=15, max_name_column_width=50))


def describe_machine(bench: Bench) -> str:
    """Name the device and torch."""
    device = torch.cuda.get_device_name() if bench.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{device}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
