"""The error tree. A message says what was expected, what was found, where, and what to do next."""

from typing import ClassVar


class OverlapError(Exception):
    """Be the parent of every error a user can cause or mend; only the command line turns it into an exit code."""

    exit_code: ClassVar[int] = 2


class ConfigError(OverlapError):
    """The settings are wrong: fix the TOML file or the ``--set`` that is named."""


class DataError(OverlapError):
    """The input is wrong: fix the file and row that are named."""


class ArtifactError(OverlapError):
    """A stored result is missing or could not be written: run the step that is named again."""


class ReviewError(OverlapError):
    """A vote can't be recorded or read."""


class CheckError(OverlapError):
    """A check ran to its end and found a difference, for example a release that was edited."""

    exit_code: ClassVar[int] = 1
