"""A running server: every object of it is built, run and taken down here."""

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor

from tornado.web import RequestHandler

from depproxy import __version__
from depproxy.access.admin import AdminToken
from depproxy.access.advice import warnings
from depproxy.access.gate import Gate
from depproxy.access.reception import Reception
from depproxy.access.sessions import Sessions
from depproxy.access.tokens import Tokens
from depproxy.access.users import Users
from depproxy.app import make_app
from depproxy.cache.blobs import Blobs
from depproxy.cache.catalogue import Catalogue
from depproxy.cache.chores import Chores
from depproxy.cache.documents import Documents
from depproxy.cache.housekeeping import Housekeeping
from depproxy.cache.in_use import InUse
from depproxy.cache.listings import Listings
from depproxy.cache.loans import Loans
from depproxy.cache.manifests import Manifests
from depproxy.cache.meter import Meter
from depproxy.cache.missing import Missing
from depproxy.cache.proxy import DependencyProxy
from depproxy.cache.purges import Purges
from depproxy.cache.room import Room
from depproxy.cache.staleness import Staleness
from depproxy.cache.trees import Trees
from depproxy.cache.upstream_choice import UpstreamNames
from depproxy.config import Config
from depproxy.handlers.activity import Activity
from depproxy.handlers.base import BaseHandler
from depproxy.handlers.pages.site import Site
from depproxy.listening import HttpServer, bind, shown
from depproxy.logs import log_access
from depproxy.store.data_dir import open_data_dir
from depproxy.store.tree import Tree
from depproxy.upstream.curl import CurlThread
from depproxy.upstream.registries import Registries

_log = logging.getLogger(__name__)

DISK_THREADS = 16
"""Threads that store blobs: syncing a large one takes a thread for seconds."""

NOTE_THREADS = 4
"""Threads that write manifests and pointers, which must not wait for blobs."""

CHORE_THREADS = 2
"""Threads that count and delete in the background."""

HASHING_THREADS = 2
"""Threads that hash: more than there are cores would only take turns."""

PASSWORD_THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Threads that check passwords, which takes a core: half of them at most."""

_LAST_WORDS = 1.0
"""Seconds for requests that were given up on to be told so."""

USER_AGENT = f"depproxy/{__version__}"


class _Threads:
    """The pools of one server, each for work that must not wait for the others'."""

    def __init__(self) -> None:
        self.disk = ThreadPoolExecutor(DISK_THREADS, "disk")
        self.notes = ThreadPoolExecutor(NOTE_THREADS, "notes")
        self.hashing = ThreadPoolExecutor(HASHING_THREADS, "hashing")
        self.chores = ThreadPoolExecutor(CHORE_THREADS, "chores")
        self.passwords = ThreadPoolExecutor(PASSWORD_THREADS, "passwords")

    def stop(self) -> None:
        """What has not begun never will; what has ends."""
        for pool in (self.passwords, self.chores, self.hashing, self.notes, self.disk):
            pool.shutdown(cancel_futures=True)


