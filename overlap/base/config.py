"""One frozen Config, read from a TOML file and overridden by ``--set key=VALUE``.

Sections carry the names of the folders they configure. Unknown keys are errors. Relative paths are taken from the
config file's folder, in the file and in ``--set`` alike.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from overlap.base.errors import ConfigError
from overlap.base.texts import parse_toml, read_toml


def _from_config_folder(path: Path, info: ValidationInfo) -> Path:
    if "\0" in str(path):
        raise ValueError("no path holds the character NUL")
    base = (info.context or {}).get("base", Path())
    return Path(os.path.normpath(Path(base) / path))


def _unquoted(value: object) -> object:
    """Take TOML's own date as the text it was."""
    return value.isoformat() if isinstance(value, date) else value


def _calendar_day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day of the calendar; a date like 2026-02-28 is expected") from None
    return text


def _printable(text: str) -> str:
    if not any(map(str.isalnum, text)) or _CONTROL(text):
        raise ValueError(f"{text!r} is expected to be a line of text with letters; leave it out to give none")
    return text


def _web_address(text: str) -> str:
    try:
        HttpUrl(text)
    except ValueError:
        text = ""
    if not _WEB_ADDRESS(text) or any(map(str.isspace, text)):
        raise ValueError("an address that begins with https:// or http:// and holds no blank is expected")
    return text


