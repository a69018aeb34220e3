"""What a removal leaves behind where it is interrupted: the next start finishes it."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor
from depproxy.oci.names import Tag
from depproxy.store.graph import Key
from depproxy.store.inventory import digest_of
from depproxy.store.pointer_format import TagPointer
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from tests.store.removal.four_images import (
    APP,
    BASE,
    FIRST,
    GO_ON,
    LATEST,
    LOOSE,
    ONE,
    SECOND,
    THIRD,
    TWO,
    blobs,
    bodies,
    everything,
    nobody,
    reachable,
    remove_blobs,
)
from tests.store.removal.interruptions import (
    REMOVALS,
    Begin,
    Stop,
    assert_tidy,
    is_interrupted_by_crash,
    is_interrupted_by_error,
    is_interrupted_by_stop,
)
from tests.store.trees import clone, open_tree, pull, store


def test_layers_go_before_manifests_and_these_before_indexes(tree: Tree, tmp_path: Path) -> None:
    """So that what is left after a crash tells of the rest."""
    gone: list[Digest] = []
    removal = tree.remover.begin([tree.selection(APP, ONE)])

    def watch(key: Key) -> bool:
        assert digest_of(key) in blobs(tmp_path)
        gone.append(digest_of(key))
        return False

    tree.remover.finish(removal, watch, GO_ON)
    assert set(gone) == everything(FIRST) - everything(SECOND, THIRD, LOOSE)
    for place, digest in enumerate(gone):
        led = contents_of(bodies(FIRST)[digest]).digests
        assert set(led) & set(gone) <= set(gone[:place])


Interrupt = Callable[[Tree, Begin, int], bool]


@pytest.mark.parametrize("interrupt", [is_interrupted_by_stop, is_interrupted_by_error])
@pytest.mark.parametrize("removal", ["tag", "several"])
def test_wherever_a_removal_is_interrupted_the_next_start_finishes_it(
    template: Path, tmp_path: Path, removal: str, interrupt: Interrupt
) -> None:
    for calls in count(0, 2):
        path = clone(template, tmp_path / str(calls))
        tree = open_tree(path)
        tree.count(GO_ON)
        is_interrupted = interrupt(tree, REMOVALS[removal], calls)
        assert_tidy(path)
        kept = {LATEST} if removal != "several" else set()
        assert {tag for tag in (LATEST,) if tree.pointers.read_tag(BASE, tag)} == kept
        assert tree.pointers.read_tag(APP, ONE) is None
        if not is_interrupted:
            break
    assert calls > 5


@pytest.mark.parametrize("removal", ["tag", "image"])
def test_wherever_a_process_dies_the_next_start_finishes_it(
    template: Path, tmp_path: Path, removal: str
) -> None:
    """Pointers that were not yet moved stay, with all that they lead to."""
    for calls in count():
        path = clone(template, tmp_path / str(calls))
        tree = open_tree(path)
        tree.count(GO_ON)
        is_interrupted = is_interrupted_by_crash(tree, REMOVALS[removal], calls)
        assert_tidy(path)
        assert reachable(path) >= everything(THIRD)
        if not is_interrupted:
            break
    assert calls > 20


def test_what_was_to_go_when_it_was_interrupted_counts_no_more(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = open_tree(clone(template, tmp_path / "tree"))
    tree.count(GO_ON)
    assert is_interrupted_by_stop(tree, REMOVALS["tag"], 0)
    again = open_tree(tmp_path / "tree")
    with monkeypatch.context() as patch:
        patch.setattr(again.remover, "finish_interrupted", lambda *_: None)
        again.survey(GO_ON)
    before = again.holdings.totals()
    again.survey(GO_ON)
    assert again.holdings.totals() == before
    assert_tidy(tmp_path / "tree")


def test_what_finishes_a_removal_may_be_interrupted_too(template: Path, tmp_path: Path) -> None:
    tree = open_tree(clone(template, tmp_path / "tree"))
    tree.count(GO_ON)
    assert is_interrupted_by_stop(tree, REMOVALS["several"], 0)
    for calls in count():
        again = open_tree(tmp_path / "tree")
        again.count(GO_ON)
        stop = Stop(calls)
        again.remover.finish_interrupted(stop)
        assert blobs(tmp_path / "tree") >= reachable(tmp_path / "tree")
        if not stop.is_over:
            break
    assert_tidy(tmp_path / "tree")


def test_what_was_pulled_again_before_the_next_start_stays(tree: Tree, tmp_path: Path) -> None:
    is_interrupted_by_error(tree, REMOVALS["tag"], 2)
    again = open_tree(tmp_path)
    pull(again, APP, ONE, FIRST)
    assert_tidy(tmp_path)
    assert blobs(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE)


# -- any images ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trees:
    """Indexes of manifests of layers, by number; tags and digests that were pulled."""

    manifests: list[frozenset[int]]
    indexes: list[frozenset[int]]
    tags: dict[tuple[Repository, Tag], int]
    loose: list[tuple[Repository, int]]

    def fill(self, tree: Tree) -> None:
        for number in range(5):
            store(tree, Digest.of(b"%d" % number), b"%d" % number)
        documents = self.documents()
        for digest, (_, body) in documents.items():
            store(tree, digest, body)
            tree.holdings.learn(digest, body)
        for (repository, tag), number in self.tags.items():
            digest = list(documents)[number % len(documents)]
            self._know(tree, repository, digest)
            media_type, body = documents[digest]
            known = Descriptor(digest, media_type, len(body))
            tree.pointers.swap_tag(repository, tag, None, TagPointer(current=known))
        for repository, number in self.loose:
            self._know(tree, repository, list(documents)[number % len(documents)])

    def _know(self, tree: Tree, repository: Repository, digest: Digest) -> None:
        media_type, body = self.documents()[digest]
        tree.pointers.write_digest(repository, Descriptor(digest, media_type, len(body)))
        for led in contents_of(body).digests:
            if led in self.documents():
                self._know(tree, repository, led)

    def documents(self) -> dict[Digest, tuple[str, bytes]]:
        found: dict[Digest, tuple[str, bytes]] = {}
        digests: list[Digest] = []
        for number, layers in enumerate(self.manifests):
            body = document("layers", number, [Digest.of(b"%d" % layer) for layer in layers])
            digests.append(Digest.of(body))
            found[digests[-1]] = OCI_MANIFEST, body
        for number, members in enumerate(self.indexes):
            body = document("manifests", number, [digests[m % len(digests)] for m in members])
            found[Digest.of(body)] = OCI_INDEX, body
        return found


def document(kind: str, number: int, digests: list[Digest]) -> bytes:
    return json.dumps({kind: [{"digest": digest} for digest in digests], "n": number}).encode()


FEW = st.frozensets(st.integers(0, 4), min_size=1, max_size=3)
REPOSITORIES = st.sampled_from([APP, BASE])
NAMES = st.tuples(REPOSITORIES, st.sampled_from([ONE, TWO, LATEST]))
TREES = st.builds(
    Trees,
    st.lists(FEW, min_size=1, max_size=4),
    st.lists(FEW, max_size=2),
    st.dictionaries(NAMES, st.integers(0, 5), min_size=1, max_size=4),
    st.lists(st.tuples(REPOSITORIES, st.integers(0, 5)), max_size=2),
)


@pytest.mark.usefixtures("no_sync")
@settings(max_examples=40)
@given(TREES, st.data())
def test_whatever_is_removed_and_wherever_it_dies_the_rest_is_whole(
    trees: Trees, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tree = open_tree(path)
        trees.fill(tree)
        tree.survey(GO_ON)
        remove_blobs(tree, list(tree.holdings.orphans(tree.holdings.sizes())), nobody)
        assert blobs(path) == reachable(path)
        repository, tag = data.draw(st.sampled_from(sorted(trees.tags, key=str)))
        whole = data.draw(st.booleans())
        calls = data.draw(st.integers(0, 30))
        is_interrupted_by_crash(
            tree, lambda tree: [tree.selection(repository, None if whole else tag)], calls
        )
        assert_tidy(path)
