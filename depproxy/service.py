"""A running server: run, reloaded and taken down here."""

import asyncio
import logging
import os
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from depproxy import __version__
from depproxy.access import advice
from depproxy.app import make_app, make_metrics_app
from depproxy.composition import Configured, Lasting, configure, make_access
from depproxy.config import Config, TlsConfig
from depproxy.handlers.access_log import AccessLog
from depproxy.handlers.activity import Activity
from depproxy.handlers.pages.site import Site
from depproxy.handlers.surroundings import Dates, RequestIds, Surroundings
from depproxy.metrics.exposition import Exposition
from depproxy.notify import Supervisor
from depproxy.readings import told_names
from depproxy.serving.entrance import NEWCOMERS_PATIENCE, Entrance, Way
from depproxy.serving.http_server import HttpServer
from depproxy.serving.proxies import TrustedProxies
from depproxy.serving.sockets import Listener, listen
from depproxy.serving.tls import make_context
from depproxy.serving.tls import warnings as tls_warnings
from depproxy.store.data_dir import open_data_dir
from depproxy.store.tree import Tree
from depproxy.threads import Threads

_log = logging.getLogger(__name__)

_LAST_WORDS = 1.0
"""Seconds for requests that were given up on to be told so."""

_FIXED = ("listen", "data_dir", "metrics")
"""What stays for as long as the server runs. A certificate may be exchanged, not come or go."""


