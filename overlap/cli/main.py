"""The command line: ``overlap ...``. Only here do errors become exit codes: 1 a check failed, 2 the input is wrong."""

import errno
import os
import sys
from io import TextIOWrapper
from typing import TextIO

import typer

from overlap.base.errors import OverlapError
from overlap.cli import audit, curation, impact, release, review, training

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

app = typer.Typer(
    help="Find the landmarks that a training set shares with an evaluation set, have people review them, and "
    "publish the training set without them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help, in half the time
    pretty_exceptions_enable=False,
)
for part in (curation, review, audit, release, training, impact):
    app.add_typer(part.app)


def main() -> None:
    """Run the command line and turn errors into one-line messages and exit codes."""
    if sys.getfilesystemencoding() != "utf-8":
        _start_in_utf8()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the encoding lacks is shown as \\u0141, and ends nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OverlapError as error:
        _tell(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell("interrupted; the same command goes on where this one was")
        sys.exit(130)
    except BrokenPipeError:
        _drop(sys.stdout)
        sys.exit(141)
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        _drop(sys.stdout)
        _tell(f"error: the output can't be written: {error.strerror}; give it another place")
        sys.exit(2)


def _start_in_utf8() -> None:
    """Become the same command with file names in UTF-8, whatever the locale: Arrow opens no others."""
    shown = sys.stdout.encoding if sys.stdout else "utf-8"
    where = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": f"{shown}:backslashreplace"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], where)  # noqa: S606


def _tell(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere, or Python fails once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
