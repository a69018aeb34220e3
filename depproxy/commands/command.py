"""What all commands share: how they fail, what they print, and how they show that they work."""

import json
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from types import TracebackType
from typing import Self

from tqdm import tqdm

from depproxy import readable
from depproxy.config import Config
from depproxy.errors import DepproxyError, StorePurged
from depproxy.oci.digest import Digest, parse_reference
from depproxy.oci.names import GroupName, Tag
from depproxy.store.data_dir import DataDir, look_into_data_dir

EXIT_FOUND = 3
"""`verify` has found something wrong, and removed it."""

_LINE_EVERY = 5.0
"""Seconds between two lines of progress where no terminal shows a bar."""


class CommandFailed(DepproxyError):
    """A command cannot do what it was asked to; the text says why."""


class Progress:
    """How far a long command is: a bar on a terminal, a line now and then elsewhere; both on
    standard error."""

    def __init__(self, what: str, total: int) -> None:
        """``total`` in bytes."""
        self._what = what
        self._total = total
        self._done = 0
        self._next_line = time.monotonic() + _LINE_EVERY
        self._bar = tqdm(
            desc=what,
            total=total,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            leave=False,
        )

    def advance(self, size: int) -> None:
        """So many bytes more."""
        self._done += size
        self._bar.update(size)
        if self._bar.disable and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY
            print(
                f"{self._what}: {readable.size(self._done)} of {readable.size(self._total)}",
                file=sys.stderr,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def tell(options: Namespace, document: object, *lines: str) -> None:
    """Print a result, for machines or for people. Raises `CommandFailed` where it cannot be
    written, as to a full disk or into a pipe that nobody reads any more."""
    text = json.dumps(document, indent=1) if options.json else "\n".join(lines)
    try:
        print(text, flush=True)
    except OSError as exc:
        # What is still buffered would be tried again at the end, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandFailed(f"the result cannot be written: {exc.strerror}") from exc


def open_data(config: Config) -> DataDir:
    """The data folder, whether a server works on it or not. Raises `CommandFailed` where there is
    none, and `StoreError` where it cannot be looked into."""
    try:
        return look_into_data_dir(config.data_dir)
    except StorePurged as exc:
        raise CommandFailed(f"there is no data folder {config.data_dir} to look into") from exc


def known_group(config: Config, data: DataDir, name: str) -> GroupName:
    """A group that the configuration names, or that has a cache. Raises `CommandFailed`."""
    group = GroupName(name)
    if group in config.groups or group in data.groups():
        return group
    known = ", ".join(sorted({*config.groups, *data.groups()})) or "none"
    raise CommandFailed(f"there is no group {name!r}; known are: {known}")


def split_image(text: str) -> tuple[str, Tag | Digest | None]:
    """``IMAGE``, ``IMAGE:TAG`` or ``IMAGE@DIGEST``. Raises `InvalidRequest`."""
    name, at, digest = text.partition("@")
    if at:
        return name, Digest.parse(digest)
    image, colon, tag = text.rpartition(":")
    if colon and "/" not in tag:
        return image, parse_reference(tag)
    return text, None
