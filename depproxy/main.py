"""The program: arguments, configuration, and which of its jobs is to be done."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from depproxy import __version__
from depproxy.access import advice
from depproxy.commands import health, passwd, purge, usage, verify, warm
from depproxy.config import Config, load_config
from depproxy.demo.plan import demo_config, demo_lines
from depproxy.demo.registry import serve_demo_registry
from depproxy.errors import ConfigError, DepproxyError
from depproxy.logs import set_up_logging
from depproxy.process import raise_descriptor_limit, share_the_interpreter
from depproxy.service import Server
from depproxy.serving.tls import problems as tls_problems
from depproxy.serving.tls import warnings as tls_warnings
from depproxy.shipped import EXAMPLE, shipped_file, shipped_files
from depproxy.signals import Signals

_log = logging.getLogger(__name__)

CONFIG_FILES = (Path("conf/depproxy.yml"), Path("/etc/depproxy/depproxy.yml"))
"""Where the configuration is looked for without ``--config``."""

_NO_CONFIG = (
    f"depproxy: there is no configuration: neither {' nor '.join(map(str, CONFIG_FILES))}; "
    f"'depproxy --example {EXAMPLE}' prints one to begin with"
)

COMMANDS = {
    "usage": usage,
    "purge": purge,
    "verify": verify,
    "warm": warm,
    "health": health,
    "passwd": passwd,
}
"""What is done beside the server; each has ``add_arguments`` and ``run``."""

EXIT_FAILED = 1
"""The server could not start, or a command could not do its work."""

EXIT_USAGE = 2
"""The arguments or the configuration file are wrong; argparse exits so, too."""

EXIT_INTERRUPTED = 130
"""Ctrl-C ended a command: 128 and the signal's number, as in shells."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = _parser().parse_args(arguments)
    if options.example:
        print(shipped_file(options.example).read_text(encoding="utf-8"), end="")
        return 0
    is_command = options.command is not None
    file = options.config or _found_config(options.demo)
    if file is None:
        print(_NO_CONFIG, file=sys.stderr)
        return EXIT_USAGE
    if not is_command and not options.check_config:
        # It would end a server that is about to read the file anyway.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        config = (
            load_config(file, looks_around=False) if is_command else load_config(file, _problems)
        )
    except ConfigError as exc:
        _report(exc)
        return EXIT_USAGE
    if is_command:
        return _command(COMMANDS[options.command], config, options)
    if options.check_config:
        for warning in (*advice.warnings(config), *tls_warnings(config)):
            print(f"depproxy: {warning}", file=sys.stderr)
        print(f"{file}: right")
        return 0
    set_up_logging(config.log.format, config.log.level)
    raise_descriptor_limit()
    share_the_interpreter()
    return _guarded(_demonstrate(config) if options.demo else _serve(config, file))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="depproxy", description="A pull-through cache for container images."
    )
    parser.add_argument("--version", action="version", version=f"depproxy {__version__}")
    _add_config(parser, None)
    parser.add_argument(
        "--check-config", action="store_true", help="say whether the file is right, and stop"
    )
    parser.add_argument(
        "--demo", action="store_true", help="serve a small image that needs no network"
    )
    examples = shipped_files()
    parser.add_argument(
        "--example",
        metavar="FILE",
        choices=examples,
        help=f"print a file that comes with the program: {', '.join(examples)}",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        summary = str(command.__doc__).partition(": ")[2].partition("\n")[0]
        subparser = commands.add_parser(name, help=summary, description=summary)
        _add_config(subparser, argparse.SUPPRESS)
        command.add_arguments(subparser)
    return parser


def _add_config(parser: argparse.ArgumentParser, default: str | None) -> None:
    """The option counts before and behind a command's name."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=default,
        help=f"default: {', else '.join(map(str, CONFIG_FILES))}",
    )


def _command(command: ModuleType, config: Config, options: argparse.Namespace) -> int:
    try:
        return int(command.run(config, options))
    except DepproxyError as exc:
        print(f"depproxy: {exc}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED


def _found_config(is_demo: bool) -> Path | None:
    """The demo needs no file of anybody's: it takes no more of one than the addresses."""
    # Not Path.exists(): it fails in a folder that this user may not look into, such as root's.
    found = next((file for file in CONFIG_FILES if os.path.exists(file)), None)
    return shipped_file(EXAMPLE) if found is None and is_demo else found


def _guarded(work: Coroutine[Any, Any, None]) -> int:
    try:
        asyncio.run(work)
    except DepproxyError as exc:
        print(f"depproxy: {exc}", file=sys.stderr)
        return EXIT_FAILED
    return 0


async def _serve(config: Config, file: Path) -> None:
    signals = Signals()
    server = Server(config)
    reloads = asyncio.create_task(signals.on_hangup(lambda: _reload(server, file)))
    await server.run(signals.stop)
    reloads.cancel()


async def _reload(server: Server, file: Path) -> None:
    """Read the configuration again; a wrong one changes nothing."""
    server.reloading()
    try:
        config = await asyncio.to_thread(load_config, file, _problems)
        server.reload(config)
    except ConfigError as exc:
        _log.error("%s cannot be used, and the configuration stays as it was:", exc.source)
        for problem in exc.problems:
            _log.error("%s", problem)
        server.keep(f"{exc.source} has {len(exc.problems)} problem(s)")
    except DepproxyError as exc:
        _log.error("%s; the configuration stays as it was", exc)
        server.keep(str(exc))
    else:
        set_up_logging(config.log.format, config.log.level)


def _problems(config: Config) -> list[str]:
    """What is wrong beside the file itself."""
    return [*advice.problems(config), *tls_problems(config)]


async def _demonstrate(config: Config) -> None:
    """Serve the demo's image from a folder that is thrown away afterwards."""
    signals = Signals()
    with tempfile.TemporaryDirectory(prefix="depproxy-demo-") as folder:
        demo = demo_config(config, serve_demo_registry(), Path(folder))
        server = Server(demo)
        print(demo_lines(server.addresses[0], demo.data_dir), flush=True)
        await server.run(signals.stop)


def _report(error: ConfigError) -> None:
    print(f"depproxy: {error.source} cannot be used:", file=sys.stderr)
    for problem in error.problems:
        print(f"  {problem}", file=sys.stderr)
