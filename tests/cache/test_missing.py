"""What an upstream said 404 to is spared for a while."""

from pathlib import Path
from typing import cast

import pytest

from depproxy.cache.missing import Missing
from depproxy.cache.source import Source
from depproxy.config import GroupConfig
from depproxy.oci.names import GroupName, ImageName, Tag
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from depproxy.upstream.registry import Registry
from tests.clock import Clock
from tests.store.trees import open_tree

LATEST = Tag("latest")
GROUP = GroupConfig(GroupName("acme"), not_found_ttl=10.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def missing(clock: Clock) -> Missing:
    return Missing(clock)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return open_tree(tmp_path)


def source(tree: Tree, image: str = "library/app", upstream: str = "docker.io") -> Source:
    nobody = cast(Registry, None)  # it is not asked
    return Source(GROUP, tree, nobody, Repository(upstream, ImageName(image)))


def test_what_is_missing_is_so_for_not_found_ttl(
    missing: Missing, tree: Tree, clock: Clock
) -> None:
    missing.remember(source(tree), LATEST)
    clock.now += 9.9
    assert (source(tree), LATEST) in missing
    clock.now += 0.2
    assert (source(tree), LATEST) not in missing


def test_what_is_missing_is_so_for_its_group_upstream_image_and_reference(
    missing: Missing, tree: Tree, tmp_path: Path
) -> None:
    missing.remember(source(tree), LATEST)
    assert (source(open_tree(tmp_path)), LATEST) not in missing
    assert (source(tree, upstream="quay.io"), LATEST) not in missing
    assert (source(tree, "library/other"), LATEST) not in missing
    assert (source(tree), Tag("other")) not in missing


def test_what_has_come_after_all_is_missing_no_more(missing: Missing, tree: Tree) -> None:
    missing.remember(source(tree), LATEST)
    missing.forget(source(tree), LATEST)
    assert (source(tree), LATEST) not in missing


def test_who_tries_names_does_not_fill_the_memory(missing: Missing, tree: Tree) -> None:
    """The oldest are forgotten, and asked for once more."""
    tags = [Tag(f"v{number}") for number in range(10_001)]
    for tag in tags:
        missing.remember(source(tree), tag)
    assert (source(tree), tags[0]) not in missing
    assert all((source(tree), tag) in missing for tag in tags[1:])
