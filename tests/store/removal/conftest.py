"""The tree of four images."""

from pathlib import Path

import pytest

from depproxy.store.tree import Tree
from tests.store.removal.four_images import GO_ON, pull_all
from tests.store.trees import clone, open_tree


@pytest.fixture(scope="module")
def template(no_sync: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template")
    pull_all(open_tree(path))
    return path


@pytest.fixture
def tree(template: Path, tmp_path: Path) -> Tree:
    """A tree that holds all four images, and is counted."""
    clone(template, tmp_path)
    tree = open_tree(tmp_path)
    tree.survey(GO_ON)
    return tree
