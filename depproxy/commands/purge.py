"""``depproxy purge``: clear a group's cache, an image of it, or one tag or digest."""

import threading
from argparse import ArgumentParser, Namespace

from depproxy.cache.upstream_choice import UpstreamNames
from depproxy.commands.command import (
    CommandFailed,
    add_json,
    known_group,
    open_data,
    shown,
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
    if options.image is None:
        totals = _purge_group(data, group)
    else:
        repository, reference = _meant(config, group, options.image)
        totals = _purge_image(data, group, repository, reference)
    tell(
        options,
        {"manifests": totals.manifests, "blobs": totals.blobs, "bytes": totals.size},
        f"cleared: {totals.manifests} manifests and {totals.blobs} other blobs,"
        f" {shown(totals.size)}",
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
    never = threading.Event()
    if group not in data.groups():
        return NOTHING
    for other in data.groups():
        data.tree(other).count(never)  # all of them: several may share files
    tree = data.purge(group)
    if tree is None:
        return NOTHING
    totals = tree.holdings.totals()
    data.empty_trash(never)
    return totals


def _purge_image(
    data: DataDir, group: GroupName, repository: Repository, reference: Tag | Digest | None
) -> Totals:
    never = threading.Event()
    if group not in data.groups():
        return NOTHING
    for other in data.groups():
        data.tree(other).count(never)
    tree = data.tree(group)
    try:
        removal = tree.remover.begin([tree.selection(repository, reference)])
    except StoreError as exc:
        raise CommandFailed(str(exc)) from exc
    tree.remover.announce()
    tree.remover.finish(removal, lambda _: False, never)
    tree.remover.announce()
    return removal.totals
