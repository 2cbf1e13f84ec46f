"""Where FlowStack connects to when a customer names the host: the public Internet, over TLS.

A host that customers may choose could be one that only FlowStack can reach: the metadata service,
a database beside it, the function itself. Two checks keep that out, and both are needed.

- `parse_destination` reads a URL: its scheme, port and host, in their one usual notation.
- `public_addresses` resolves the host, once, and looks at **every** address it has. The connection
  is then made to one of these addresses and never by name: a name that is resolved again may
  resolve to something else.

Nothing here knows of providers or opens a connection; `egress_transport` does.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"https": 443, "http": 80}
_FIRST_UNPRIVILEGED_PORT = 1024
_LAST_PORT = 65_535
_LONGEST_URL = 2_048
_LONGEST_NAME = 253
_LOOPBACK_NAME = "localhost"

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# As the URL standard has it: what ends in a number is an IPv4 address, in whatever notation.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES = (
    *("localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home"),
    *("lan", "arpa", "onion", "invalid", "test"),
)

_NOT_PUBLIC_V4 = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and metadata services of some clouds
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata service
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # the host agent of one cloud, which is no public service
    )
)
_GLOBAL_V6 = ip_network("2000::/3")
"""All that is routed. What embeds an IPv4 address elsewhere (mapped, NAT64) is outside of it."""
_NOT_PUBLIC_V6 = tuple(
    ip_network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: embeds an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

Resolver = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name; raises `OSError` where there are none."""


class EgressRefusedError(Exception):
    """FlowStack does not connect there; the message says why, without naming an address."""


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What is allowed beyond the public Internet over TLS.

    Attributes
    ----------
    loopback
        Whether this machine is, also without TLS. For local stages, whose models run beside them.
    """

    loopback: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a URL leads: its host in lower case, without brackets."""

    scheme: str
    host: str
    port: int


def parse_destination(url: str, policy: EgressPolicy) -> Destination:
    """Read a URL as far as it says where to connect to.

    Raises
    ------
    EgressRefusedError
        It is none, or leads where FlowStack does not go, whatever the host resolves to.
    """
    # urlsplit silently drops tabs and line breaks, and other readers take `\\` for `/`.
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise EgressRefusedError("it holds characters that an address cannot have")
    if len(url) > _LONGEST_URL:
        raise EgressRefusedError("it is too long")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise EgressRefusedError("it is not a URL") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise EgressRefusedError("it must begin with https://")
    if "@" in parts.netloc:
        raise EgressRefusedError("it must not hold a user name or a password")
    # `port` is None too where a colon has nothing behind it.
    destination = Destination(
        parts.scheme, host, _DEFAULT_PORTS[parts.scheme] if port is None else port
    )
    check_destination(destination, policy)
    return destination


def check_destination(destination: Destination, policy: EgressPolicy) -> None:
    """Refuse what does not depend on the addresses of the host.

    Raises
    ------
    EgressRefusedError
        Scheme, port or host are none that FlowStack connects to.
    """
    if destination.scheme != "https" and not (policy.loopback and _is_loopback(destination.host)):
        raise EgressRefusedError("it must begin with https://")
    usual = destination.port == _DEFAULT_PORTS.get(destination.scheme)
    if not usual and not _FIRST_UNPRIVILEGED_PORT <= destination.port <= _LAST_PORT:
        raise EgressRefusedError("its port must be 443, or 1024 or higher")
    address = _literal(destination.host)
    if address is not None:
        check_address(address, policy)
        return
    _check_name(destination.host, policy)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is, if it is written as addresses usually are."""
    if "%" in host:
        raise EgressRefusedError("its host must not have a zone")
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    return host == _LOOPBACK_NAME if address is None else address.is_loopback


def _check_name(name: str, policy: EgressPolicy) -> None:
    if policy.loopback and name == _LOOPBACK_NAME:
        return
    labels = name.split(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressRefusedError("its host is not a name of the Internet")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        raise EgressRefusedError("its host is an address in an unusual notation")
    if len(labels) == 1 or labels[-1] in _LOCAL_NAMES:
        raise EgressRefusedError("its host is not on the public Internet")


def check_address(address: IPv4Address | IPv6Address, policy: EgressPolicy) -> None:
    """Refuse an address that is not on the public Internet.

    Raises
    ------
    EgressRefusedError
        It is private, loopback, link-local, multicast, reserved, or embeds another address.
    """
    if policy.loopback and address.is_loopback:
        return
    if isinstance(address, IPv4Address):
        public = not any(address in block for block in _NOT_PUBLIC_V4)
    else:
        public = address in _GLOBAL_V6 and not any(address in block for block in _NOT_PUBLIC_V6)
    if not public:
        raise EgressRefusedError("its host is not on the public Internet")


def public_addresses(host: str, port: int, policy: EgressPolicy, resolve: Resolver) -> list[str]:
    """Resolve a host, once, and return its addresses.

    One bad address refuses them all: a name with public and private addresses is no accident.

    Raises
    ------
    EgressRefusedError
        An address is not on the public Internet.
    OSError
        The host has no address.
    """
    literal = _literal(host)
    found = [str(literal)] if literal is not None else list(resolve(host, port))
    if not found:
        raise OSError("the host has no address")
    for text in found:
        # A scope is never part of a public address.
        if "%" in text:
            raise EgressRefusedError("its host is not on the public Internet")
        check_address(ip_address(text), policy)
    return found


def resolve_by_system(host: str, port: int) -> list[str]:
    """Return the addresses that the system's resolver knows, without repetitions."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
