"""This server beside docker-registry and nginx, on the same machine, in turns.

``PYTHONPATH=. python -m bench.peers [--rounds N] [--quick] [--rows …]``; see docs/performance.md.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.peers import beside, cold, hits, machine, plot, trouble
from bench.peers.lab import QUICK, Lab, Scale
from bench.peers.measure import WrongAnswer
from bench.peers.report import Results, table
from bench.peers.rows import Row

ROWS = [*hits.rows(), *beside.rows(), *cold.rows(), *trouble.rows()]


def main() -> int:
    options = _arguments()
    rows = [row for row in ROWS if not options.rows or _is_meant(row, options.rows)]
    if not rows:
        print(f"no such row; there are {', '.join(row.key for row in ROWS)}", file=sys.stderr)
        return 2
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for more than 1,000 connections
    results = Results(rows)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="peers-", dir=options.folder) as folder:
        about = machine.described(Path(folder))
        lab = Lab(Path(folder), QUICK if options.quick else Scale())
        try:
            for row in rows:
                _say(f"set up: {row.key}")
                row.prepare(lab)
            for number in range(1, options.rounds + 1):
                _round(lab, results, number, options.rounds)
                _save(results, about, options)
        finally:
            lab.close()
    _print(results, about, options.quick)
    if plot.draw(results, options.output.with_suffix(".png")):
        _say(f"saved: {options.output}, {options.output.with_suffix('.png')}")
    return 1 if results.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=0, help="default: 5, and 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="small blobs, and a second each")
    parser.add_argument("--rows", nargs="+", default=[], help="some rows, or their beginnings")
    parser.add_argument("--output", type=Path, default=Path("build/peers.json"))
    parser.add_argument("--folder", type=Path, help="where 10 GB are free; default: TMPDIR")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def _is_meant(row: Row, wanted: list[str]) -> bool:
    return any(row.key == name or row.key.startswith(f"{name}-") for name in wanted)


def _round(lab: Lab, results: Results, number: int, of: int) -> None:
    """Each row once with each server; who comes first changes from round to round."""
    for row in results.rows:
        first = number % len(row.servers)
        for server in (*row.servers[first:], *row.servers[:first]):
            begun = time.monotonic()
            try:
                results.add(row, server, number, row.measure(lab, server))
            except (WrongAnswer, OSError, subprocess.SubprocessError) as exc:
                results.failures.append(f"round {number}, {row.key}, {server}: {exc}")
                _say(results.failures[-1])
            took = time.monotonic() - begun
            _say(f"round {number} of {of}: {row.key}, {server}: {took:.1f} s")


def _save(results: Results, about: dict[str, str], options: argparse.Namespace) -> None:
    document = {
        "machine": about,
        "quick": options.quick,
        "results": results.to_json(),
        "failures": results.failures,
    }
    options.output.write_text(json.dumps(document, indent=1) + "\n")


def _print(results: Results, about: dict[str, str], is_quick: bool) -> None:
    print(", ".join(f"{what} {value}" for what, value in about.items()), end="\n\n")
    if is_quick:
        print("Quick: small blobs and short rounds. No numbers to quote.", end="\n\n")
    print(table(results))
    for failure in results.failures:
        print(f"\nFAILED: {failure}")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