class Server:
    """One server on one data folder."""

    def __init__(self, config: Config, environ: Mapping[str, str] = os.environ) -> None:
        """Binds the addresses, or takes the sockets that systemd has opened, and locks the folder.

        Raises `CannotListen`, `CertificateUnusable`, `StoreError` and `UsersFileError`.
        """
        self._config = config
        self._supervisor = Supervisor(environ)
        self._threads = Threads()
        self._tls = make_context(config.tls)
        self._listeners = listen(config, environ, os.getpid())
        try:
            self._data = open_data_dir(config.data_dir)
            self._access = make_access(config, self._data, self._threads)
        except BaseException:
            self._listeners.close()
            raise
        self.activity = Activity()
        self._running: _Running | None = None
        self._draining = False

    @property
    def addresses(self) -> list[str]:
        """``host:port`` or ``unix:/path`` of what it listens on for clients."""
        return [str(listener) for listener in self._listeners.clients]

    @property
    def metrics_addresses(self) -> list[str]:
        """The same for metrics, if they have an address of their own."""
        return [str(listener) for listener in self._listeners.metrics]

    def trees(self) -> list[Tree]:
        """The groups' trees that are in use."""
        return self._data.trees()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then let running requests end."""
        lasting = Lasting(self._config, self._data, self._threads)
        now = configure(lasting, self._config, self._access)
        now.begin(lasting)
        exposition = lasting.exposition(
            lambda: self.activity.count, tells_all=bool(self._listeners.metrics)
        )
        log = AccessLog(
            _log_form(self._config),
            lambda: sys.stderr,
            time.time,
            asyncio.get_running_loop().call_later,
        )
        running = self._running = _Running(lasting, now, exposition, log)
        ways = self._ways(running, now)
        running.open([self._listeners.clients, self._listeners.metrics], ways, self._tls)
        lasting.lag.start()
        lasting.trees.start()
        lasting.chores.begin(lasting.purges.empty_trash)
        for warning in _strange(self._config):
            _log.warning("%s", warning)
        self._announce()
        try:
            await stop.wait()
            await self._drain(running)
            await lasting.chores.end()
            lasting.trees.flush()
        finally:
            log.flush()
            lasting.lag.stop()
            lasting.curl.stop()
            self._threads.stop()
            self._data.close()
        _log.info("stopped")

    def reloading(self) -> None:
        """Tell whoever supervises the server that a reload begins; `reload` or `keep` ends it."""
        self._supervisor.reloading()

    def keep(self, why: str) -> None:
        """A reload has failed, and everything stays as it is."""
        self._supervisor.ready(f"{why}; the configuration is as before")

    def reload(self, config: Config) -> None:
        """Put another configuration in force, all of it or nothing. To be called on the event loop
        while `run` runs.

        Requests and fills that have begun end as they began. What cannot change while the server
        runs stays as it is, and the log says so. Raises what making a server raises.
        """
        running = self._running
        assert running
        if self._draining:
            return
        config, left = _with_what_is_fixed(config, self._config)
        # What stays rests on no file that may have gone with its key.
        tls = running.tls if "tls" in left else make_context(config.tls)
        access = make_access(config, self._data, self._threads, running.now)
        now = configure(running.lasting, config, access, running.now)
        ways = self._ways(running, now)
        strange = _strange(replace(config, tls=TlsConfig()) if "tls" in left else config)
        # From here on nothing fails, and no request comes in between.
        self._config = config
        running.log.write_as(_log_form(config))
        running.lead(ways, tls)
        before, running.now = running.now, now
        now.begin(running.lasting, before)
        running.exposition.tell(told_names(config))
        for key in left:
            _log.warning("%s: it cannot change while the server runs: restart it", key)
        for warning in strange:
            _log.warning("%s", warning)
        _log.info("the configuration was read again: %d groups", len(config.groups))
        self._supervisor.ready(f"Serving {len(config.groups)} groups; reloaded")

    def _ways(self, running: "_Running", now: Configured) -> list[Way]:
        """For clients, and for metrics if they have an address of their own."""
        surroundings = Surroundings(
            self.activity,
            running.log,
            Dates(time.time),
            RequestIds(),
            running.lasting.requests,
        )
        is_apart = bool(self._listeners.metrics)
        application = make_app(
            proxy=now.proxy,
            gate=now.access.gate,
            site=Site(
                proxy=now.proxy,
                gate=now.access.gate,
                reception=now.access.reception,
                external_url=now.config.external_url,
                clock=time.time,
            ),
            external_url=now.config.external_url,
            surroundings=surroundings,
            is_draining=lambda: self._draining,
            exposition=None if is_apart else running.exposition,
        )
        proxies = TrustedProxies(now.config.trusted_proxies)
        ways = [Way(application, proxies)]
        if is_apart:
            ways.append(Way(make_metrics_app(running.exposition, surroundings), proxies))
        return ways

    def _announce(self) -> None:
        _log.info(
            "depproxy %s listens on %s%s",
            __version__,
            ", ".join(self.addresses),
            _given(self._listeners.clients, "listen"),
        )
        if self._listeners.metrics:
            where = ", ".join(self.metrics_addresses)
            _log.info(
                "metrics are on %s%s", where, _given(self._listeners.metrics, "metrics.listen")
            )
        self._supervisor.ready(f"Serving {len(self._config.groups)} groups")

    async def _drain(self, running: "_Running") -> None:
        """Refuse new connections, let what runs end, in ``shutdown_timeout`` altogether."""
        self._draining = True
        patience = self._config.shutdown_timeout
        self._supervisor.stopping(patience)
        running.stop()
        self._listeners.close()
        requests, tasks = self.activity.count, len(asyncio.all_tasks())
        _log.info("shutting down: %d requests are running, %d tasks in all", requests, tasks)
        deadline = time.monotonic() + patience
        await running.drain(min(patience, NEWCOMERS_PATIENCE))
        await self.activity.wait_for_silence(max(0.0, deadline - time.monotonic()))
        await running.now.proxy.stop(max(0.0, deadline - time.monotonic()))
        await self.activity.wait_for_silence(_LAST_WORDS)
        await running.close()


class _Running:
    """What there is of a server while it runs."""

    def __init__(
        self, lasting: Lasting, now: Configured, exposition: Exposition, log: AccessLog
    ) -> None:
        self.lasting = lasting
        self.now = now
        self.exposition = exposition
        self.log = log
        self.tls: ssl.SSLContext | None = None
        self._doors: list[tuple[Entrance, HttpServer]] = []

    def open(
        self,
        listeners: Sequence[Sequence[Listener]],
        ways: Sequence[Way],
        context: ssl.SSLContext | None,
    ) -> None:
        """Let clients in, by the first sockets on the first way, and so on."""
        self.tls = context
        for some, way in zip(listeners, ways, strict=False):
            entrance = Entrance(way)
            http = HttpServer(entrance)
            http.tls = context
            self._doors.append((entrance, http))
            http.add_sockets([listener.socket for listener in some])

    def lead(self, ways: Sequence[Way], context: ssl.SSLContext | None) -> None:
        """Another configuration's ways, in the order in which doors were opened."""
        self.tls = context
        for (entrance, http), way in zip(self._doors, ways, strict=True):
            entrance.way, http.tls = way, context

    def stop(self) -> None:
        """Let nobody in any more."""
        for _, http in self._doors:
            http.stop()

    async def drain(self, patience: float) -> None:
        """See `Entrance.drain`."""
        await asyncio.gather(*(entrance.drain(patience) for entrance, _ in self._doors))

    async def close(self) -> None:
        """Close all connections."""
        for _, http in self._doors:
            await http.close_all_connections()


def _log_form(config: Config) -> str:
    """How requests are logged: by no lines where these would be below the level."""
    return config.log.format if config.log.level in ("debug", "info") else "none"


def _given(listeners: Sequence[Listener], key: str) -> str:
    return "" if listeners[0].is_ours else f", which it was given: {key} is not looked at"


def _with_what_is_fixed(new: Config, old: Config) -> tuple[Config, list[str]]:
    """``new`` with those of the old values that cannot change, and which keys they would have."""
    left = [key for key in _FIXED if getattr(new, key) != getattr(old, key)]
    kept = replace(new, **{key: getattr(old, key) for key in _FIXED})
    if (new.tls.certificate is None) != (old.tls.certificate is None):
        left.append("tls")
        kept = replace(kept, tls=old.tls)
    return kept, left


def _strange(config: Config) -> list[str]:
    """What is allowed and seldom meant. Raises `CertificateUnusable`."""
    return [*advice.warnings(config), *tls_warnings(config)]
