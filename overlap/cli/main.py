"""The command line: ``overlap ...``. Only here do errors become exit codes: 1 a check failed, 2 the input is wrong."""

import os
import sys

import typer

from overlap.cli import audit, curation, impact, release, review, training
from overlap.errors import OverlapError

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
    try:
        app()
    except OverlapError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one was", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
