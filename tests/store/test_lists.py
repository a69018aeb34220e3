"""Answers to questions for lists: each is good for its own question."""

from pathlib import Path

import pytest

from depproxy.oci.names import ImageName
from depproxy.store.lists import KeptList, Lists
from depproxy.store.repository import Repository
from tests.store.trees import open_tree

ALPINE = Repository("docker.io", ImageName("library/alpine"))
FIRST, SECOND = (
    KeptList(question, 1.0, '{"tags": []}', "n=1&last=a") for question in ("tags?", "tags?n=1")
)


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    lists = open_tree(tmp_path).lists
    lists.write(ALPINE, FIRST)
    return lists


def test_what_was_kept_is_read_again_by_its_question(lists: Lists) -> None:
    assert lists.read(ALPINE, FIRST.question) == FIRST
    assert lists.read(ALPINE, SECOND.question) is None


def test_an_answer_to_another_question_is_none(lists: Lists, tmp_path: Path) -> None:
    (first,) = (tmp_path / ALPINE.folder / "lists").iterdir()
    body = first.read_bytes()
    lists.write(ALPINE, SECOND)
    for file in first.parent.iterdir():
        file.write_bytes(body)
    assert lists.read(ALPINE, FIRST.question) == FIRST
    assert lists.read(ALPINE, SECOND.question) is None


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"question": "tags?"}', b"\xff", b"[" * 100_000],
    ids=["nothing", "cut", "other", "less", "binary", "deep"],
)
def test_what_cannot_be_read_is_not_there(lists: Lists, tmp_path: Path, damage: bytes) -> None:
    (file,) = (tmp_path / ALPINE.folder / "lists").iterdir()
    file.write_bytes(damage)
    assert lists.read(ALPINE, FIRST.question) is None


def test_what_was_removed_is_gone_and_may_be_removed_again(lists: Lists) -> None:
    for _ in range(2):
        lists.remove(ALPINE, FIRST.question)
        assert lists.read(ALPINE, FIRST.question) is None