_WEB_ADDRESS = re.compile("https?://[^/]", re.IGNORECASE).match
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]").search

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
FilePath = Annotated[Path, AfterValidator(_from_config_folder), Field(strict=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


# What Table 2 counts beside evaluation sets.
_ROWS = frozenset({"TEXT", "CLOSURE", "AUDIT", "TOTAL"})


class Section(BaseModel):
    """Refuse unknown keys and changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


SomeSection = TypeVar("SomeSection", bound=Section)


class TrainConfig(Section):
    """Where the training set lies and how it is laid out.

    ``table`` is for ``csv`` alone: the table's path below ``root``. ``stamp`` says what tells a changed photo from an
    unchanged one: its size and modification time, or the SHA-256 of its bytes (slow, and sure).
    """

    format: Literal["gldv2", "sfm120k", "nc_clean", "synthetic", "csv"]
    root: FilePath
    table: str = "images.csv"
    stamp: Literal["mtime", "sha256"] = "mtime"


class EvaluationConfig(Section):
    """Where an evaluation set lies; ``name`` is its id in every table and names its ground truth, ``gnd_NAME.pkl``."""

    format: Literal["revisited", "synthetic", "csv"]
    name: Name
    root: FilePath
    table: str = "images.csv"
    stamp: Literal["mtime", "sha256"] = "mtime"


class SyntheticConfig(Section):
    """The synthetic world that ``format = "synthetic"`` renders when it is not there yet.

    ``far_ids`` landmarks are further ids of buildings that are asked for, whose photos show the inside only.
    """

    seed: int = 7
    landmarks: Annotated[int, Field(ge=10)] = 40
    photos_per_landmark: Annotated[int, Field(ge=2)] = 8
    size_px: Annotated[int, Field(ge=96)] = 480
    far_ids: Annotated[int, Field(ge=0)] = 0


class DescriptorsConfig(Section):
    """How a photo becomes one vector. ``path`` is the .pt2 file (exported) or the checkpoint (network).

    ``compile`` lets torch.compile translate the network first, which takes minutes and pays for large sets on a GPU.
    """

    kind: Literal["vlad", "exported", "network"] = "vlad"
    path: FilePath | None = None
    network: str = "gem_resnet50"
    size_px: Count = 640
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, strict=False)] = (1.0,)
    batch: Count = 16
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    vocabulary: Count = 64
    dimensions: Count = 512
    seed: int = 0

    @model_validator(mode="after")
    def _needs_path(self) -> "DescriptorsConfig":
        if self.kind != "vlad" and self.path is None:
            raise ValueError(f'kind = "{self.kind}" needs descriptors.path, the file that holds the network')
        return self


class SearchConfig(Section):
    """How many photos each probe gets.

    ``probes``: the queries, cut to their boxes, as in the paper; or also whole queries and database photos. Photos
    whose perceptual hash differs from a query's, or such a probe's, in at most ``copies`` of 64 bits are candidates
    too; 0 turns this off. The device changes how long exact search takes, not what it finds.
    """

    k: Count = 200
    index: Literal["exact", "hnsw", "ivfpq"] = "exact"
    probes: Literal["queries", "all"] = "queries"
    copies: Annotated[int, Field(ge=0, le=32)] = 10
    device: Literal["auto", "cpu", "cuda"] = "auto"


class VerifyConfig(Section):
    """How a candidate is verified. Without ``threshold`` the preset of the kind of features is used."""

    features: Literal["sift", "aliked", "disk", "keynet"] = "sift"
    weights: FilePath | None = None
    matcher: Literal["mutual", "lightglue"] = "mutual"
    matcher_weights: FilePath | None = None
    threshold: Fraction | None = None
    size_px: Count | None = None
    keypoints: Count | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0


class NamesConfig(Section):
    """Words that make a landmark's name a text candidate."""

    words: Annotated[tuple[str, ...], Field(strict=False)] = ("Oxford", "Paris")


class ReviewConfig(Section):
    """How people review.

    ``database`` is a SQLAlchemy URL, by default SQLite in the store. People are asked about pairs from ``threshold``
    on, by default a preset below verify.threshold: a policy without people believes only what reaches the latter,
    doubtful pairs are for people. ``reviewers`` judge an item at most; ``figures``: when no further vote can change
    what is removed, they go on until none can change either which queries show a removed landmark. ``shared_share`` of
    the groups goes to all of them whatever is decided already; ``gold_share`` of what a reviewer sees has a known
    answer. The addresses of ``proxies`` are those whose word counts on whom they pass on.
    """

    database: str | None = None
    threshold: Fraction | None = None
    reviewers: Count = 3
    figures: bool = True
    seed: int = 0
    shared_share: Fraction = 0.1
    gold_share: Fraction = 0.05
    lease_minutes: Count = 30
    address: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8501
    proxies: Annotated[tuple[str, ...], Field(strict=False)] = ()


class ClosureConfig(Section):
    """How photos of confirmed landmarks bring up further landmark ids.

    Each such photo gets the ``k`` most similar photos of other landmarks. A link between two landmarks needs verified
    pairs of ``links`` different photos on each side, or of all photos of a side that has fewer. A name may stand inside
    another when it has at least ``words`` words.
    """

    k: Count = 50
    links: Count = 2
    words: Count = 2


class AuditConfig(Section):
    """How many kept landmarks the audit puts beside the evaluation sets.

    The ``whole`` landmarks with the best scores are all judged; of the other ones that search brought up ``below`` are
    drawn, of those that it never did ``random``. ``checks`` known overlapping landmarks are shown among them.
    ``elsewhere`` is a CSV with a column landmark_id: landmarks known to be in no evaluation set.
    """

    whole: Annotated[int, Field(ge=0)] = 300
    below: Annotated[int, Field(ge=0)] = 500
    random: Annotated[int, Field(ge=0)] = 1000
    checks: Annotated[int, Field(ge=0)] = 100
    elsewhere: FilePath | None = None
    seed: int = 0


class PolicyConfig(Section):
    """The removal policy: a shipped name, or the path of a TOML file."""

    name: str = "paper"


class ReleaseConfig(Section):
    """What ``overlap publish`` writes: folder ``out/name-version``.

    ``licence`` (an SPDX id), ``authors``, ``url`` and ``date`` (of the calendar) go into the metadata as they are;
    without ``licence`` that of the training set's lists is named where it is known. ``pairs_per_landmark`` bounds the
    evidence's pictures.
    """

    name: Name | None = None
    version: Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}$")] = "1.0.0"
    out: FilePath = Path("data_manifests")
    licence: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$", max_length=100)] | None = None
    authors: Annotated[tuple[Annotated[str, AfterValidator(_printable)], ...], Field(strict=False)] = ()
    url: Annotated[str, AfterValidator(_web_address)] | None = None
    date: (
        Annotated[
            str,
            BeforeValidator(_unquoted),
            Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
            AfterValidator(_calendar_day),
        ]
        | None
    ) = None
    pairs_per_landmark: Count = 4


class NetworkConfig(Section):
    """Which network is trained. A table named after its method holds that method's settings, as ``[network.cider]``.

    ``weights`` is what training starts from: published weights of the backbone, or a checkpoint of 'overlap train' or
    'overlap convert' or any weights of the same network; without it, random weights.
    """

    name: str = "cider_resnet101"
    dimensions: Count | None = None
    weights: FilePath | None = None
    gem: dict[str, Any] = {}
    cider: dict[str, Any] = {}
    yokoo: dict[str, Any] = {}
    solar: dict[str, Any] = {}
    glam: dict[str, Any] = {}
    dolg: dict[str, Any] = {}
    token: dict[str, Any] = {}


class TrainingConfig(Section):
    """How a network is trained.

    Steps are steps of the optimiser, each over ``accumulate`` batches, so that networks and versions of the training
    set get equal work. ``size_px`` is the side of a square photo; ``groups = "aspect"`` gives photos of similar shape
    batches of their own. ``trunk_rate`` multiplies the backbone's learning rate; ``norms = "freeze"`` keeps its batch
    normalisation as it came. ``stages = "two"`` trains the backbone alone for the ``first_stage`` share of the steps,
    then freezes it and trains the rest. ``classifier`` is that of the checkpoint that training starts from, where it
    has one, or a new one: for other landmarks. ``crop``, ``brightness`` and ``contrast`` are the largest relative
    changes. ``validation_landmarks`` of the training set hold out two photos each. Photos are kept decoded on disk
    where all of them fit ``cache_gb``.
    """

    steps: Count = 5000
    batch: Annotated[int, Field(ge=2)] = 32
    accumulate: Count = 1
    size_px: Annotated[int, Field(ge=64)] = 512
    groups: Literal["aspect", "square"] = "aspect"
    optimiser: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    final_learning_rate: Annotated[float, Field(ge=0)] = 3e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    trunk_rate: Annotated[float, Field(ge=0)] = 1.0
    norms: Literal["train", "freeze"] = "train"
    margin_rad: Annotated[float, Field(ge=0, lt=1.5)] = 0.3
    scale: Annotated[float, Field(gt=0)] = 30.0
    stages: Literal["one", "two"] = "one"
    first_stage: Annotated[float, Field(gt=0, lt=1)] = 0.5
    classifier: Literal["keep", "new"] = "keep"
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.2
    brightness: Fraction = 0.1
    contrast: Fraction = 0.1
    flip: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    validation_landmarks: Annotated[int, Field(ge=0)] = 50
    validate_every: Count = 1000
    log_every: Count = 50
    checkpoint_every: Count = 500
    cache_gb: Annotated[float, Field(ge=0)] = 8.0
    seed: int = 0


class ImpactConfig(Section):
    """What 'overlap impact' compares.

    Each of ``networks`` is trained as [training] says, with each of ``seeds``, on the whole training set, without the
    landmarks of ``release`` (by default the release of this config), and in ``placebos`` draws without as many others.
    ``doses`` more versions give the removed landmarks back by and by; one more leaves out the ``lookalikes`` kept
    landmarks that search ranks highest. Evaluation photos are described with a longer side of ``size_px`` at each of
    ``scales``. The effect is measured under ``protocol``. ``pictures`` queries are shown. Results go to ``out``, by
    default the folder impact of the store.
    """

    networks: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = ("cider_resnet101", "gem_resnet101")
    seeds: Annotated[tuple[int, ...], Field(min_length=1, strict=False)] = (0,)
    placebos: Annotated[int, Field(ge=0)] = 1
    doses: Annotated[int, Field(ge=0)] = 0
    lookalikes: Annotated[int, Field(ge=0)] = 0
    protocol: Literal["easy", "medium", "hard"] = "medium"
    size_px: Count = 1024
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, strict=False)] = (1.0,)
    pictures: Annotated[int, Field(ge=0)] = 6
    release: FilePath | None = None
    out: FilePath | None = None
    seed: int = 0


