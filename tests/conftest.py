"""Fixtures: an honest registry, a server in front of it, and a log that must stay clean."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from depproxy.demo.image import Image, make_image
from depproxy.store.tree import Tree
from tests.fakes.registry import FakeRegistry
from tests.running import RunningServer, Start, write_config

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all programs that tests
    start; but some tests press it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where nothing may be skipped, a skipped test fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("DEPPROXY_SKIP_NOTHING") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def start(registry: FakeRegistry, tmp_path: Path) -> Iterator[Start]:
    """Start a server in front of the registry; keywords as `write_config` takes them. A second
    start works on the same data folder, so the first must have been stopped."""
    with ExitStack() as stack:

        def start_one(
            *,
            group: str = "",
            extra: str = "",
            upstream: str = "",
            more: str = "",
            shutdown: str = "5s",
        ) -> RunningServer:
            config = write_config(
                tmp_path,
                upstream or registry.url,
                group=group,
                extra=extra,
                more=more,
                shutdown=shutdown,
            )
            return stack.enter_context(RunningServer(config))

        yield start_one


@pytest.fixture
def server(start: Start) -> RunningServer:
    """A server with the default policy."""
    return start()


@pytest.fixture
def image() -> Image:
    return make_image("A test speaks.", {"file": b"of a layer of its own"})


@pytest.fixture
def hello(registry: FakeRegistry, image: Image) -> Image:
    """An image that the registry has as ``library/hello:latest``."""
    registry.add_image("library/hello", "latest", image)
    return image


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, no count begins."""
    go_on = threading.Event()
    survey = Tree.survey

    def held_back(tree: Tree, stop: threading.Event) -> None:
        while not go_on.wait(0.001) and not stop.is_set():
            pass
        survey(tree, stop)

    monkeypatch.setattr("depproxy.store.tree.Tree.survey", held_back)
    yield go_on
    go_on.set()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that failed is asked again at once; tests of the pause set their own."""
    monkeypatch.setattr("depproxy.upstream.health.FIRST_PAUSE", 0.0)


@pytest.fixture(autouse=True)
def log_has_no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing may go wrong unnoticed: an error in the log fails the test."""
    caplog.set_level(logging.INFO)
    yield
    errors = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not errors


@pytest.fixture(autouse=True)
def logging_as_before(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whoever sets up the log of the program in this process has it for one test only."""
    loggers = [logging.getLogger(), logging.getLogger("tornado.curl_httpclient")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
