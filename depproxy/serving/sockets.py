"""The sockets that clients come to: made here, or handed over by systemd."""

import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from depproxy.config import Address, Config
from depproxy.errors import DepproxyError

BACKLOG = 4096
"""Connections that the kernel keeps for us while we are busy: with the usual 128, a thousand CI
jobs at once had to knock again, seconds later."""

FIRST_PASSED = 3
"""The first descriptor that systemd hands over: sd_listen_fds(3)."""

_UNIX_MASK = 0o117
"""Of a unix socket: its owner and its group may connect (0660). A reverse proxy joins the group."""

_ANSWERS_WITHIN = 1.0
"""Seconds for a listener on this machine to take a connection; one whose queue is full is one,
too."""

_NOT_SPOKEN = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""How a machine without IPv6 says so."""

FOR_METRICS = "metrics"
"""What a socket for metrics is called by systemd: ``FileDescriptorName=``."""


class CannotListen(DepproxyError):
    """The address is taken, or not ours."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. ``name`` is what systemd calls it; empty for one of our own."""

    socket: socket.socket
    name: str = ""
    path: str = ""
    inode: int = 0
    """Path and inode of a unix socket that we have made."""

    @property
    def is_ours(self) -> bool:
        """Whether we have made it, and it ends with us."""
        return not self.name

    def close(self) -> None:
        """Close our copy. What systemd has handed over goes on to collect connections there; the
        path of one of our own goes, if it is still ours."""
        self.socket.close()
        if self.path and _inode(self.path) == self.inode:
            with suppress(OSError):  # the next server takes it for one that a crash has left
                os.unlink(self.path)

    def __str__(self) -> str:
        """``host:port``, ``[address]:port`` or ``unix:/path``."""
        where = self.socket.getsockname()
        if isinstance(where, str | bytes):
            return f"unix:{os.fsdecode(where)}"
        host, port = where[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Listeners:
    """All listening sockets: for clients, and for metrics if those have an address of their own."""

    clients: list[Listener]
    metrics: list[Listener]

    def close(self) -> None:
        """See `Listener.close`."""
        for listener in (*self.clients, *self.metrics):
            listener.close()


def listen(config: Config, environ: Mapping[str, str], pid: int) -> Listeners:
    """Sockets that were passed count in the place of addresses in the configuration, those for
    clients and those for metrics apart. Raises `CannotListen`."""
    given = passed(environ, pid)
    clients = [listener for listener in given if listener.name != FOR_METRICS]
    metrics = [listener for listener in given if listener.name == FOR_METRICS]
    listeners = Listeners(clients, metrics)
    try:
        if not clients:
            clients += bind(config.listen)
        if not metrics and config.metrics.listen:
            metrics += bind([config.metrics.listen])
    except BaseException:
        listeners.close()
        raise
    return listeners


def bind(addresses: Sequence[Address]) -> list[Listener]:
    """Listening sockets for all addresses, or for none. Raises `CannotListen`."""
    listeners: list[Listener] = []
    try:
        for address in addresses:
            listeners += [_bind_unix(address.unix)] if address.unix else _bind_tcp(address)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def passed(environ: Mapping[str, str], pid: int) -> list[Listener]:
    """What systemd, or another supervisor, has opened for the process ``pid``: sd_listen_fds(3).

    Raises `CannotListen` where that is no listening stream socket.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not count.isascii() or not count.isdigit():
        return []
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    fds = range(FIRST_PASSED, FIRST_PASSED + int(count))
    return [_taken(fd, dict(enumerate(names)).get(fd - FIRST_PASSED)) for fd in fds]


def _taken(fd: int, name: str | None) -> Listener:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as exc:
        raise CannotListen(f"descriptor {fd}, which was passed, is no socket: {exc}") from exc
    if not is_listening or sock.type != socket.SOCK_STREAM:
        raise CannotListen(
            f"descriptor {fd}, which was passed, does not listen: use ListenStream= and Accept=no"
        )
    return Listener(sock, name or "unknown")


def _bind_tcp(address: Address) -> list[Listener]:
    """A name may have several addresses; those of a protocol that this machine does not speak do
    not count. Port 0 is the same free one for all of them."""
    listeners: list[Listener] = []
    failure: OSError | None = None
    port = address.port
    try:
        found = socket.getaddrinfo(
            address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as exc:
        raise CannotListen(f"cannot listen on {address}: {exc.strerror}") from exc
    for family, where in sorted({(entry[0], entry[4]) for entry in found}):
        try:
            listeners.append(Listener(_open_tcp(family, (where[0], port, *where[2:]))))
            port = port or listeners[0].socket.getsockname()[1]
        except OSError as exc:
            failure = exc
            if exc.errno not in _NOT_SPOKEN:
                while listeners:
                    listeners.pop().close()
                break
    if failure and not listeners:
        why = _explained(failure, address)
        raise CannotListen(f"cannot listen on {address}: {why}") from failure
    return listeners


def _open_tcp(family: socket.AddressFamily, where: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart at once
        if family == socket.AF_INET6:
            # [::] is IPv6 only, so that 0.0.0.0 may stand beside it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _explained(error: OSError, address: Address) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            port = address.port
            return (
                "another program uses this address: stop it, or change listen"
                f" ('ss -ltnp sport = :{port}' tells which)"
            )
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address ('ip address' lists those that it has)"
        case errno.EACCES:
            return (
                "permission denied: a port below 1024 is for root, for CAP_NET_BIND_SERVICE, or for"
                " a socket of systemd's"
            )
    return error.strerror or str(error)


def _bind_unix(path: str) -> Listener:
    """A socket at ``path``. One that a crashed server has left is replaced; one that somebody
    listens on, and whatever is no socket, is left alone."""
    _make_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(_UNIX_MASK)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        raise CannotListen(f"cannot listen on unix:{path}: {exc.strerror or exc}") from exc
    return Listener(sock, path=path, inode=_inode(path))


def _make_way(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # nothing is there, or `bind` will tell what is wrong
    if not stat.S_ISSOCK(mode):
        raise CannotListen(
            f"cannot listen on unix:{path}: there is a file that is no socket; remove it, or change"
            " listen"
        )
    if _is_listened_on(path):
        raise CannotListen(
            f"cannot listen on unix:{path}: another program uses this socket: stop it, or change"
            " listen"
        )
    try:
        os.unlink(path)
    except OSError as exc:
        raise CannotListen(f"cannot listen on unix:{path}: {exc.strerror}") from exc


def _is_listened_on(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ANSWERS_WITHIN)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _inode(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0