class RunConfig(Section):
    """How the work is cut and guarded; none of it changes a result.

    ``engine`` is what the flows run shards with: processes of this machine, or Dask workers, of a cluster at
    ``dask_address`` (``tcp://host:8786``) or else of a local one with ``workers`` processes. ``mirror`` is the URL of a
    folder (``s3://bucket/prefix``, ``file:///mnt/share``) that gets every stored result too, and gives what is there
    instead of its being computed.
    """

    engine: Literal["processes", "dask"] = "processes"
    dask_address: str | None = None
    mirror: str | None = None
    workers: Annotated[int, Field(ge=0)] = 0
    photos_per_shard: Count = 1000
    pairs_per_shard: Count = 2000
    max_unreadable: Fraction = 0.05
    max_photo_mpx: Count = 120
    max_photo_mb: Count = 100


class Config(Section):
    """Everything that decides what a run does."""

    name: Name = "overlap"
    store: FilePath
    train: TrainConfig
    evaluation: Annotated[tuple[EvaluationConfig, ...], Field(min_length=1, strict=False)]
    synthetic: SyntheticConfig = SyntheticConfig()
    descriptors: DescriptorsConfig = DescriptorsConfig()
    search: SearchConfig = SearchConfig()
    verify: VerifyConfig = VerifyConfig()
    names: NamesConfig = NamesConfig()
    review: ReviewConfig = ReviewConfig()
    closure: ClosureConfig = ClosureConfig()
    audit: AuditConfig = AuditConfig()
    policy: PolicyConfig = PolicyConfig()
    release: ReleaseConfig = Field(default_factory=cast(Any, dict))  # read as if given: its path is relative too
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    impact: ImpactConfig = ImpactConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _names_differ(self) -> "Config":
        names = [evaluation.name for evaluation in self.evaluation]
        if len(set(names)) != len(names):
            raise ValueError(f"two evaluation sets have the same name: {', '.join(names)}")
        if self.train.format in names:
            raise ValueError(f"an evaluation set can't be named {self.train.format!r}, as the training set's format is")
        if taken := _ROWS.intersection(names):
            raise ValueError(f"an evaluation set can't be named {min(taken)!r}, as a row of the release's Table 2 is")
        return self


