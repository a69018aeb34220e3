"""Who keeps presenting wrong passwords is slowed, never locked out."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from depproxy.errors import TooManyAttempts

FREE_FAILURES = 5
"""Failures of an address that cost it nothing: people mistype."""

FIRST_PAUSE = 0.25
"""Seconds between attempts after that; each further failure doubles them."""

LONGEST_PAUSE = 2.0
"""Seconds between attempts at most: a shared address must stay usable for the others behind it."""

LONGEST_WAIT = 10.0
"""Seconds that an attempt waits for its turn; docker's patience is 15."""

FORGET_AFTER = 300.0
"""Seconds without a failure after which an address is as good as new."""

MAX_ADDRESSES = 10_000
"""How many are remembered."""


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last_failure: float = 0.0
    next_turn: float = 0.0


class Attempts:
    """Failures by address (IPv6: by /64). ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def take_turn(self, address: str) -> float:
        """Seconds to wait before the attempt is made. Raises `TooManyAttempts`."""
        record = self._find(address)
        if record is None or record.failures < FREE_FAILURES:
            return 0.0
        now = self._clock()
        turn = max(now, record.next_turn)
        if turn - now > LONGEST_WAIT:
            raise TooManyAttempts(
                "too many wrong passwords came from your address: try again in a moment",
                round(LONGEST_WAIT),
            )
        record.next_turn = turn + _pause(record.failures)
        return turn - now

    def failed(self, address: str) -> None:
        """A wrong password came from there."""
        record = self._find(address) or _Record()
        record.failures += 1
        record.last_failure = self._clock()
        if record.failures >= FREE_FAILURES:
            record.next_turn = max(record.next_turn, record.last_failure + _pause(record.failures))
        key = _network(address)
        self._records[key] = record
        self._records.move_to_end(key)
        if len(self._records) > MAX_ADDRESSES:
            self._records.popitem(last=False)

    def _find(self, address: str) -> _Record | None:
        record = self._records.get(_network(address))
        if record and self._clock() - record.last_failure > FORGET_AFTER:
            return None
        return record


def _pause(failures: int) -> float:
    doublings = min(failures - FREE_FAILURES, 10)
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2**doublings))


def _network(address: str) -> str:
    """Whoever has one address of a /64 has them all."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    except ValueError:
        return address
