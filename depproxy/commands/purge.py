"""``depproxy purge``: clear a group's cache, an image of it, or one tag or digest."""

import threading
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from depproxy import readable
from depproxy.cache.upstream_choice import UpstreamNames
from depproxy.commands.command import (
    CommandFailed,
    add_json,
    known_group,
    open_data,
    split_image,
    tell,
)
from depproxy.config import Config, GroupConfig
from depproxy.errors import InvalidRequest, StoreError
from depproxy.oci.digest import Digest
from depproxy.oci.names import GroupName, Tag
from depproxy.store.data_dir import DataDir
from depproxy.store.holdings import NOTHING, Totals
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP")
    parser.add_argument(
        "image", metavar="IMAGE[:TAG|@DIGEST]", nargs="?", help="only this; default: everything"
    )
    add_json(parser)


def run(config: Config, options: Namespace) -> int:
    """Works beside the running server, too. Raises `CommandFailed` and `StoreError`."""
    data = open_data(config)
    group = known_group(config, data, options.group)
    meant = _meant(config, group, options.image) if options.image is not None else None
    totals = NOTHING
    on_disk = data.groups()
    if group in on_disk:
        for other in on_disk:
            data.tree(other).count(threading.Event())  # all of them: several may share files
        totals = _purge_image(data.tree(group), *meant) if meant else _purge_group(data, group)
    tell(
        options,
        {"manifests": totals.manifests, "blobs": totals.blobs, "bytes": totals.size},
        f"cleared: {totals.manifests} manifests and {totals.blobs} other blobs,"
        f" {readable.size(totals.size)}",
    )
    return 0


def _meant(config: Config, group: GroupName, text: str) -> tuple[Repository, Tag | Digest | None]:
    policy = config.groups.get(group) or GroupConfig(group)
    try:
        image, reference = split_image(text)
        choice = UpstreamNames(config.upstreams).choose_stored(policy, image)
    except InvalidRequest as exc:
        raise CommandFailed(str(exc)) from exc
    return Repository(choice.upstream, choice.image), reference


def _purge_group(data: DataDir, group: GroupName) -> Totals:
    tree = data.purge(group)
    if tree is None:
        return NOTHING
    totals = tree.holdings.totals()
    data.empty_trash(threading.Event())
    return totals


def _purge_image(tree: Tree, repository: Repository, reference: Tag | Digest | None) -> Totals:
    try:
        removal = tree.remover.begin([tree.selection(repository, reference)])
    except StoreError as exc:
        with suppress(StoreError):
            tree.remover.announce()  # some of it may have gone
        raise CommandFailed(str(exc)) from exc
    tree.remover.announce()
    tree.count(threading.Event())  # the server may have kept more since the first time
    tree.remover.look_again(removal)
    tree.remover.finish(removal, lambda _: False, threading.Event())
    tree.remover.announce()
    return removal.totals
