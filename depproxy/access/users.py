"""Users and their passwords: an htpasswd file that is read again when it changes."""

import asyncio
import hmac
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import bcrypt

from depproxy.access.attempts import Attempts
from depproxy.access.htpasswd import MAX_PASSWORD, UserList, cost, parse_users
from depproxy.access.users_file import read_users_file, stamp
from depproxy.errors import TooManyAttempts, UsersFileError

_log = logging.getLogger(__name__)

REMEMBERED_FOR = 60.0
"""Seconds for which a pair that was right is not hashed again: containerd asks for a token several
times in one pull."""

MAX_REMEMBERED = 10_000
"""Pairs, right ones only."""

MAX_WAITING = 64
"""Pairs that wait to be hashed; each takes a core a quarter of a second."""

_USUAL_COST = 12
"""The work factor of new hashes."""


class Users:
    """Who exists, and whether a password is right. ``clock`` is monotonic, in seconds.

    Passwords are hashed on ``pool``, which has few threads; everything else stays on the loop.
    """

    def __init__(self, file: Path, pool: Executor, clock: Callable[[], float]) -> None:
        """Raises `UsersFileError`."""
        self._file = file
        self._pool = pool
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[bool]] = {}
        self._attempts = Attempts(clock)
        self._stamp = stamp(file)
        self._told: object = self._stamp
        self._list = parse_users(read_users_file(file))
        self._report()

    def stored_hash(self, user: str) -> str | None:
        """What the file has for a user now; None where it does not name him."""
        return self._current().hashes.get(user)

    def look_again(self) -> None:
        """Read the file anew, even if it does not look changed."""
        self._stamp = None
        self._current()

    async def is_right(self, user: str, password: str, address: str) -> bool:
        """Whether the password is the user's. Takes as long for a user who does not exist.

        ``address`` is where it came from. Raises `TooManyAttempts`.
        """
        key = self._keyed(user, password, self.stored_hash(user) or "")
        if key not in self._right:
            await asyncio.sleep(self._attempts.take_turn(address))
        elif self._clock() - self._right[key] < REMEMBERED_FOR:
            return True
        users = self._current()
        stored = users.hashes.get(user)
        key = self._keyed(user, password, stored or "")
        is_right = await self._hashed(key, password, stored or self._nobody(users, user))
        is_right = is_right and stored is not None and self.stored_hash(user) == stored
        if is_right:
            self._remember(key)
        else:
            self._right.pop(key, None)
            self._attempts.failed(address)
            _log.warning("a wrong user or password came from %s", address)
        return is_right

    async def _hashed(self, key: bytes, password: str, stored: str) -> bool:
        """The same pair is hashed once for all who present it at the same time."""
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= MAX_WAITING:
                raise TooManyAttempts("too many people sign in at once: try again in a moment", 5)
            task = asyncio.create_task(self._hash(password, stored))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(task)

    async def _hash(self, password: str, stored: str) -> bool:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, _matches, password, stored)

    def _remember(self, key: bytes) -> None:
        self._right[key] = self._clock()
        self._right.move_to_end(key)
        if len(self._right) > MAX_REMEMBERED:
            self._right.popitem(last=False)

    def _keyed(self, *words: str) -> bytes:
        """A hash that is worth nothing outside of this process."""
        text = "\0".join(words).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, "sha256")

    def _nobody(self, users: UserList, user: str) -> str:
        """A hash that no password has, with the cost of one of the users', always the same one for
        a name: by the time it takes, nobody learns who exists."""
        costs = sorted(cost(stored) for stored in users.hashes.values()) or [_USUAL_COST]
        chosen = costs[int.from_bytes(self._keyed(user)[:4], "big") % len(costs)]
        return f"$2b${chosen:02d}${'.' * 53}"

    def _current(self) -> UserList:
        """The file as it is now. One that cannot be read any more leaves the users as they were."""
        found = stamp(self._file)
        if found != self._stamp:
            try:
                self._list = parse_users(read_users_file(self._file))
                self._stamp = self._told = found
                _log.info("%s was read again: %d users", self._file, len(self._list.hashes))
                self._report()
            except UsersFileError as exc:
                if found != self._told:
                    _log.warning("%s; the users stay as they were", exc)
                self._told = found
        return self._list

    def _report(self) -> None:
        for problem in self._list.problems:
            _log.warning("%s: %s", self._file, problem)


def hash_password(password: str) -> str:
    """A new bcrypt hash. Raises `ValueError` where the password is empty, longer than 72 bytes in
    UTF-8, or has a NUL."""
    encoded = password.encode()
    if not encoded or len(encoded) > MAX_PASSWORD or b"\0" in encoded:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD} bytes, and no NUL")
    return bcrypt.hashpw(encoded, bcrypt.gensalt(_USUAL_COST)).decode()


def _matches(password: str, stored: str) -> bool:
    encoded = password.encode("utf-8", "surrogatepass")
    clean = encoded.replace(b"\0", b"\1")[:MAX_PASSWORD]  # takes as long, and is wrong below
    is_right = bcrypt.checkpw(clean, stored.encode())
    return is_right and b"\0" not in encoded
