"""The vocabulary of errors."""

from collections.abc import Iterator

from depproxy.errors import DepproxyError, StoreError, UpstreamError
from tests.tables import DOCS


def below(kind: type[DepproxyError]) -> Iterator[type[DepproxyError]]:
    for each in kind.__subclasses__():
        if each.__module__ == "depproxy.errors":
            yield each
            yield from below(each)


def test_words_tell_failures_apart_and_are_documented() -> None:
    kinds: list[type[DepproxyError]] = [*below(UpstreamError), StoreError, *below(StoreError)]
    words = {kind.word for kind in kinds}
    assert len(words) == 12
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert all(f"`{word}`" in text for word in words)
