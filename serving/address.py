"""Where the service listens: asked for before anything slow is loaded, so that a port in use is said at once."""

from __future__ import annotations

import socket


class PortError(OSError):
    """The address cannot be had."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the address.

    Raises:
        PortError: somebody else has it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise PortError(f"{host}:{port}: {error.strerror}; stop what has it, or take another with --port") from error
    return found
