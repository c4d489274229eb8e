"""One static page over a release's evidence: it opens offline, asks for nothing, and takes every name for text.

Pictures are files of the release beside it, with the inliers drawn over them. Evaluation photos may not be handed on:
they are drawn as a sketch of their inliers, under which who has the set can lay the photos, from a folder of their own
that never leaves the browser.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from overlap.base.pages import load_template, read_shipped, security_policy
from overlap.base.tables import ANSWERS
from overlap.evidence.compare import pairs_file

_PACKAGE = "overlap.evidence"
_POINTS = 60
_TURN = 300.0


def render_page(about: Mapping[str, Any], landmarks: Sequence[Mapping[str, Any]]) -> str:
    """Return the page.

    Args:
        about: title, and what the evidence was made with.
        landmarks: what the landmarks' own files hold, removed ones first.
    """
    style, script = read_shipped(_PACKAGE, "evidence.css"), read_shipped(_PACKAGE, "evidence.js")
    template = load_template(
        _PACKAGE,
        "evidence.html.jinja",
        points=place_points,
        answers=say_answers,
        address=safe_address,
        sentence=make_sentence,
        pairs_file=pairs_file,
    )
    page = template.render(
        about=about,
        removed=[landmark for landmark in landmarks if landmark["removed"]],
        kept=[landmark for landmark in landmarks if not landmark["removed"]],
        names={landmark["landmark_id"]: landmark["name"] for landmark in landmarks},
        style=style,
        script=script,
        security=security_policy(images="'self' file: blob:", style=style, script=script),
    )
    return page.lstrip()


def place_points(inliers: Sequence[Sequence[float]]) -> list[tuple[list[float], str]]:
    """Return up to 60 inliers, spread evenly over the query from left to right, each with its colour."""
    ordered = sorted(map(list, inliers))
    step = max(1, -(-len(ordered) // _POINTS))
    shown = ordered[::step]
    return [(point, f"hsl({_TURN * place / max(len(shown) - 1, 1):.0f} 90% 55%)") for place, point in enumerate(shown)]


def say_answers(answers: Mapping[str, int]) -> str:
    """Return the answers in words, in the order of ANSWERS."""
    return ", ".join(f"{answers[name]} {name.replace('_', ' ')}" for name in ANSWERS if answers.get(name))


def make_sentence(words: str) -> str:
    """Return words with a capital in front and a full stop behind."""
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def safe_address(address: str) -> str:
    """Return the address of a web page, or nothing for anything else: no script hides behind a link."""
    return address if address.startswith(("https://", "http://")) else ""
