"""Start the review app: Streamlit as an ASGI application, our own routes beside it and a guard before everything."""

import argparse
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect

from overlap.base.config import Config, load_config
from overlap.base.errors import OverlapError
from overlap.base.ports import show_address
from review_app.access import Guard, refuse
from review_app.api import routes
from review_app.invitation import MINUTES
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
        lifespan=_announce,
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
        "logger.hideWelcomeMessage": True,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="overlap review")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    given = parser.parse_args(arguments)
    try:
        config = load_config(given.config, given.overrides)
        app = build_app(config)
    except OverlapError as error:
        parser.exit(2, f"error: {error}\n")
    # Whoever sends from this machine could name any address to the log-in page, so that no try would have to wait.
    os.environ["FORWARDED_ALLOW_IPS"] = ",".join(config.review.proxies)
    app.run(config=settings(config))


@asynccontextmanager
async def _announce(_: st.App) -> AsyncIterator[None]:
    """Say where the app answers once it does, and last how the person who started it gets in."""
    room = current_room()
    address = f"http://{show_address(room.config.review.address, room.config.review.port)}"
    print(f"the review app answers at {room.auth.origin if room.auth else address}", flush=True)
    if room.invitation is not None:
        print(
            "reviewers log in with the token that 'overlap reviewers add NAME' prints\n\n"
            f"this link lets you in as {room.invitation.name}, once and within {MINUTES} minutes:\n"
            f"  {address}/enter?key={room.invitation.key}",
            flush=True,
        )
    yield


def _check_database(room: Room) -> None:
    """Hold that the key which signs sessions is not open to everybody, where the database is a file."""
    url = room.desk.board.store.engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        check_closed(Path(url.database))


if __name__ == "__main__":
    main()
