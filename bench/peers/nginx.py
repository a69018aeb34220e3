"""nginx in two parts: plain files, and a caching proxy."""

import hashlib
import os
import shutil
from pathlib import Path

from bench.peers.content import PREFIX, Item
from bench.peers.servers import Cache, Server

LOCK = "10m"
"""How long clients wait for the one that downloads. nginx's own 5 s would let them all go to the
upstream, without being cached."""


class Nginx(Server):
    """One nginx with as many workers as there are cores, and with an access log."""

    name = "nginx"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._config = folder / "nginx.conf"

    def command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", str(self._config), "-e", str(self.log)]

    def _configure(self, location: str, http: str = "") -> None:
        user = "user root;" if os.geteuid() == 0 else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"{kind}_temp_path {self.folder / kind};" for kind in kinds)
        self._config.write_text(
            f"""\
daemon off; {user} worker_processes auto; pid {self.folder / "pid"};
events {{ worker_connections 4096; }}
http {{
    access_log {self.folder / "access.log"};
    sendfile on; tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    {temporary}
    {http}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        location / {{ {location} }}
    }}
}}
"""
        )


class NginxFiles(Nginx):
    """The bytes as plain files: what a web server gives that does nothing else."""

    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder)
        self._configure(f"root {root};")


class NginxCache(Nginx, Cache):
    """A caching proxy that lets one client at a time fetch what is not there."""

    def __init__(self, folder: Path, upstream: str) -> None:
        super().__init__(folder)
        self._cache = folder / "cache"
        self._configure(
            f"""
            proxy_pass http://registry; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_cache kept; proxy_cache_key $uri; proxy_cache_valid 200 1d;
            proxy_cache_lock on; proxy_cache_lock_timeout {LOCK}; proxy_cache_lock_age {LOCK};
            add_header X-Cache $upstream_cache_status;
            """,
            f"""
            proxy_cache_path {self._cache} levels=1:2 keys_zone=kept:16m inactive=1d
                             use_temp_path=off;
            upstream registry {{ server {upstream.removeprefix("http://")}; keepalive 16; }}
            """,
        )

    def is_hit(self, headers: dict[str, str]) -> bool:
        return headers.get("x-cache") == "HIT"

    def has(self, item: Item) -> bool:
        key = hashlib.md5(f"{PREFIX}/{item.path}".encode()).hexdigest()
        return (self._cache / key[-1] / key[-3:-1] / key).exists()

    def purge(self) -> None:
        for path in self._cache.iterdir():
            shutil.rmtree(path)
