"""Whether a server can answer at an address, known before it starts."""

import errno
import socket

from overlap.base.errors import ConfigError

_REASONS = {
    errno.EADDRINUSE: "another program answers there already; end it, or choose another port",
    errno.EACCES: "ports below 1024 are for the administrator; choose a higher one",
    errno.EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 serves it alone, 0.0.0.0 the network",
}


def require_free(host: str, port: int, *, setting: str) -> None:
    """Require that a server can listen at an address, IPv4 or IPv6.

    Args:
        setting: what says the address, for the message.

    Raises:
        ConfigError: another program has the port, the account lacks the right, or the address is not this machine's.
    """
    try:
        for family, kind, protocol, _, address in set(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tried.bind(address)
    except (OSError, ValueError) as error:
        reason = _REASONS.get(getattr(error, "errno", None) or 0, f"{error}; give an address of this machine")
        raise ConfigError(f"{setting}: no server can be started at {show_address(host, port)}: {reason}") from None


def show_address(host: str, port: int) -> str:
    """Return an address as a browser takes it, without http://."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
