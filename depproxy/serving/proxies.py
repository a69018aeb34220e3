"""Reverse proxies that are trusted: what they say of a client counts, what others say does not.

Pure.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNIX = "unix"
"""Stands for everybody who comes by a unix socket: such a peer has no address."""

_MAX_HOPS = 32
"""Entries of ``X-Forwarded-For`` that are looked at, from the last one on."""

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, and how he came: ``http`` or ``https``."""

    address: str
    scheme: str


class TrustedProxies:
    """Those whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` count."""

    def __init__(self, trusted: Sequence[str]) -> None:
        """As the configuration has them: networks, and the word ``unix``."""
        self._trusts_unix = UNIX in trusted
        self._networks = [ipaddress.ip_network(entry) for entry in trusted if entry != UNIX]

    def client(self, peer: Client, headers: Mapping[str, str]) -> Client:
        """Who asks by way of ``peer``: himself, if that is no trusted proxy.

        Each proxy adds whom it was asked by at the end. So the list is read from there, for as long
        as trusted ones say it; what stands before the first other one is only what that one claims.
        """
        if not self._trusts(peer.address):
            return peer
        address = peer.address
        for entry in reversed(headers.get("X-Forwarded-For", "").split(",")[-_MAX_HOPS:]):
            parsed = parsed_address(entry)
            if parsed is None:
                break
            address = str(parsed)
            if not self._has(parsed):
                break
        scheme = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
        return Client(address, scheme if scheme in ("http", "https") else peer.scheme)

    def _trusts(self, peer: str) -> bool:
        if peer == UNIX:
            return self._trusts_unix
        address = parsed_address(peer) if self._networks else None
        return address is not None and self._has(address)

    def _has(self, address: _IPAddress) -> bool:
        return any(address in network for network in self._networks)


def parsed_address(entry: str) -> _IPAddress | None:
    """An address, perhaps with a port or in brackets; None for what is none. An IPv4 address that
    is written as an IPv6 one (RFC 4291, 2.5.5.2) is the IPv4 one."""
    text = entry.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
