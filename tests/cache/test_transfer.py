"""How long a transfer waits before it tries again."""

import asyncio
from pathlib import Path

import pytest

from depproxy.cache.transfer import LONGEST_WAIT, PAUSES, Inflow, Transfer
from depproxy.errors import UpstreamError, UpstreamLimited, UpstreamUnreachable
from depproxy.oci.digest import Digest
from tests.store.trees import open_tree

DATA = b"0123456789"


class Nobody:
    """Does not listen."""

    def began(self, size: int | None) -> None: ...

    def grew(self) -> None: ...

    def broke(self) -> None: ...


def pauses(tmp_path: Path, *errors: UpstreamError) -> list[float]:
    """What is waited for between tries: each but the last brings a byte and one of these."""
    waited: list[float] = []
    left = iter(errors)

    async def fetch(start: int, inflow: Inflow) -> None:
        inflow.begin(start, len(DATA))
        error = next(left, None)
        inflow.write(memoryview(DATA)[start : start + 1 if error else None])
        if error:
            raise error

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    async def run() -> None:
        partial = open_tree(tmp_path).begin(Digest.of(DATA))
        await Transfer(partial, fetch=fetch, upstream="u", pause=pause).run(Nobody())
        assert partial.read(0, 100) == DATA
        partial.discard()
        partial.close()

    asyncio.run(run())
    return waited


def test_each_try_that_has_brought_something_is_followed_soon(tmp_path: Path) -> None:
    broken = UpstreamUnreachable("u", "it broke")
    assert pauses(tmp_path, broken, broken) == [PAUSES[0]] * 2


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(None, PAUSES[0]), (0, PAUSES[0]), (7, 7.0), (LONGEST_WAIT, LONGEST_WAIT)],
)
def test_an_upstream_that_wants_to_be_left_alone_for_a_while_is(
    tmp_path: Path, retry_after: int | None, pause: float
) -> None:
    assert pauses(tmp_path, UpstreamLimited("u", "it limits", retry_after)) == [pause]


def test_one_that_wants_more_than_its_clients_have_patience_for_is_given_up(tmp_path: Path) -> None:
    """Until then, tries would be refused without asking it."""
    with pytest.raises(UpstreamLimited):
        pauses(tmp_path, UpstreamLimited("u", "it limits", 31))