class Server:
    """One server on one data folder."""

    def __init__(self, config: Config) -> None:
        """Binds the address and locks the folder. Raises `CannotListen`, `StoreError`."""
        self._config = config
        self._threads = _Threads()
        self._sockets = bind(config.listen)
        try:
            self._data = open_data_dir(config.data_dir)
            self._gate = self._make_gate()
        except BaseException:
            for sock in self._sockets:
                sock.close()
            raise
        self.activity = Activity()
        self._draining = False

    @property
    def addresses(self) -> list[str]:
        """``host:port`` of what it listens on."""
        return [shown(sock) for sock in self._sockets]

    def trees(self) -> list[Tree]:
        """The groups' trees that are in use."""
        return self._data.trees()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then let running requests end."""
        curl = CurlThread()
        chores = Chores(self._threads.chores)
        proxy, trees = self._build(curl, chores)
        http = HttpServer(
            make_app(
                proxy=proxy,
                gate=self._gate,
                site=self._make_site(proxy),
                external_url=self._config.external_url,
                activity=self.activity,
                is_draining=lambda: self._draining,
                log_function=_finished,
            )
        )
        http.add_sockets(self._sockets)
        trees.start([group.name for group in self._config.groups.values()])
        chores.begin(proxy.purges.empty_trash)
        for warning in warnings(self._config):
            _log.warning("%s", warning)
        _log.info("depproxy %s listens on %s", __version__, ", ".join(self.addresses))
        try:
            await stop.wait()
            await self._drain(http, proxy)
            await chores.end()
            trees.flush()
        finally:
            curl.stop()
            self._threads.stop()
            self._data.close()
        _log.info("stopped")

    def _make_gate(self) -> Gate:
        """Raises `StoreError` and `UsersFileError`."""
        config, file = self._config, self._config.auth.users_file
        self._admin = AdminToken(self._data.secret("admin_token"))
        self._users = Users(file, self._threads.passwords, time.monotonic) if file else None
        return Gate(
            config.groups,
            config.mirror.group,
            self._admin,
            Tokens(
                self._data.secret("token_key"),
                config.external_url,
                config.auth.token_lifetime,
                time.time,
            ),
            self._users,
        )

    def _make_site(self, proxy: DependencyProxy) -> Site:
        sessions = Sessions(self._data.secret("token_key"), time.time)
        return Site(
            proxy=proxy,
            gate=self._gate,
            reception=Reception(self._gate, sessions, self._users, self._admin, time.monotonic),
            external_url=self._config.external_url,
            clock=time.time,
        )

    def _build(self, curl: CurlThread, chores: Chores) -> tuple[DependencyProxy, Trees]:
        config, threads = self._config, self._threads
        registries = Registries(config.upstreams, curl, USER_AGENT, time.monotonic)
        meter = Meter(self._data, time.time)
        trees = Trees(self._data, chores, meter)
        in_use = InUse()
        room = Room(self._data, in_use, threads.disk, config.housekeeping.min_free, chores.stop)
        documents = Documents(threads.notes, threads.hashing, in_use, meter)
        staleness = Staleness(time.time)
        missing = Missing(time.monotonic)
        housekeeping = Housekeeping(
            config.housekeeping, config.groups, trees.get, in_use, room, chores, time.time
        )
        chores.spawn(housekeeping.run())
        proxy = DependencyProxy(
            config.groups,
            config.mirror.group,
            UpstreamNames(config.upstreams),
            registries,
            trees,
            manifests=Manifests(documents, missing, staleness, threads.notes, time.time),
            blobs=Blobs(
                threads.disk,
                threads.hashing,
                asyncio.sleep,
                in_use,
                room,
                Loans(self._data, config.groups, threads.notes),
                meter,
                time.time,
            ),
            listings=Listings(staleness, threads.notes, time.time),
            purges=Purges(self._data, trees.get, in_use, threads.notes, chores),
            catalogue=Catalogue(trees, registries, meter, threads.notes),
            meter=meter,
        )
        return proxy, trees

    async def _drain(self, http: HttpServer, proxy: DependencyProxy) -> None:
        """Refuse new connections, let what runs end, in ``shutdown_timeout`` altogether."""
        self._draining = True
        http.stop()
        requests, tasks = self.activity.count, len(asyncio.all_tasks())
        _log.info("shutting down: %d requests are running, %d tasks in all", requests, tasks)
        deadline = time.monotonic() + self._config.shutdown_timeout
        await self.activity.wait_for_silence(self._config.shutdown_timeout)
        await proxy.stop(max(0.0, deadline - time.monotonic()))
        await self.activity.wait_for_silence(_LAST_WORDS)
        await http.close_all_connections()


def _finished(handler: RequestHandler) -> None:
    """What is due when a request has been answered."""
    log_access(handler)
    if isinstance(handler, BaseHandler):
        handler.account()
