"""The page of an impact study: one HTML file that opens offline, with its tables and figures in it."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from overlap.report.page import Fact
from overlap.report.tables import Grid
from overlap.sheets import replacing

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Figure:
    """Hold a figure: a PNG, and what it shows in words."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Part:
    """Hold one part of the page, with what it is about in a sentence or two."""

    title: str
    text: str
    grids: tuple[Grid, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class ImpactContent:
    """Hold everything the page shows.

    Args:
        title: the run's name.
        headline: the finding, in a sentence.
        figures: the few numbers that matter most, by what they are.
        cautions: what the numbers don't show.
        parts: tables and figures with their titles.
        facts: what ran on what.
        settings: the config as text, shown as it is.
    """

    title: str
    headline: str
    figures: Mapping[str, str]
    cautions: tuple[str, ...]
    parts: tuple[Part, ...]
    facts: tuple[Fact, ...] = ()
    settings: str = field(default="", repr=False)


def write_page(path: Path, content: ImpactContent) -> Path:
    """Write the page, whole or not at all, and return its path.

    Raises:
        ArtifactError: it can't be written.
    """
    with replacing(path) as file:
        file.write(render_page(content).encode("utf-8", "backslashreplace"))
    return path


def render_page(content: ImpactContent) -> str:
    """Render the page as text; the same content gives the same page, and every name in it is escaped."""
    style = "\n".join(_shipped(name) for name in ("report.css", "impact.css"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest}'"
    return _template().render(content=content, style=style, policy=policy)


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _slug(title: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split())


def _is_wordy(cell: str) -> bool:
    """Tell whether a cell is read as words, not as a number."""
    return bool(cell) and not (cell[0].isdigit() or cell[0] in "+-–")


def _shipped(name: str) -> str:
    return resources.files("overlap.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("overlap.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"address": _address, "slug": _slug}
    environment.tests["wordy"] = _is_wordy
    return environment.get_template("impact.html.jinja")
