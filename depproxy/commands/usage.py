"""``depproxy usage``: count what the groups hold, and tell what they have saved."""

import threading
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from depproxy import readable
from depproxy.cache.meter import Counts, decode_counts
from depproxy.commands.command import add_json, open_data, tell
from depproxy.config import Config
from depproxy.oci.names import GroupName
from depproxy.store.data_dir import DataDir
from depproxy.store.holdings import NOTHING, Totals

_HEADER = ("GROUP", "MANIFESTS", "BLOBS", "SIZE", "HITS", "MISSES", "SERVED", "FETCHED", "SAVED")


def add_arguments(parser: ArgumentParser) -> None:
    add_json(parser)


def run(config: Config, options: Namespace) -> int:
    """Counts by walking the files; raises `CommandFailed`."""
    data = open_data(config)
    on_disk = data.groups()
    trees = [data.tree(group) for group in on_disk]
    for tree in trees:
        tree.count(threading.Event())
    # Only now is it known which files several groups share.
    totals = {tree.group: tree.holdings.totals() for tree in trees}
    groups = sorted({*on_disk, *(group.name for group in config.groups.values())})
    rows = [(group, totals.get(group, NOTHING), _counts(data, group)) for group in groups]
    shared = sum(tree.holdings.shared_size() for tree in trees)
    document = [_document(config, *row) for row in rows]
    lines = _table([_HEADER, *(_line(*row) for row in rows)])
    if shared:
        lines.append("Several groups share files: what they hold together is not in SIZE.")
    tell(options, document, *(lines if rows else ["There are no groups."]))
    return 0


def _counts(data: DataDir, group: GroupName) -> Counts:
    known = decode_counts(data.read_usage(group))
    return known.total if known else Counts()


def _document(
    config: Config, group: GroupName, totals: Totals, counts: Counts
) -> dict[str, object]:
    return {
        "group": group,
        "configured": group in config.groups,
        "manifests": totals.manifests,
        "blobs": totals.blobs,
        "bytes": totals.size,
        **{
            (name if name in ("hits", "misses") else f"bytes_{name}"): value
            for name, value in asdict(counts).items()
        },
        "bytes_saved": counts.saved,
    }


def _line(group: GroupName, totals: Totals, counts: Counts) -> tuple[str, ...]:
    return (
        group,
        str(totals.manifests),
        str(totals.blobs),
        readable.size(totals.size),
        str(counts.hits),
        str(counts.misses),
        readable.size(counts.served),
        readable.size(counts.fetched),
        readable.size(counts.saved),
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
