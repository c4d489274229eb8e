"""Every step of a run, declared once: what its result depends on, what does it, and what reads it.

Keys of results, the order of a run, status, export, plan and the table of steps in docs/scaling.md follow from it. What
has no part in a key (how many photos a shard or a batch holds, which device computes the same bytes) outdates nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from overlap.base.config import Config, Section

Cut = Literal["whole", "archives", "photos", "photos in order", "pairs"]


@dataclass(frozen=True)
class Step:
    """Declare a step. Settings are named SECTION or SECTION.KEY, functions MODULE:FUNCTION.

    Args:
        reads: the settings that the bytes of each of its parts depend on, beside the photos; files count by their
            bytes too.
        picks: the settings that decide which parts there are.
        needs: the steps whose results it takes.
        device: the setting of the device, where that changes bytes; what "auto" became is recorded.
        uses: settings that its work reads and that change no bytes.
        part_of: whose result it is a part of; without one it keeps a record of its own.
        cut: into what its work is cut; ``photos`` by archive and hash of the id.
        work: what does it: called with the run and the results of those steps it needs that are no parts of others.
        check: called with the run before any step begins; raises what would end the step later.
        count: called with the run and its sets; returns how much there is to do, for ``overlap plan``.
        table: reads its result for ``overlap export``, called with the config.
        command: the command that does it.
        version: raised when a change of the code changes bytes.
    """

    reads: tuple[str, ...] = ()
    picks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    device: str | None = None
    uses: tuple[str, ...] = ()
    part_of: str | None = None
    cut: Cut = "whole"
    work: str | None = None
    check: str | None = None
    count: str | None = None
    table: str | None = None
    command: str = "curate"
    version: int = 1


_STEPS = "overlap.pipeline"
_LIMITS = ("run.max_photo_mpx", "run.max_photo_mb")
_NETWORK = ("path", "batch", "precision", "compile")
_JUDGED = ("verify.threshold", "review.threshold", "review.reviewers", "policy.name")


def _section(name: str, *keys: str) -> tuple[str, ...]:
    return tuple(f"{name}.{key}" for key in keys)


def _describing(*keys: str, needs: tuple[str, ...] = (), device: str | None = None) -> Step:
    return Step(
        reads=_section("descriptors", "kind", "size_px", "scales", *keys),
        picks=("search.probes", *_LIMITS),
        needs=("photos", *needs),
        device=device,
        cut="photos",
        work=f"{_STEPS}.retrieve:describe_sets",
        check=f"{_STEPS}.retrieve:check_network",
        count=f"{_STEPS}.plan:count_described",
        version=4,
    )


def _extracting(*, device: str | None = None) -> Step:
    return Step(
        reads=_section("verify", "features", "size_px", "keypoints", "weights"),
        picks=_LIMITS,
        needs=("photos", "candidates", "copies"),
        device=device,
        cut="photos",
        work=f"{_STEPS}.verify:extract_features",
        check=f"{_STEPS}.verify:check_features",
        count=f"{_STEPS}.plan:count_extracted",
        version=3,
    )


def _matching(*keys: str, device: str | None = None) -> Step:
    return Step(
        reads=_section("verify", "features", "matcher", "seed", *keys),
        needs=("candidates", "copies", "features"),
        device=device,
        uses=("verify.device",),
        cut="pairs",
        work=f"{_STEPS}.verify:verify_candidates",
        count=f"{_STEPS}.plan:count_pairs",
        table=f"{_STEPS}.verify:tabulate_verified",
        version=7,
    )


# In the order in which they run; by name, or by name and the value of a setting that decides.
STEPS: Mapping[str, Step | tuple[str, Mapping[str, Step]]] = MappingProxyType(
    {
        "archives": Step(part_of="photos", cut="archives", version=3),
        "photos": Step(
            picks=("train", "evaluation", "synthetic"),
            needs=("archives",),
            uses=_LIMITS,
            work=f"{_STEPS}.photos:read_sets",
        ),
        "vocabulary-sample": Step(
            reads=("descriptors.size_px",),
            picks=_LIMITS,
            needs=("photos",),
            part_of="descriptors",
            cut="photos in order",
            count=f"{_STEPS}.plan:count_sampled",
            version=4,
        ),
        "vocabulary": Step(
            reads=_section("descriptors", "vocabulary", "dimensions", "seed"),
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
        "candidates": Step(
            reads=_section("search", "k", "index"),
            needs=("photos", "descriptors"),
            uses=("search.device",),
            work=f"{_STEPS}.retrieve:search_candidates",
            count=f"{_STEPS}.plan:count_searched",
            version=3,
        ),
        "hashes": Step(
            picks=("search.probes", *_LIMITS),
            needs=("photos",),
            part_of="copies",
            cut="photos",
            count=f"{_STEPS}.plan:count_hashed",
            version=2,
        ),
        "copies": Step(
            reads=_section("search", "k", "copies"),
            needs=("photos", "hashes"),
            work=f"{_STEPS}.copies:find_copies",
            version=2,
        ),
        "names": Step(reads=("names.words",), needs=("photos",), work=f"{_STEPS}.retrieve:find_names"),
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
        "queue": Step(
            reads=("review.threshold", "verify.threshold"),
            needs=("verified", "names"),
            work=f"{_STEPS}.review:build_queue",
            table=f"{_STEPS}.review:read_queue",
        ),
        "closure": Step(
            reads=("closure", *_JUDGED), needs=("verified", "names"), uses=("review.figures",), command="closure"
        ),
        "audit": Step(
            reads=("audit", *_JUDGED), needs=("verified", "names"), uses=("review.figures",), command="audit sample"
        ),
        "audited": Step(needs=("audit", "closure"), command="audit report"),
        "planted": Step(
            picks=("audit.seed", *_LIMITS),
            needs=("photos",),
            part_of="recall",
            cut="photos in order",
            command="audit recall",
            version=2,
        ),
        "recall": Step(
            reads=_JUDGED,
            needs=("planted", "candidates", "copies", "verified"),
            uses=("review.figures",),
            table=f"{_STEPS}.recall:read_recall",
            command="audit recall",
        ),
        "decoded": Step(
            picks=_LIMITS, needs=("photos",), part_of="trainings", cut="photos", command="train", version=2
        ),
    }
)

_KINDS = tuple(declared[0] for declared in STEPS.values() if not isinstance(declared, Step))
# Where things lie, and what of a set is no setting.
_PLACES = ("name", "store", "train", "evaluation", "synthetic", "review.database")

# What else 'overlap export' writes: tables of several steps, and decisions, which no step keeps.
_TABLES = {
    "candidates": f"{_STEPS}.retrieve:read_candidates",
    "decisions": f"{_STEPS}.decisions:tabulate_items",
    "landmarks": f"{_STEPS}.decisions:tabulate_landmarks",
    "removals": f"{_STEPS}.decisions:decide_removals",
    "quarantine": f"{_STEPS}.photos:read_quarantine",
}


def find_step(config: "Config", name: str) -> Step:
    """Return the declaration of a step, of the kind that the config chooses."""
    declared = STEPS[name]
    if isinstance(declared, Step):
        return declared
    key, kinds = declared
    return kinds[attrgetter(key)(config)]


def list_kinds(name: str) -> tuple[Step, ...]:
    """Return the declarations of a step, of each of its kinds."""
    declared = STEPS[name]
    return (declared,) if isinstance(declared, Step) else tuple(declared[1].values())


def curated_steps() -> tuple[str, ...]:
    """Return the steps of 'overlap curate', in their order."""
    return tuple(name for name in STEPS if list_kinds(name)[0].work)


def recorded_steps() -> tuple[str, ...]:
    """Return the steps that keep a record of their own, in their order."""
    return tuple(name for name in STEPS if list_kinds(name)[0].part_of is None)


def exported_tables() -> dict[str, str]:
    """Return what reads each table that 'overlap export' can write."""
    return {name: step.table for name in STEPS if (step := list_kinds(name)[0]).table} | _TABLES


def list_needed(config: "Config", name: str) -> tuple[str, ...]:
    """Return a step and those that it needs, parts of steps too, in their order."""
    needed = {name}
    for each in reversed([*STEPS]):
        if each in needed:
            needed |= {*find_step(config, each).needs}
    return tuple(each for each in STEPS if each in needed)


Part = TypeVar("Part", bound="Section")


def declared_part(section: Part, step: Step, *, name: str, device: str | None = None) -> Part:
    """Return a section of the config with nothing but what the step declares: to read another setting fails at once.

    Args:
        name: the section's name.
        device: what its device is, where the step's result depends on that.
    """
    known = {key.partition(".")[2] for key in (*_own(step, paths=True), *step.uses) if key.startswith(f"{name}.")}
    return _keep(section.model_copy(update={} if device is None else {"device": device}), known)


def declared_config(config: "Config", name: str) -> "Config":
    """Return a config with nothing but what a step and those that it needs declare: other settings can't be read."""
    steps = [find_step(config, each) for each in list_needed(config, name)]
    keys = {key for step in steps for key in (*step.reads, *step.picks, *step.uses, step.device) if key}
    keys |= {*_PLACES, *_KINDS, *(f"run.{key}" for key in type(config.run).model_fields if f"run.{key}" not in _LIMITS)}
    pruned = {}
    for name in type(config).model_fields.keys() - keys:
        known = {key.partition(".")[2] for key in keys if key.startswith(f"{name}.")}
        pruned[name] = _keep(getattr(config, name).model_copy(), known)
    return config.model_copy(update=pruned)


