"""Connections of one upstream: which addresses they may lead to, and which are used again."""

import asyncio
from collections.abc import Iterator

import pytest

from depproxy.config import UpstreamConfig
from depproxy.errors import UpstreamSenseless
from depproxy.upstream.curl import CurlThread, CurlTransport
from depproxy.upstream.messages import BoundedBuffer, Head, Request
from tests.fakes.registry import FakeRegistry


@pytest.fixture
def thread() -> Iterator[CurlThread]:
    thread = CurlThread()
    yield thread
    thread.stop()


def send(transport: CurlTransport, url: str, *, foreign: bool) -> Head:
    request = Request("GET", url, foreign=foreign)
    return asyncio.run(transport.send(request, lambda _: BoundedBuffer(1000)))


def test_a_redirect_takes_no_connection_that_was_made_without_being_checked(
    thread: CurlThread, registry: FakeRegistry
) -> None:
    """A token service may be near where the upstream is not; redirects to it may not."""
    far = UpstreamConfig("registry.example.org", "https://registry.example.org")
    transport = CurlTransport(thread, far, "test")
    send(transport, f"{registry.url}/v2/", foreign=False)
    with pytest.raises(UpstreamSenseless, match="loopback"):
        send(transport, f"{registry.url}/v2/", foreign=True)
