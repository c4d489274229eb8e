"""Pages that open offline: names are always text, and the page itself forbids what is not pinned by its hash."""

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: 1 photo, 1,200 photos."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


@cache
def load_template(package: str, name: str, **filters: Callable[..., Any]) -> "Template":
    """Return a template of a package's folder ``templates``, with filters of its own; a missing value is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def read_shipped(package: str, name: str) -> str:
    """Return a style sheet or script of a package's folder ``templates``."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def security_policy(*, images: str, style: str, script: str = "") -> str:
    """Return a Content-Security-Policy that allows this style, this script and images of these sources only."""
    scripts = f"; script-src '{_digest(script)}'" if script else ""
    return (
        f"default-src 'none'; img-src {images}; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'{scripts}"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
