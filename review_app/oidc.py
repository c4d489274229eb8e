"""Log-in by OpenID Connect: what the secrets must say, and whom a provider's claims name.

Streamlit talks to the provider (`st.login`); here is what it leaves to the app.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from overlap.base.errors import ConfigError, ReviewError
from overlap.base.texts import read_toml

_PLACE = ".streamlit/secrets.toml, [auth]"
_CALLBACK = "/oauth2callback"
_NEEDED = ("client_id", "client_secret", "server_metadata_url")
_LEAST_SECRET = 32
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Auth:
    """What the secrets say of log-in by OpenID Connect.

    Args:
        providers: by the words of its button, the name by which `st.login` knows a provider; None for the nameless one.
        origin: the app's own address as browsers write it, without a path.
    """

    providers: Mapping[str, str | None]
    origin: str


def read_auth() -> Auth | None:
    """Return the section ``[auth]`` of Streamlit's secrets, checked; None without one.

    Raises:
        ConfigError: other people can read the file, it is no TOML, or the section lacks something.
    """
    files = [Path(path) for path in st.get_option("secrets.files") if Path(path).is_file()]
    for path in files:
        check_closed(path)
        check_toml(path)
    if not files:
        return None
    try:
        section = st.secrets.to_dict().get("auth")
    except FileNotFoundError:
        raise ConfigError(f"{' or '.join(map(str, files))} can't be read as TOML; mend it, or remove it") from None
    return None if section is None else check_auth(section)


def check_closed(path: Path) -> None:
    """Hold that a file with secrets is closed to other people.

    Raises:
        ConfigError: everybody on this machine may read it.
    """
    if path.stat().st_mode & 0o007:
        raise ConfigError(f"{path} holds secrets, and everybody on this machine can read it: chmod 600 {path}")


def check_toml(path: Path) -> None:
    """Hold that Streamlit can read a file with secrets; it says less of what is wrong.

    Raises:
        ConfigError: it can't.
    """
    try:
        read_toml(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read as TOML: {error}; mend it, or remove it") from None
    if path.read_bytes().startswith(BOM_UTF8):
        raise ConfigError(f"{path} begins with a byte-order mark, which Streamlit does not read; save it without one")


def check_auth(section: Mapping[str, Any]) -> Auth:
    """Check the section ``[auth]``, before anybody tries to log in; no message repeats a secret.

    Raises:
        ConfigError: a key is missing or can't be right.
    """
    address = urlsplit(str(section.get("redirect_uri", "")))
    if not address.netloc or address.path != _CALLBACK:
        raise ConfigError(
            f"{_PLACE}: redirect_uri must be the app's address as browsers write it, with the path {_CALLBACK}, "
            f"such as https://review.example.org{_CALLBACK}; it is {section.get('redirect_uri')!r}"
        )
    _check_scheme("redirect_uri", address.geturl())
    if len(str(section.get("cookie_secret", ""))) < _LEAST_SECRET:
        raise ConfigError(f"{_PLACE}: cookie_secret needs {_LEAST_SECRET} random characters: openssl rand -hex 32")
    named = {name: value for name, value in section.items() if isinstance(value, Mapping) and name != "client_kwargs"}
    for name, provider in named.items():
        _check_provider(f"auth.{name}", provider)
        if "_" in name:
            raise ConfigError(f".streamlit/secrets.toml: [auth.{name}] has an underscore; st.login knows no such name")
    if not named or any(key in section for key in _NEEDED):
        _check_provider("auth", section)
        named = {"": section, **named}
    words = {name.title() if name else "your organisation": name or None for name in named}
    return Auth(words, f"{address.scheme}://{address.netloc}")


def is_over(claims: Mapping[str, Any], *, now_s: float) -> bool:
    """Tell whether the provider's word has run out: Streamlit keeps it for 30 days and does not look."""
    return float(claims.get("exp") or 0) <= now_s


def email_of(claims: Mapping[str, Any]) -> str:
    """Return the e-mail address that a provider vouches for.

    Entra ID says ``xms_edov`` where others say ``email_verified``; some send the latter as text.

    Raises:
        ReviewError: there is none, or it is not verified; in words for the person who logs in.
    """
    email = str(claims.get("email") or "").strip()
    if "@" not in email:
        raise ReviewError("Your organisation did not tell your e-mail address. Its administrator can allow that.")
    word = claims.get("email_verified", claims.get("xms_edov"))
    if str(word).lower() not in ("true", "1"):
        raise ReviewError(
            f"Your organisation has not verified that {email} is your e-mail address. Its administrator can do that."
        )
    return email


def _check_provider(place: str, provider: Mapping[str, Any]) -> None:
    missing = [key for key in _NEEDED if not provider.get(key)]
    if missing:
        raise ConfigError(f".streamlit/secrets.toml: [{place}] lacks {', '.join(missing)}; the provider tells them")
    _check_scheme("server_metadata_url", str(provider["server_metadata_url"]))


def _check_scheme(key: str, address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ConfigError(f"{_PLACE}: {key} must begin with https:// unless it is on this machine; it is {address!r}")
