"""``depproxy verify``: hash every cached file anew, and remove what is wrong."""

import os
import threading
from argparse import ArgumentParser, Namespace
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress

from depproxy import readable
from depproxy.commands.command import (
    EXIT_FOUND,
    CommandFailed,
    Progress,
    add_json,
    open_data,
    tell,
)
from depproxy.config import Config
from depproxy.errors import StoreError, StorePurged
from depproxy.oci.digest import Digest
from depproxy.store.survey import BlobFile
from depproxy.store.tree import Tree


def add_arguments(parser: ArgumentParser) -> None:
    add_json(parser)


def run(config: Config, options: Namespace) -> int:
    """What is removed is fetched anew when it is next asked for. Raises `CommandFailed`."""
    data = open_data(config)
    trees = [data.tree(group) for group in data.groups()]
    files = [(tree, file) for tree in trees for file in tree.blob_files()]
    size = sum(file.size for _, file in files)
    wrong, failed = _wrong_blobs(files, size)
    wrong += [
        f"{tree.group}/-/{path}" for tree in trees for path in tree.pointers.remove_unreadable()
    ]
    for tree in trees:
        if any(path.startswith(f"{tree.group}/-/") for path in wrong):
            with suppress(StorePurged):  # cleared meanwhile: nobody counts it any more
                tree.remover.announce()
    document = {"files": len(files), "bytes": size, "removed": wrong}
    told = [f"removed: {path}" for path in wrong]
    nothing = "0" if failed else "nothing"
    told.append(f"{len(files)} blobs, {readable.size(size)}: {len(wrong) or nothing} wrong")
    tell(options, document, *told)
    if failed:
        raise CommandFailed(f"{len(failed)} blobs are wrong, or not known to be right: {failed[0]}")
    return EXIT_FOUND if wrong else 0


def _wrong_blobs(files: list[tuple[Tree, BlobFile]], size: int) -> tuple[list[str], list[str]]:
    """Hash on all cores; returns the paths of what was removed, and what cannot be said of the
    rest."""
    names: dict[tuple[int, Digest], list[tuple[Tree, BlobFile]]] = {}
    for tree, file in files:
        names.setdefault((file.inode, file.digest), []).append((tree, file))
    stop = threading.Event()
    wrong: list[str] = []
    failed: list[str] = []
    with Progress("verify", size) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for check in as_completed([pool.submit(_check, same, stop) for same in names.values()]):
                removed, unsaid, hashed = check.result()
                wrong += removed
                failed += unsaid
                progress.advance(hashed)
        finally:
            stop.set()  # on Ctrl-C, nobody waits for what is not hashed yet
    return sorted(wrong), sorted(failed)


def _check(
    same: list[tuple[Tree, BlobFile]], stop: threading.Event
) -> tuple[list[str], list[str], int]:
    """One file, by all of its names; returns those that were removed, why others could not be
    looked at or removed, and the bytes looked at."""
    removed, failed = [], []
    for tree, file in same:
        try:
            is_right = tree.blobs.verify(file.digest, stop)
        except StoreError as exc:
            failed.append(f"{tree.group}/-/{file.path}: {exc}")
            continue
        if is_right:
            break  # the same bytes are right by every name
        if is_right is None:
            continue  # this name has gone meanwhile
        removed.append(f"{tree.group}/-/{file.path}")
    return removed, failed, sum(file.size for _, file in same)
