"""Every step of a run, declared once: what its result depends on. Keys of results, status and export follow from it.

A step reads settings of the config and needs results of other steps. What has no part in this (how many photos a shard
or a batch holds, which device computes the same bytes) outdates nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar

from overlap.config import Config, Section, fingerprint
from overlap.policy import load_policy


@dataclass(frozen=True)
class Step:
    """Declare a step. Settings are named SECTION or SECTION.KEY.

    Args:
        reads: the settings that the bytes of each of its parts depend on, beside the photos; files count by their
            bytes too.
        picks: the settings that decide which parts there are.
        needs: the steps whose results it takes.
        device: the setting of the device, where that changes bytes; what "auto" became is recorded.
        uses: settings that its work reads and that change no bytes.
        part_of: whose result it is a part of; without one it keeps a record of its own.
        version: raised when a change of the code changes bytes.
    """

    reads: tuple[str, ...] = ()
    picks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    device: str | None = None
    uses: tuple[str, ...] = ()
    part_of: str | None = None
    version: int = 1


_LIMITS = ("run.max_photo_mpx", "run.max_photo_mb")


def _section(name: str, *keys: str) -> tuple[str, ...]:
    return tuple(f"{name}.{key}" for key in keys)


def _describing(*keys: str, needs: tuple[str, ...] = (), device: str | None = None) -> Step:
    reads = _section("descriptors", "kind", "size_px", "scales", *keys)
    return Step(reads, ("search.probes", *_LIMITS), ("photos", *needs), device, version=4)


def _extracting(*, device: str | None = None) -> Step:
    reads = _section("verify", "features", "size_px", "keypoints", "weights")
    return Step(reads, _LIMITS, ("candidates", "copies"), device, version=3)


def _matching(*keys: str, device: str | None = None) -> Step:
    reads = _section("verify", "features", "matcher", "seed", *keys)
    return Step(reads, needs=("features",), device=device, uses=("verify.device",), version=7)


_NETWORK = ("path", "batch", "precision", "compile")
_JUDGED = ("verify.threshold", "review.threshold", "policy.name")

# By name, or by name and the value of a setting that decides.
STEPS: Mapping[str, Step | tuple[str, Mapping[str, Step]]] = MappingProxyType(
    {
        "archives": Step(part_of="photos", version=3),
        "photos": Step(picks=("train", "evaluation", "synthetic")),
        "vocabulary-sample": Step(("descriptors.size_px",), _LIMITS, ("photos",), part_of="descriptors", version=4),
        "vocabulary": Step(
            _section("descriptors", "vocabulary", "dimensions", "seed"),
            needs=("vocabulary-sample",),
            part_of="descriptors",
            version=4,
        ),
        "descriptors": (
            "descriptors.kind",
            {
                "vlad": _describing(needs=("vocabulary",)),
                "exported": _describing(*_NETWORK, device="descriptors.device"),
                "network": _describing(*_NETWORK, "network", device="descriptors.device"),
            },
        ),
        "candidates": Step(_section("search", "k", "index"), needs=("descriptors",), version=3),
        "hashes": Step((), ("search.probes", *_LIMITS), ("photos",), part_of="copies", version=2),
        "copies": Step(_section("search", "k", "copies"), needs=("hashes",), version=2),
        "names": Step(("names.words",), needs=("photos",)),
        "features": (
            "verify.features",
            {
                "sift": _extracting(),
                **dict.fromkeys(("aliked", "disk", "keynet"), _extracting(device="verify.device")),
            },
        ),
        "verified": (
            "verify.matcher",
            {"mutual": _matching(), "lightglue": _matching("matcher_weights", device="verify.device")},
        ),
        "audit": Step(("audit", *_JUDGED), needs=("verified", "names")),
        "planted": Step((), ("audit.seed", *_LIMITS), ("photos",), part_of="recall", version=2),
        "recall": Step(needs=("planted", "candidates", "copies")),
        "audited": Step(("review.reviewers", *_JUDGED), needs=("audit",)),
        "closure": Step(("closure", *_JUDGED), needs=("verified", "names")),
        "queue": Step(("review.threshold", "verify.threshold"), needs=("verified", "names")),
        "decoded": Step((), _LIMITS, ("photos",), part_of="training", version=2),
    }
)


def find_step(config: Config, name: str) -> Step:
    """Return the declaration of a step, of the kind that the config chooses."""
    declared = STEPS[name]
    if isinstance(declared, Step):
        return declared
    key, kinds = declared
    return kinds[attrgetter(key)(config)]


def recorded_steps(config: Config) -> list[str]:
    """Return the steps that keep a record of their own, in the order in which they run."""
    return [name for name in STEPS if find_step(config, name).part_of is None]


Part = TypeVar("Part", bound=Section)


def declared_part(section: Part, step: Step, *, name: str, device: str | None = None) -> Part:
    """Return a section of the config with nothing but what the step declares: to read another setting fails at once.

    Args:
        name: the section's name.
        device: what its device is, where the step's result depends on that.
    """
    known = {key.partition(".")[2] for key in (*_own(step, paths=True), *step.uses) if key.startswith(f"{name}.")}
    part = section.model_copy(update={} if device is None else {"device": device})
    for key in type(section).model_fields.keys() - known:
        del part.__dict__[key]
    return part


def name_part(config: Config, name: str, devices: Mapping[str, str], *more: object) -> str:
    """Return the fingerprint of a part of a step's result: of all that its bytes depend on.

    Args:
        devices: by setting, what a device is that the config leaves to the machine.
        more: what else they depend on: photos, files by their SHA-256, parts of other steps.
    """
    step = find_step(config, name)
    return fingerprint(name, step.version, _values(config, _own(step), devices), *more)


def settings_of(config: Config, name: str, devices: Mapping[str, str]) -> str:
    """Return the fingerprint of all settings that a step's result depends on, those of the steps it needs too."""
    step = find_step(config, name)
    values = _values(config, (*_own(step, paths=True), *step.picks), devices)
    return fingerprint(name, step.version, values, [settings_of(config, need, devices) for need in step.needs])


def devices_of(config: Config, name: str) -> Iterator[str]:
    """Yield the settings of devices that change a step's result, those of the steps it needs too."""
    step = find_step(config, name)
    if step.device is not None:
        yield step.device
    for need in step.needs:
        yield from devices_of(config, need)


_FILES = ("path", "weights", "matcher_weights")


def _own(step: Step, *, paths: bool = False) -> tuple[str, ...]:
    """Return what a part depends on; a file's path is no part of it, its bytes are."""
    reads = (key for key in step.reads if paths or key.rpartition(".")[2] not in _FILES)
    return (*reads, *((step.device,) if step.device else ()))


def _values(config: Config, keys: tuple[str, ...], devices: Mapping[str, str]) -> dict[str, Any]:
    values = {key: attrgetter(key)(config) for key in keys}
    for key in values.keys() & devices.keys():
        values[key] = devices[key] if values[key] == "auto" else values[key]
    if "policy.name" in values:
        values["policy.name"] = load_policy(config.policy.name)
    return values
