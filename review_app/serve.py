"""Start the review app: Streamlit as an ASGI application, our own routes beside it and a guard before everything."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from overlap.config import Config, load_config
from review_app.access import Guard
from review_app.api import routes
from review_app.room import enter, open_room

_MAIN = Path(__file__).with_name("main.py")


def build_app(config: Config) -> st.App:
    """Build the ASGI application of a config."""
    room = open_room(config)
    enter(room)
    os.environ["STREAMLIT_SERVER_COOKIE_SECRET"] = room.key.decode()
    return st.App(_MAIN, routes=routes(), middleware=[Middleware(Guard, oidc=has_oidc())])


def has_oidc() -> bool:
    """Tell whether `.streamlit/secrets.toml` configures a provider for `st.login`."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def settings(config: Config) -> dict[str, object]:
    """Return Streamlit's settings: on this machine only, no telemetry, nothing fetched from elsewhere."""
    return {
        "server.address": config.review.address,
        "server.port": config.review.port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.enableStaticServing": False,
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
    app = build_app(config)
    print(f"the review app answers at http://{config.review.address}:{config.review.port}", flush=True)
    app.run(config=settings(config))


if __name__ == "__main__":
    main()
