"""A fresh answer while the upstream gives one, else the last good one, for as long as allowed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from depproxy.cache.events import Events
from depproxy.cache.source import Source
from depproxy.config import GroupConfig
from depproxy.errors import UpstreamError, UpstreamNotFound, UpstreamRefused, UpstreamTimeout

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Staleness:
    """The rule, for manifests and for lists."""

    def __init__(self, events: Events, wall_clock: Callable[[], float]) -> None:
        self._events = events
        self._now = wall_clock

    async def fresh_or_stale(
        self,
        source: Source,
        ask: Callable[[], Awaitable[T]],
        stale: Callable[[str], T],
        checked: Callable[[], float | None],
    ) -> T:
        """What ``ask`` brings, or ``stale``, which is told why.

        Asking takes at most the upstream's ``revalidate_timeout``, and is spared while the upstream
        is failing; what it began goes on by itself. ``checked`` tells when the upstream last
        confirmed the stale answer, in seconds since the epoch; only a failure asks for it.

        Raises `UpstreamNotFound`, and other `UpstreamError` where nothing stale may be served.
        """
        health = source.registry.health
        failing = health.reason_not_to_ask()
        if failing and self._is_allowed(failing, source, checked):
            return self._served(source, stale, failing)
        limit = source.registry.revalidate_timeout
        try:
            async with asyncio.timeout(limit):
                return await ask()
        except UpstreamNotFound:
            raise
        except UpstreamError as exc:
            if not self._is_allowed(exc, source, checked):
                raise
            _log.warning("%s; what is kept is served", exc)
            return self._served(source, stale, exc)
        except TimeoutError:
            is_slow = source.registry.is_asked(source.repository.image)
            why = "no answer within" if is_slow else "its answer is not on disk after"
            slow = UpstreamTimeout(source.registry.name, f"{why} {limit:g} s")
            if not self._is_allowed(slow, source, checked):
                return await ask()
            if is_slow:  # nobody else has to suffer for a slow disk
                health.failed(slow)
            _log.warning("%s; what is kept is served", slow)
            return self._served(source, stale, slow)

    def _served(self, source: Source, stale: Callable[[str], T], error: UpstreamError) -> T:
        self._events.served_stale(source.group.name)
        return stale(f"not confirmed by the upstream: {error}")

    def _is_allowed(
        self, error: UpstreamError, source: Source, checked: Callable[[], float | None]
    ) -> bool:
        return may_serve_stale(error, source.group, checked(), self._now())


def may_serve_stale(
    error: UpstreamError, group: GroupConfig, last_checked: float | None, now: float
) -> bool:
    """Whether what is kept may be served although the upstream did not confirm it.

    Both times are seconds since the epoch. Limits count from the last time it answered 200.
    """
    refused = isinstance(error, UpstreamRefused)
    limits = [group.stale_for, group.refused_stale_for if refused else None]
    limit = min((limit for limit in limits if limit is not None), default=None)
    if limit is None:
        return True
    return last_checked is not None and now - last_checked <= limit
