"""Medians and ratios of all rounds, as a table, and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.peers.measure import QUANTITIES, Quantity, Values
from bench.peers.nginx import Nginx
from bench.peers.rows import Row
from bench.peers.servers import OURS, Distribution

REFERENCE = "reference"
COLUMNS = (OURS, Distribution.name, Nginx.name, REFERENCE)


def server_of(row: Row, column: str) -> str:
    """Which of a row's servers a column shows; the reference is another one in each row."""
    if column != REFERENCE:
        return column
    return next((name for name in row.servers if name not in COLUMNS), "")


@dataclass
class Results:
    """What came of all rounds."""

    rows: Sequence[Row]
    samples: dict[tuple[str, str], dict[int, Values]] = field(default_factory=dict)
    """By row and server, the values of each round."""
    failures: list[str] = field(default_factory=list)

    def add(self, row: Row, server: str, number: int, values: Values) -> None:
        self.samples.setdefault((row.key, server), {})[number] = values

    def values(self, row: Row, server: str, quantity: Quantity) -> dict[int, float]:
        """By round; none where it was not measured."""
        rounds = self.samples.get((row.key, server), {})
        return {number: values[quantity] for number, values in rounds.items() if quantity in values}

    def median(self, row: Row, server: str, quantity: Quantity) -> float | None:
        values = self.values(row, server, quantity)
        return statistics.median(values.values()) if values else None

    def ratio(self, row: Row, server: str, quantity: Quantity) -> float | None:
        """Ours to another's: the median of the rounds' ratios, in which a machine's slow minutes
        cancel out. None where there is nothing to divide by, or one of both is at its limit."""
        ours, theirs = self.values(row, OURS, quantity), self.values(row, server, quantity)
        ratios = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
        limit = quantity.limit
        is_at_limit = limit is not None and limit in (*ours.values(), *theirs.values())
        if not ratios or is_at_limit or not quantity.has_ratio:
            return None
        return statistics.median(ratios)

    def quantities(self, row: Row) -> list[Quantity]:
        measured = [values for server in row.servers for values in self._rounds(row, server)]
        return [quantity for quantity in QUANTITIES if any(quantity in v for v in measured)]

    def _rounds(self, row: Row, server: str) -> list[Values]:
        return list(self.samples.get((row.key, server), {}).values())

    def to_json(self) -> list[dict[str, object]]:
        """One entry for each row, quantity and server."""
        return [
            {
                "row": row.key,
                "title": row.title,
                "quantity": quantity.name,
                "unit": quantity.unit,
                "server": server,
                "rounds": self.values(row, server, quantity),
                "median": self.median(row, server, quantity),
                "depproxy to it": self.ratio(row, server, quantity) if server != OURS else None,
            }
            for row in self.rows
            for quantity in self.quantities(row)
            for server in row.servers
            if self.values(row, server, quantity)
        ]


def table(results: Results) -> str:
    """In Markdown: medians, and in brackets the ratio of ours to each other server."""
    lines = [_line(["", *COLUMNS]), _line(["---", *["---:"] * len(COLUMNS)])]
    for row in results.rows:
        quantities = results.quantities(row)
        if not quantities:
            continue
        reference = server_of(row, REFERENCE)
        lines.append(_line([f"**{row.title}**", "", "", "", f"*{reference}*" if reference else ""]))
        for quantity in quantities:
            cells = [_cell(results, row, server_of(row, name), quantity) for name in COLUMNS]
            lines.append(_line([str(quantity), *cells]))
    return "\n".join(lines)


def _cell(results: Results, row: Row, server: str, quantity: Quantity) -> str:
    median = results.median(row, server, quantity)
    if median is None:
        return "–" if server in row.servers else ""
    if quantity.limit and median >= quantity.limit:
        return f"not in {quantity.limit:g}"
    shown = number(median) if quantity.unit else f"{median:g}"
    if server == OURS:
        return f"**{shown}**"
    ratio = results.ratio(row, server, quantity)
    return shown + (f" ({number(ratio)}×)" if ratio is not None else "")


def number(value: float) -> str:
    """Three digits that count, and no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
