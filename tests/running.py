"""A server in this process, on a thread of its own, and a client that looks closely."""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from depproxy.config import Config, load_config
from depproxy.service import Server
from tests.waiting import undisturbed, wait_for

PREFIX = "/v2/mygroup/dependency_proxy/containers"


@dataclass(frozen=True)
class Reply:
    """An answer that was read to its end, or to where it was cut."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    cut: bool = False

    @property
    def cache(self) -> str:
        return self.headers.get("Cache-Status", "").removeprefix("depproxy; ")

    @property
    def error(self) -> str:
        """The OCI code of an error."""
        return str(self.json["errors"][0]["code"])

    @property
    def message(self) -> str:
        return str(self.json["errors"][0]["message"])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Start(Protocol):
    """What the fixture ``start`` gives."""

    def __call__(
        self,
        *,
        group: str = "",
        extra: str = "",
        upstream: str = "",
        more: str = "",
        shutdown: str = "5s",
    ) -> "RunningServer": ...


StartGroups = Callable[[str, str], "RunningServer"]
"""What the fixture ``start_groups`` gives: lines of YAML for the groups, and for more upstreams."""


class RunningServer:
    """Starts on entering, drains on leaving."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._server = Server(config)
        self.port = int(self._server.addresses[0].rpartition(":")[2])
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def run() -> None:
            self._stop = asyncio.Event()
            self._started.set()
            await self._server.run(self._stop)

        self._loop.run_until_complete(run())
        self._loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def begin_to_stop(self) -> None:
        """As SIGTERM would."""
        assert self._stop
        self._loop.call_soon_threadsafe(self._stop.set)

    def reload(self, config: Config) -> None:
        """As SIGHUP would, with a configuration that was read. Raises why it cannot be."""

        async def reload() -> None:
            self._server.reload(config)

        asyncio.run_coroutine_threadsafe(reload(), self._loop).result()
        self.config = config

    @property
    def metrics_addresses(self) -> list[str]:
        return self._server.metrics_addresses

    def running_tasks(self) -> int:
        """Tasks of the event loop, but for this question."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return asyncio.run_coroutine_threadsafe(count(), self._loop).result()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.begin_to_stop()
            self._thread.join()

    @property
    def running_requests(self) -> int:
        """Requests that have begun and not ended."""
        return self._server.activity.count

    @property
    def data(self) -> Path:
        return self.config.data_dir

    @property
    def token(self) -> str:
        """The admin's."""
        return (self.data / "admin_token").read_text().strip()

    @property
    def tree(self) -> Path:
        """The folder of ``mygroup``."""
        return self.data / "groups" / "mygroup" / "-"

    def blob_files(self) -> list[Path]:
        return undisturbed(
            lambda: [path for path in (self.tree / "blobs").rglob("*") if path.is_file()]
        )

    def settle(self) -> None:
        """A verified blob gets its name a moment after its last byte was sent: wait for that."""
        wait_for(lambda: not self.partial_files())

    def wait_for_counts(self) -> None:
        """Wait until the background walk after a start has ended."""

        def is_counted() -> bool:
            trees = self._server.trees()
            return bool(trees) and all(tree.holdings.is_exact for tree in trees)

        wait_for(is_counted)

    def partial_files(self) -> list[Path]:
        return undisturbed(lambda: list((self.tree / "partial").glob("*")))

    def open(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """An answer whose body the test reads itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path, headers={"Connection": "close", **(headers or {})})
        return connection.getresponse()

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A whole answer."""
        with self.open(path, method, headers) as response:
            cut = False
            try:
                body = response.read()
            except http.client.IncompleteRead as exc:
                body, cut = exc.partial, True
            except ConnectionResetError:
                body, cut = b"", True
        return Reply(response.status, response.headers, body, cut)

    def manifest(self, image: str, reference: str, method: str = "GET", **headers: str) -> Reply:
        return self.ask(f"{PREFIX}/{image}/manifests/{reference}", method, _named(headers))

    def blob(self, image: str, digest: str, method: str = "GET", **headers: str) -> Reply:
        return self.ask(f"{PREFIX}/{image}/blobs/{digest}", method, _named(headers))

    def purge(self, token: str | None = None, group: str = "mygroup", query: str = "") -> Reply:
        if token is None:
            token = self.token
        path = f"/api/v4/groups/{group}/dependency_proxy/cache{query}"
        return self.ask(path, "DELETE", {"PRIVATE-TOKEN": token} if token else {})


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def write_config(
    folder: Path,
    upstream: str,
    *,
    group: str = "",
    extra: str = "",
    more: str = "",
    shutdown: str = "5s",
) -> Config:
    """Two groups, ``mygroup`` and ``other``, and one upstream under Docker Hub's name.

    ``group`` and ``extra`` are lines of YAML for the group and for the upstream, ``more`` for the
    upstreams and, where they are not indented, for the whole.
    """
    file = folder / "depproxy.yml"
    file.write_text(
        f"listen: 127.0.0.1:0\n"
        f"data_dir: {folder / 'data'}\n"
        f"shutdown_timeout: {shutdown}\n"
        f"upstreams:\n"
        f"  docker.io:\n"
        f"    url: {upstream}\n"
        + "".join(f"    {line}\n" for line in extra.splitlines())
        + more
        + "groups:\n  mygroup:\n"
        + ("" if "upstreams:" in group else "    upstreams: [docker.io]\n")
        + "".join(f"    {line}\n" for line in group.splitlines())
        + "  other:\n"
    )
    return load_config(file)