def _keep(section: Part, keys: Iterable[str]) -> Part:
    for key in type(section).model_fields.keys() - set(keys):
        section.__dict__.pop(key, None)
    return section


def name_part(config: "Config", name: str, devices: Mapping[str, str], *more: object) -> str:
    """Return the fingerprint of a part of a step's result: of all that its bytes depend on.

    Args:
        devices: by setting, what a device is that the config leaves to the machine.
        more: what else they depend on: photos, files by their SHA-256, parts of other steps.
    """
    from overlap.base.config import fingerprint

    step = find_step(config, name)
    return fingerprint(name, step.version, _values(config, _own(step), devices), *more)


def settings_of(config: "Config", name: str, devices: Mapping[str, str]) -> str:
    """Return the fingerprint of all settings that a step's result depends on, those of the steps it needs too."""
    from overlap.base.config import fingerprint

    step = find_step(config, name)
    values = _values(config, (*_own(step, paths=True), *step.picks), devices)
    return fingerprint(name, step.version, values, [settings_of(config, need, devices) for need in step.needs])


def devices_of(config: "Config", name: str) -> Iterator[str]:
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


def _values(config: "Config", keys: tuple[str, ...], devices: Mapping[str, str]) -> dict[str, Any]:
    values = {key: attrgetter(key)(config) for key in keys}
    for key in values.keys() & devices.keys():
        values[key] = devices[key] if values[key] == "auto" else values[key]
    if "policy.name" in values:
        from overlap.decisions.policy import load_policy

        values["policy.name"] = load_policy(config.policy.name)
    return values
