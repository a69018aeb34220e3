"""A tree that was told of what is in it, and copies that are to be counted."""

import os
import shutil
from pathlib import Path

import pytest

from depproxy.oci.names import GroupName
from depproxy.store.files import DIRECTORY
from depproxy.store.remembered import Bodies
from depproxy.store.shared import SharedFiles
from depproxy.store.tree import Tree
from tests.store.survey.two_images import pull_all


@pytest.fixture(scope="module")
def filled(no_sync: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Path]:
    """A tree and its folder."""
    path = tmp_path_factory.mktemp("told")
    shared = SharedFiles()
    tree = Tree(GroupName("acme"), os.open(path, DIRECTORY), shared, Bodies(), is_new=True)
    pull_all(tree)
    return tree, path


@pytest.fixture(scope="module")
def told(filled: tuple[Tree, Path]) -> Tree:
    """A tree that was told of everything that is in it."""
    return filled[0]


@pytest.fixture(scope="module")
def template(filled: tuple[Tree, Path]) -> Path:
    return filled[1]


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """A copy, which is to be counted."""
    return Path(shutil.copytree(template, tmp_path / "tree"))
