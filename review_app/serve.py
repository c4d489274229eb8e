"""Start the review app: Streamlit as an ASGI application, our own routes beside it and a guard before everything."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect

from overlap.config import Config, load_config
from overlap.errors import OverlapError
from review_app.access import Guard, refuse
from review_app.api import routes
from review_app.oidc import check_closed, read_auth
from review_app.room import Room, current_room, enter, open_room

_MOST_MB = 10  # of a message to or from a page: tables are the largest
_MAIN = Path(__file__).with_name("main.py")


def build_app(config: Config) -> st.App:
    """Build the ASGI application of a config.

    Raises:
        ConfigError: a file with secrets is open to everybody, or what is said of log-in by OIDC can't be right.
    """
    room = open_room(config, read_auth())
    _check_database(room)
    enter(room)
    os.environ["STREAMLIT_SERVER_COOKIE_SECRET"] = room.key.decode()
    return st.App(
        _MAIN,
        routes=routes(),
        middleware=[Middleware(Guard, oidc=room.auth is not None)],
        exception_handlers={HTTPException: refuse, ClientDisconnect: refuse},
    )


def settings(config: Config) -> dict[str, object]:
    """Return Streamlit's settings: on this machine only, no telemetry, nothing fetched from elsewhere."""
    return {
        "server.address": config.review.address,
        "server.port": config.review.port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.enableStaticServing": False,
        "server.maxUploadSize": 1,
        "server.maxMessageSize": _MOST_MB,
        "server.maxWidgetStateSize": 1,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="overlap review")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    given = parser.parse_args(arguments)
    config = load_config(given.config, given.overrides)
    try:
        app = build_app(config)
    except OverlapError as error:
        parser.exit(2, f"error: {error}\n")
    # Whoever sends from this machine could name any address to the log-in page, so that no try would have to wait.
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(config.review.proxies)
    room = current_room()
    address = room.auth.origin if room.auth else f"http://{config.review.address}:{config.review.port}"
    print(f"the review app answers at {address}", flush=True)
    app.run(config=settings(config))


def _check_database(room: Room) -> None:
    """Hold that the key which signs sessions is not open to everybody, where the database is a file."""
    url = room.desk.board.store.engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        check_closed(Path(url.database))


if __name__ == "__main__":
    main()
