"""Finds a port of this machine's loopback that nothing listens on."""

from __future__ import annotations

import socket
from collections.abc import Callable

LOOPBACK = "127.0.0.1"
SEARCHED_PORTS = 100


class NoFreePortError(Exception):
    """Every port that was tried is taken."""


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port of the loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Ports of connections that just closed count as free, as they do for the server itself.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def first_free(preferred: int, *, free: Callable[[int], bool] = is_free) -> int:
    """Return the preferred port, or the next higher one that is free.

    Raises
    ------
    NoFreePortError
        When the preferred port and the 99 above it are all taken.
    """
    for port in range(preferred, preferred + SEARCHED_PORTS):
        if free(port):
            return port
    raise NoFreePortError(
        f"ports {preferred} to {preferred + SEARCHED_PORTS - 1} of {LOOPBACK} are all taken"
    )
