"""The objects of a server: those that last, and around them those that a configuration makes.

A reload makes the second kind anew, whole, and lets go of the old ones. So nothing of it has to
know how to change, and what fails leaves everything as it was.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from depproxy import __version__
from depproxy.access.admin import AdminToken
from depproxy.access.attempts import Attempts
from depproxy.access.gate import Gate
from depproxy.access.reception import Reception
from depproxy.access.sessions import Sessions
from depproxy.access.tokens import Tokens
from depproxy.access.users import Users
from depproxy.cache.blobs import Blobs
from depproxy.cache.catalogue import Catalogue
from depproxy.cache.chores import Chores
from depproxy.cache.documents import Documents
from depproxy.cache.events import Events
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
from depproxy.metrics.exposition import Exposition
from depproxy.metrics.loop_lag import LoopLag
from depproxy.metrics.requests import Requests
from depproxy.readings import Watched, told_names
from depproxy.store.data_dir import DataDir
from depproxy.threads import Threads
from depproxy.upstream.curl import CurlThread
from depproxy.upstream.health import Health
from depproxy.upstream.ledger import Ledger
from depproxy.upstream.registries import Registries

USER_AGENT = f"depproxy/{__version__}"


@dataclass(frozen=True, slots=True)
class Access:
    """Who comes in, by one configuration."""

    gate: Gate
    reception: Reception
    users: Users | None
    sessions: Sessions
    attempts: Attempts
    """To sign in with the admin token."""


def make_access(
    config: Config, data: DataDir, threads: Threads, before: "Configured | None" = None
) -> Access:
    """Secrets and users are read anew; who tried wrong passwords ``before``, and who signed out, is
    not forgotten.

    Raises `StoreError` and `UsersFileError`.
    """
    known = before.access if before else None
    file, secret = config.auth.users_file, data.secret("token_key")
    users = known.users if before and known and before.config.auth.users_file == file else None
    if users:
        users.look_again()
    elif file:
        users = Users(file, threads.passwords, time.monotonic)
    sessions = known.sessions if known and known.sessions.rest_on(secret) else None
    sessions = sessions or Sessions(secret, time.time)
    attempts = known.attempts if known else Attempts(time.monotonic)
    tokens = Tokens(secret, config.external_url, config.auth.token_lifetime, time.time)
    admin = AdminToken(data.secret("admin_token"))
    gate = Gate(config.groups, config.mirror.group, admin, tokens, users)
    reception = Reception(gate, sessions, users, admin, attempts)
    return Access(gate, reception, users, sessions, attempts)


class Lasting:
    """What a reload leaves alone: files, threads, fills under way, memory of what is where, counts.

    To be made on the event loop. What little it needs of a configuration it asks for when it needs
    it; ``config`` is the one in force.
    """

    def __init__(self, config: Config, data: DataDir, threads: Threads) -> None:
        self.config = config
        self.data = data
        self.threads = threads
        self.curl = CurlThread()
        self.chores = Chores(threads.chores)
        self.meter = Meter(data, time.time)
        self.events = Events()
        self.ledger = Ledger()
        self.requests = Requests()
        loop = asyncio.get_running_loop()
        self.lag = LoopLag(loop.time, loop.call_at)
        self.trees = Trees(data, self.chores, self.meter)
        self.in_use = InUse()
        self.room = Room(
            data,
            self.in_use,
            threads.disk,
            lambda: self.config.housekeeping.min_free,
            self.chores.stop,
        )
        self.missing = Missing(time.monotonic)
        staleness = Staleness(self.events, time.time)
        documents = Documents(threads.notes, threads.hashing, self.in_use, self.meter)
        self.manifests = Manifests(
            documents, self.missing, staleness, self.events, threads.notes, time.time
        )
        self.listings = Listings(staleness, threads.notes, time.time)
        self.purges = Purges(
            data, self.trees.recounted, self.in_use, self.missing, threads.notes, self.chores
        )
        self.blobs = Blobs(
            threads.disk,
            threads.hashing,
            asyncio.sleep,
            self.in_use,
            self.room,
            Loans(data, lambda: self.config.groups, threads.notes),
            self.meter,
            self.events,
            time.time,
        )
        self.registries: Registries | None = None

    def exposition(self, running: Callable[[], int], *, tells_all: bool) -> Exposition:
        """All metrics; ``running`` tells how many requests run."""
        watched = Watched(
            self.data,
            self.meter,
            self.events,
            self.blobs,
            self.ledger,
            self.lag,
            self.requests,
            config=lambda: self.config,
            healths=self._healths,
            running=running,
        )
        exposition = Exposition(watched.readings(), self.threads.metrics, tells_all=tells_all)
        exposition.tell(told_names(self.config))
        return exposition

    def _healths(self) -> list[tuple[str, Health]]:
        return self.registries.healths() if self.registries else []


@dataclass(frozen=True, slots=True)
class Configured:
    """What one configuration makes, and a reload replaces."""

    config: Config
    access: Access
    registries: Registries
    housekeeping: Housekeeping
    proxy: DependencyProxy

    def begin(self, lasting: Lasting, before: "Configured | None" = None) -> None:
        """Come into force, in the place of ``before``. Nothing here fails, or waits."""
        lasting.config = self.config
        lasting.registries = self.registries
        known = before.config.groups if before else {}
        lasting.trees.open([g.name for g in self.config.groups.values() if g.name not in known])
        self.housekeeping.begin(before.housekeeping if before else None)
        if before:
            lasting.missing.clear()  # another way to an upstream may find what was missing
            before.registries.retire(self.registries)


def configure(
    lasting: Lasting, config: Config, access: Access, before: Configured | None = None
) -> Configured:
    """Everything that a configuration makes; nothing of it is in force yet.

    Upstreams that are as ``before`` go on with their connections, tokens and health.
    """
    registries = Registries(
        config.upstreams,
        lasting.curl,
        USER_AGENT,
        time.monotonic,
        lasting.ledger,
        before.registries if before else None,
    )
    housekeeping = Housekeeping(
        config.housekeeping,
        config.groups,
        lasting.trees.get,
        lasting.in_use,
        lasting.room,
        lasting.chores,
        time.time,
    )
    proxy = DependencyProxy(
        config.groups,
        config.mirror.group,
        UpstreamNames(config.upstreams),
        registries,
        lasting.trees,
        manifests=lasting.manifests,
        blobs=lasting.blobs,
        listings=lasting.listings,
        purges=lasting.purges,
        catalogue=Catalogue(lasting.trees, registries, lasting.meter, lasting.threads.notes),
        meter=lasting.meter,
    )
    return Configured(config, access, registries, housekeeping, proxy)
