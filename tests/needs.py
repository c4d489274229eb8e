"""What a bare machine lacks: tests skip for it, and fail where OVERLAP_REQUIRE names it, as `.ci/run` does."""

import os
import shutil
from typing import NoReturn

import pytest


def lacks(name: str, reason: str) -> NoReturn:
    if name in os.environ.get("OVERLAP_REQUIRE", "").split(","):
        pytest.fail(f"OVERLAP_REQUIRE names {name}: {reason}")
    pytest.skip(reason)


def find_chromium() -> str:
    """Return the path of a Chromium, or skip."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    return path or lacks("chromium", "no Chromium on this machine: apt-get install chromium")
