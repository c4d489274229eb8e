"""Whether a server can answer at an address is known, and said in a sentence, before it starts."""

import errno
import socket

import pytest

from overlap.base.errors import ConfigError
from overlap.base.ports import require_free, show_address


@pytest.mark.parametrize(
    ("taken", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("::1", "::1"),
        ("::", "::1"),
    ],
)
def test_a_port_that_is_taken_is_refused_and_free_again_is_taken(taken, asked):
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    try:
        other = socket.create_server((taken, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = other.getsockname()[1]
    with other:
        message = rf"^review\.port: no server can be started at {shown(asked)}:{port}: another program answers there"
        with pytest.raises(ConfigError, match=message):
            require_free(asked, port, setting="review.port")
    require_free(asked, port, setting="review.port")


def shown(host):
    return rf"\[{host}\]" if ":" in host else host


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("203.0.113.7", "this machine has no such address; 127.0.0.1 serves it alone, 0.0.0.0 the network"),
        ("no..name", "give an address of this machine"),
        ("a\0b", "give an address of this machine"),
        ("not-there.invalid", "give an address of this machine"),
    ],
)
def test_an_address_of_another_machine_is_refused(host, message):
    with pytest.raises(ConfigError, match=message):
        require_free(host, 8501, setting="review.address")


def test_a_port_for_the_administrator_is_refused(monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigError, match="ports below 1024 are for the administrator; choose a higher one"):
        require_free("127.0.0.1", 80, setting="review.port")


def test_an_address_is_shown_as_a_browser_takes_it():
    assert show_address("::1", 80) == "[::1]:80"
    assert show_address("127.0.0.1", 80) == "127.0.0.1:80"
