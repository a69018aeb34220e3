"""A running server: run, reloaded and taken down here."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from depproxy import __version__
from depproxy.access import advice
from depproxy.app import make_app
from depproxy.composition import Configured, Lasting, configure, make_access
from depproxy.config import Config
from depproxy.handlers.access_log import AccessLog
from depproxy.handlers.activity import Activity
from depproxy.handlers.lean import Dates, RequestIds, Surroundings
from depproxy.handlers.pages.site import Site
from depproxy.notify import Supervisor
from depproxy.serving.entrance import NEWCOMERS_PATIENCE, Entrance, Way
from depproxy.serving.http_server import HttpServer
from depproxy.serving.proxies import TrustedProxies
from depproxy.serving.sockets import Listener, bind, passed
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
        self._listeners: list[Listener] = passed(environ, os.getpid()) or bind(config.listen)
        try:
            self._data = open_data_dir(config.data_dir)
            self._access = make_access(config, self._data, self._threads)
        except BaseException:
            for listener in self._listeners:
                listener.close()
            raise
        self.activity = Activity()
        self._running: _Running | None = None
        self._draining = False
        self._flush_log: Callable[[], None] = lambda: None

    @property
    def addresses(self) -> list[str]:
        """``host:port`` or ``unix:/path`` of what it listens on."""
        return [str(listener) for listener in self._listeners]

    def trees(self) -> list[Tree]:
        """The groups' trees that are in use."""
        return self._data.trees()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then let running requests end."""
        lasting = Lasting(self._config, self._data, self._threads)
        now = configure(lasting, self._config, self._access)
        entrance = Entrance(self._way(now))
        http = HttpServer(entrance)
        http.tls = self._tls
        self._running = _Running(lasting, now, entrance, http)
        http.add_sockets([listener.socket for listener in self._listeners])
        now.begin(lasting)
        lasting.trees.start()
        lasting.chores.begin(lasting.purges.empty_trash)
        for warning in _strange(self._config):
            _log.warning("%s", warning)
        self._announce()
        try:
            await stop.wait()
            await self._drain(self._running)
            await lasting.chores.end()
            lasting.trees.flush()
        finally:
            self._flush_log()
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
        tls = make_context(config.tls)
        access = make_access(config, self._data, self._threads, running.now)
        now = configure(running.lasting, config, access, running.now)
        way = self._way(now)
        strange = _strange(config)
        # From here on nothing fails, and no request comes in between.
        self._config = config
        running.http.tls = tls
        running.entrance.way = way
        before, running.now = running.now, now
        now.begin(running.lasting, before)
        for key in left:
            _log.warning("%s: it cannot change while the server runs: restart it", key)
        for warning in strange:
            _log.warning("%s", warning)
        _log.info("the configuration was read again: %d groups", len(config.groups))
        self._supervisor.ready(f"Serving {len(config.groups)} groups; reloaded")

    def _way(self, now: Configured) -> Way:
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
            surroundings=Surroundings(
                self.activity, self._access_log(now.config), Dates(time.time), RequestIds()
            ),
            is_draining=lambda: self._draining,
        )
        return Way(application, TrustedProxies(now.config.trusted_proxies))

    def _access_log(self, config: Config) -> AccessLog:
        form = config.log.format if config.log.level in ("debug", "info") else "none"
        call_later = asyncio.get_running_loop().call_later
        self._flush_log()
        log = AccessLog(form, lambda: sys.stderr, time.time, call_later)
        self._flush_log = log.flush
        return log

    def _announce(self) -> None:
        _log.info(
            "depproxy %s listens on %s%s",
            __version__,
            ", ".join(self.addresses),
            "" if self._listeners[0].is_ours else ", which it was given: listen is not looked at",
        )
        self._supervisor.ready(f"Serving {len(self._config.groups)} groups")

    async def _drain(self, running: "_Running") -> None:
        """Refuse new connections, let what runs end, in ``shutdown_timeout`` altogether."""
        self._draining = True
        patience = self._config.shutdown_timeout
        self._supervisor.stopping(patience)
        running.http.stop()
        for listener in self._listeners:
            listener.close()
        requests, tasks = self.activity.count, len(asyncio.all_tasks())
        _log.info("shutting down: %d requests are running, %d tasks in all", requests, tasks)
        deadline = time.monotonic() + patience
        await running.entrance.drain(min(patience, NEWCOMERS_PATIENCE))
        await self.activity.wait_for_silence(max(0.0, deadline - time.monotonic()))
        await running.now.proxy.stop(max(0.0, deadline - time.monotonic()))
        await self.activity.wait_for_silence(_LAST_WORDS)
        await running.http.close_all_connections()


class _Running:
    """What there is of a server while it runs."""

    def __init__(
        self, lasting: Lasting, now: Configured, entrance: Entrance, http: HttpServer
    ) -> None:
        self.lasting = lasting
        self.now = now
        self.entrance = entrance
        self.http = http


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