def load_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML config and apply ``key=VALUE`` overrides, VALUE a TOML literal (a bare word is taken as text).

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value has the wrong type; the message
            names the file and the key.
    """
    try:
        values = read_toml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file; flows/configs/ holds examples") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable TOML file: {error}") from None
    for override in overrides:
        _override(values, override)
    return check_values(Config, values, name=str(path), base=path.absolute().parent)


def check_values(
    kind: type[SomeSection], values: Mapping[str, Any], *, name: str, base: Path | None = None
) -> SomeSection:
    """Build settings from values.

    Args:
        name: of where they come from, for the message.
        base: the folder from which relative paths go; by default the working folder.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range.
    """
    try:
        return kind.model_validate(values, context=None if base is None else {"base": base})
    except ValidationError as error:
        raise ConfigError(f"{name}: " + "; ".join(map(_explain, _causes(error)))) from None


def fingerprint(*parts: object) -> str:
    """Return the SHA-256 over the parts' canonical JSON; sections count by their values."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_jsonable)
    return hashlib.sha256(text.encode()).hexdigest()


def _jsonable(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} can't enter a fingerprint")


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r}: expected key=VALUE, for example --set search.k=100")
    *parents, last = key.strip().split(".")
    place: Any = values
    for name in parents:
        place = _enter(place, name, override)
    if isinstance(place, list):
        place[_position(place, last, override)] = _literal(text)
    else:
        place[last] = _literal(text)


def _enter(place: Any, name: str, override: str) -> Any:
    inner = place[_position(place, name, override)] if isinstance(place, list) else place.setdefault(name, {})
    if not isinstance(inner, dict | list):
        raise ConfigError(f"--set {override!r}: {name!r} is a value, not a section")
    return inner


def _position(place: list[Any], name: str, override: str) -> int:
    if not name.isdecimal() or int(name) >= len(place):
        raise ConfigError(f"--set {override!r}: {name!r} must be a number below {len(place)}")
    return int(name)


def _literal(text: str) -> Any:
    try:
        parsed = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


_ADVICE: Mapping[str, str] = MappingProxyType({"extra_forbidden": "unknown key", "missing": "required key is missing"})


def _causes(error: ValidationError) -> list[Mapping[str, Any]]:
    """Leave out that a list is too short where it is so only because its entries are wrong."""
    found: list[Mapping[str, Any]] = [*error.errors()]
    inner = {each["loc"][:size] for each in found for size in range(len(each["loc"]))}
    return [each for each in found if each["type"] != "too_short" or each["loc"] not in inner]


def _explain(error: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "config"
    found = "" if error["type"] in ("missing", "value_error") else f" (found {error['input']!r})"
    return f"{key}: {_ADVICE.get(error['type'], error['msg'].removeprefix('Value error, '))}{found}"
