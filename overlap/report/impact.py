"""The page of an impact study: one HTML file that opens offline, with its tables and figures in it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from overlap.base.grids import Grid
from overlap.base.pages import load_template, read_shipped, security_policy
from overlap.base.sheets import replacing
from overlap.report.page import Fact


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
    style = "\n".join(read_shipped("overlap.report", name) for name in ("report.css", "impact.css"))
    template = load_template("overlap.report", "impact.html.jinja", address=_address, slug=_slug, is_words=_is_words)
    return template.render(content=content, style=style, policy=security_policy(images="data:", style=style))


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _slug(title: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split())


def _is_words(cell: str) -> bool:
    """Tell whether a cell is read as words, not as a number."""
    return bool(cell) and not (cell[0].isdigit() or cell[0] in "+-–")
