"""The texts that go with a release: dataset card, datasheet, citation. They say what the run recorded, and no more."""

import json
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from overlap.release.columnar import parquet_name
from overlap.release.upstreams import find_upstream

if TYPE_CHECKING:
    from jinja2 import Environment

DOCUMENTS: Mapping[str, str] = MappingProxyType(
    {"README.md": "card.md.jinja", "DATASHEET.md": "datasheet.md.jinja", "CITATION.cff": "citation.cff.jinja"}
)

_NOT_RECORDED: Mapping[str, Any] = MappingProxyType(
    {
        "authors": (),
        "url": None,
        "date": None,
        "made_with": "a version that is not recorded",
        **dict.fromkeys(("items", "review", "votes", "reviewers"), "not recorded"),
    }
)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"


def render_documents(said: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the documents by file name.

    Args:
        said: what release.json says; what it lacks is said to be not recorded.
    """
    figures: Mapping[str, Any] = next((each for each in said["files"].values() if each["counted"]), {})
    upstream = find_upstream(said.get("training_format", ""))
    facts = {
        "said": {**_NOT_RECORDED, **said},
        "upstream": upstream,
        "title": upstream.title[0].upper() + upstream.title[1:],
        "licence": said.get("licence") or upstream.licence,
        "figures": figures,
        "source": next(iter(said["files"])),
        "tables": {name.removesuffix(".csv"): parquet_name(name) for name in said["files"]},
        "size": next((words for limit, words in _SIZES if figures.get("images_out", 0) < limit), _LARGEST),
        "removed": said["removals"],
        "policy": said.get("policy") or {},
        "evaluation_sets": said.get("evaluation_sets") or {},
        "states": said.get("item_states") or {},
    }
    return {name: _environment().get_template(file).render(facts).encode() for name, file in DOCUMENTS.items()}


def _quoted(text: object) -> str:
    """Return a value as JSON, which YAML reads alike: no name can break out of its place."""
    return json.dumps(text, ensure_ascii=False)


def _plain(text: object) -> str:
    """Return text for Markdown in which nothing is markup."""
    words = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in r"\`*_[]#|" else letter for letter in words)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else what + 's'}"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("overlap.release"),
        autoescape=False,  # noqa: S701 (Markdown and YAML, each with its own filter)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quoted": _quoted, "plain": _plain, "counted": _counted}
    return environment
