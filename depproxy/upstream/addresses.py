"""Which addresses a redirect may lead to: pure."""

import ipaddress
import socket
from enum import Enum

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")


class Reach(Enum):
    """How far an address is from here."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"


def reach_of(address: str) -> Reach:
    """Raises ValueError for what is no literal address.

    IPv4 addresses inside IPv6 ones count as themselves, else ``::ffff:169.254.169.254`` would
    be a way around. The unspecified address connects to this machine.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.is_loopback or ip.is_unspecified:
        return Reach.LOOPBACK
    if ip.is_link_local or ip.is_multicast:
        return Reach.LINK_LOCAL
    if ip.is_private or ip in _SHARED:
        return Reach.PRIVATE
    return Reach.PUBLIC


def literal_address(host: str) -> str | None:
    """The address that a URL's host is, in any of the spellings that resolvers take for one
    (``2130706433``, ``0x7f.1``); None for a name."""
    try:
        return str(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def literal_reach(host: str) -> Reach | None:
    """How far the address is that a URL's host is; None for a name."""
    address = literal_address(host)
    return reach_of(address) if address else None


def may_follow(target: Reach, upstream: Reach | None, host_is_listed: bool) -> bool:
    """Whether a redirect of an upstream that is ``upstream`` far away may lead to ``target``.

    Link-local addresses hold the metadata services of clouds: nobody is sent there.
    """
    if target is Reach.LINK_LOCAL:
        return False
    return target is Reach.PUBLIC or host_is_listed or target is upstream
