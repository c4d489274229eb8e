"""The one-time link: whoever starts the app on this machine gets in without a token, once and soon.

Its key is kept in the server's memory alone, and printed to whoever started it; no log names it.
"""

import getpass
import ipaddress
import secrets
import time
from dataclasses import dataclass, field

from overlap.base.config import Config
from overlap.review.reviewers import list_reviewers
from overlap.review.store import ReviewStore

MINUTES = 10


@dataclass
class Invitation:
    """Let one person in, under the name of this machine's user."""

    name: str
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    ends_at: float = field(default_factory=lambda: time.monotonic() + 60 * MINUTES)

    def use(self, key: str) -> bool:
        """Tell whether this key opens; it does once."""
        opens = secrets.compare_digest(key.encode(), self.key.encode()) and time.monotonic() < self.ends_at
        if opens:
            self.ends_at = 0.0
        return opens


def invite(config: Config, store: ReviewStore) -> Invitation | None:
    """Return the invitation of who starts the app; None where other machines reach it, or for a revoked reviewer."""
    name = _user()
    revoked = {row["name"] for row in list_reviewers(store).to_pylist() if row["revoked"]}
    return Invitation(name) if is_loopback(config.review.address) and name not in revoked else None


def is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "local"
