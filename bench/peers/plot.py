"""The same medians as bars, each with its lowest and highest round."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.peers.measure import (
    CPU,
    CPU_PER_GIB,
    CPU_PER_REQUEST,
    P99,
    REQUESTS,
    THROUGHPUT,
    WALL,
    Quantity,
)
from bench.peers.report import COLUMNS, Results, server_of
from bench.peers.rows import Row

_SMALL = ("manifest-16", "manifest-64", "tag-16", "head-16", "small-16", "small-64")
_HITS = ("hit-1", "hit-4", "hit-16")
_COLD = ("cold", "cold-slow", "crowd")

_PANELS: tuple[tuple[str, Quantity, tuple[str, ...]], ...] = (
    ("Small requests", REQUESTS, _SMALL),
    ("CPU of a small request", CPU_PER_REQUEST, _SMALL),
    ("1 GiB from disk", THROUGHPUT, _HITS),
    ("CPU of 1 GiB from disk", CPU_PER_GIB, _HITS),
    ("Cold blobs", WALL, _COLD),
    ("CPU of cold blobs", CPU, _COLD),
    ("A small request beside large ones", P99, ("beside-hits", "beside-cold")),
)

_COLOURS = dict(zip(COLUMNS, ("#1f6feb", "#d29922", "#8b949e", "#c9b8e8"), strict=True))
_WIDTH = 0.8 / len(COLUMNS)


def draw(results: Results, file: Path) -> bool:
    """False where there is nothing to draw."""
    rows = {row.key: row for row in results.rows}
    panels = [
        (title, quantity, found)
        for title, quantity, keys in _PANELS
        if (found := [rows[key] for key in keys if key in rows])
        and any(quantity in results.quantities(row) for row in found)
    ]
    if not panels:
        return False
    lines = (len(panels) + 1) // 2
    figure = Figure(figsize=(11, 3 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False).flat
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, (title, quantity, found) in zip(axes, panels, strict=False):
        better = "more" if quantity.more_is_better else "less"
        axis.set_title(f"{title}: {quantity} ({better} is better)", fontsize=9)
        _bars(axis, quantity, results, found)
        if quantity in (REQUESTS, CPU_PER_REQUEST):
            axis.set_yscale("log")  # nginx is in another league
    handles = [Patch(color=colour, label=column) for column, colour in _COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(file, dpi=120)
    return True


def _bars(axis: Axes, quantity: Quantity, results: Results, rows: Sequence[Row]) -> None:
    for place, column in enumerate(COLUMNS):
        for index, row in enumerate(rows):
            server = server_of(row, column)
            values = results.values(row, server, quantity).values()
            middle = results.median(row, server, quantity)
            if middle is None:
                continue
            reach = [[middle - min(values)], [max(values) - middle]]
            where = index + (place - (len(COLUMNS) - 1) / 2) * _WIDTH
            axis.bar(where, middle, _WIDTH, yerr=reach, color=_COLOURS[column], capsize=2)
    axis.set_xticks(range(len(rows)), [row.key for row in rows], fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
