"""Find the landmarks that a training set shares with an evaluation set; docs/python.md shows every function.

What is named here is the public API; it is loaded at its first use, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING

from overlap.base.errors import ArtifactError, CheckError, ConfigError, DataError, OverlapError, ReviewError

__all__ = [
    "ArtifactError",
    "CheckError",
    "ConfigError",
    "DataError",
    "OverlapError",
    "PairMatch",
    "ProtocolScore",
    "ReviewError",
    "__version__",
    "apply_removals",
    "describe",
    "evaluate_rankings",
    "find_overlap",
    "verify_pair",
    "verify_release",
]

if TYPE_CHECKING:
    from overlap.api import (
        PairMatch,
        ProtocolScore,
        apply_removals,
        describe,
        evaluate_rankings,
        find_overlap,
        verify_pair,
        verify_release,
    )

    __version__: str
else:  # a type checker that saw this would take every name for one of the package

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("landmark-overlap")
        if name in __all__:
            from overlap import api

            return getattr(api, name)
        raise AttributeError(f"module 'overlap' has no attribute {name!r}; there are {', '.join(__all__)}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
