"""Removing references: what goes, what stays, and what a crash at any moment leaves behind."""

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.demo.image import Image, make_image
from depproxy.errors import StorePurged
from depproxy.oci.contents import contents_of
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.graph import Key
from depproxy.store.holdings import Totals
from depproxy.store.inventory import Selection, digest_of, key_of
from depproxy.store.lists import KeptList
from depproxy.store.pointer_format import TagPointer
from depproxy.store.removal import REMOVED
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from tests.store.trees import open_tree, point, pull, store

APP = Repository("docker.io", ImageName("library/app"))
BASE = Repository("quay.io", ImageName("a/base"))
ONE, TWO, LATEST = Tag("one"), Tag("2"), Tag("latest")
FILES = {"file": b"a layer that all images share"}
FIRST, SECOND, THIRD, LOOSE = (make_image(f"Image {number}.", FILES) for number in range(4))
GO_ON = threading.Event()


def nobody(_: Key) -> bool:
    return False


def pull_all(tree: Tree) -> None:
    """Two tags and a digest of one image, and one of another."""
    pull(tree, APP, ONE, FIRST)
    pull(tree, APP, TWO, SECOND)
    pull(tree, APP, None, LOOSE)
    pull(tree, BASE, LATEST, THIRD)
    tree.lists.write(APP, KeptList("tags", 1000, "{}"))
    tree.flush()


def remove(tree: Tree, *selections: Selection) -> int:
    """Returns the bytes of what went."""
    return tree.remover.finish(tree.remover.begin(selections), nobody, GO_ON)


def remove_image(tree: Tree) -> None:
    remove(tree, tree.selection(APP, None))


def blobs(path: Path) -> set[Digest]:
    """What is on disk."""
    files = (path / "blobs").rglob("*")
    return {Digest(f"sha256:{file.name}") for file in files if file.is_file()}


def reachable(path: Path) -> set[Digest]:
    """What the pointers on disk lead to, by the bodies on disk, and everything it names."""
    ways = [
        Digest(digest)
        for file in (path / "manifests").rglob("*.json")
        if (digest := json.loads(file.read_text()).get("digest"))
    ]
    found: set[Digest] = set()
    while ways:
        digest = ways.pop()
        if digest not in found:
            found.add(digest)
            file = path / "blobs/sha256" / digest.hex[:2] / digest.hex
            ways += contents_of(file.read_bytes()).digests if file.exists() else ()
    return found


def left_over(path: Path) -> list[Path]:
    """What is still on its way out."""
    return list((path / REMOVED).iterdir()) if (path / REMOVED).exists() else []


def everything(*images: Image) -> set[Digest]:
    return {digest for image in images for digest in (*image.manifests, *image.blobs)}


@pytest.fixture(scope="module", autouse=True)
def no_sync() -> Iterator[None]:
    """No power cut is tested here, and trees are made by the hundred."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template")
    pull_all(open_tree(path))
    return path


def clone(template: Path, path: Path) -> Path:
    """A copy by hard links: nobody writes a file in place."""
    for folder, _, names in os.walk(template):
        copy = path / os.path.relpath(folder, template)
        copy.mkdir(exist_ok=True)
        for name in names:
            os.link(f"{folder}/{name}", copy / name)
    return path


@pytest.fixture
def tree(template: Path, tmp_path: Path) -> Tree:
    """A tree that holds all four images, and is counted."""
    clone(template, tmp_path)
    tree = open_tree(tmp_path)
    tree.survey(GO_ON)
    return tree


# -- what goes and what stays ----------------------------------------------------------------


def test_nothing_is_missing_before_anything_is_removed(tree: Tree, tmp_path: Path) -> None:
    assert blobs(tmp_path) == reachable(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE)
    assert tree.holdings.is_exact


def test_a_tag_goes_with_its_own_and_leaves_what_others_share(tree: Tree, tmp_path: Path) -> None:
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    kept = everything(SECOND, THIRD, LOOSE)
    assert reachable(tmp_path) == kept
    freed = tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == kept
    own = everything(FIRST) - kept
    assert removal.totals == Totals(len(FIRST.manifests), len(own) - 3, freed, exact=True)
    assert freed == sum(len(data) for digest, data in bodies(FIRST).items() if digest in own)
    assert left_over(tmp_path) == []


def bodies(image: Image) -> dict[Digest, bytes]:
    return {**image.blobs, **{digest: body for digest, (_, body) in image.manifests.items()}}


def test_an_image_goes_whole_and_leaves_others_alone(tree: Tree, tmp_path: Path) -> None:
    remove(tree, tree.selection(APP, None))
    assert blobs(tmp_path) == reachable(tmp_path) == everything(THIRD)
    assert tree.lists.read(APP, "tags") is None
    assert tree.pointers.read_tag(BASE, LATEST)
    assert not list((tmp_path / "manifests/docker.io").rglob("*.json"))
    assert not list((tmp_path / "manifests/docker.io").rglob("*.times"))


def test_a_digest_goes_with_what_it_leads_to(tree: Tree, tmp_path: Path) -> None:
    remove(tree, tree.selection(APP, LOOSE.index))
    assert blobs(tmp_path) == everything(FIRST, SECOND, THIRD)
    assert tree.pointers.read_digest(APP, LOOSE.index) is None


def test_several_go_at_once(tree: Tree, tmp_path: Path) -> None:
    def selections() -> Iterator[Selection]:
        """One after the other, since what goes with one depends on what went before."""
        for repository, reference in ((APP, ONE), (APP, TWO), (BASE, LATEST)):
            yield tree.selection(repository, reference)

    removal = tree.remover.begin(selections())
    freed = tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(LOOSE)
    assert (removal.totals.manifests, removal.totals.size) == (9, freed)


def test_what_is_gone_can_be_removed_again(tree: Tree, tmp_path: Path) -> None:
    selection = tree.selection(APP, ONE)
    remove(tree, selection)
    removal = tree.remover.begin([selection, tree.selection(APP, Tag("never"))])
    assert removal.totals == Totals(0, 0, 0, exact=True)
    assert tree.remover.finish(removal, nobody, GO_ON) == 0
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)


def test_what_was_removed_can_be_pulled_again(tree: Tree, tmp_path: Path) -> None:
    before = tree.holdings.totals()
    remove(tree, tree.selection(APP, ONE))
    pull(tree, APP, ONE, FIRST)
    assert tree.holdings.totals() == before
    assert blobs(tmp_path) == reachable(tmp_path)


def test_what_is_pulled_again_meanwhile_stays(tree: Tree, tmp_path: Path) -> None:
    """Between the pointers and the blobs."""
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    pull(tree, APP, ONE, FIRST)
    assert tree.remover.finish(removal, nobody, GO_ON) == 0
    assert blobs(tmp_path) == reachable(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE)


@contextmanager
def meanwhile(is_time: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """As soon as a renaming makes it ``is_time``, another thread acts; whoever renamed goes on when
    that has ended, or waits for the lock of a file."""
    acts: list[Future[object]] = []
    has_ended_or_waits = threading.Event()
    lock, rename = fcntl.flock, os.rename

    def lock_and_tell(fd: int, operation: int) -> None:
        try:
            lock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            has_ended_or_waits.set()
            lock(fd, operation)

    def rename_and_wait(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if not acts and is_time():
            acts.append(Future())
            acts[0] = pool.submit(act)
            acts[0].add_done_callback(lambda _: has_ended_or_waits.set())
            has_ended_or_waits.wait()

    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", lock_and_tell)
        patch.setattr(os, "rename", rename_and_wait)
        yield
        assert acts
        acts[0].result()


@pytest.mark.parametrize("reference", [None, ONE])
def test_what_is_pulled_again_as_soon_as_its_pointers_are_gone_stays(
    tree: Tree, tmp_path: Path, reference: Tag | None
) -> None:
    pointer = tmp_path / APP.path(ONE, ".json")
    selection = tree.selection(APP, reference)
    with meanwhile(lambda: not pointer.exists(), lambda: pull(tree, APP, ONE, FIRST)):
        removal = tree.remover.begin([selection])
    tree.remover.finish(removal, nobody, GO_ON)
    assert pointer.exists()
    assert blobs(tmp_path) == reachable(tmp_path)
    assert tree.holdings.totals() == counted(tmp_path).holdings.totals()


def test_a_pointer_that_is_removed_as_soon_as_it_is_written_is_gone(
    tree: Tree, tmp_path: Path
) -> None:
    """Whoever wrote it may be told so."""
    new = Tag("new")
    pointer = tmp_path / APP.path(new, ".json")
    with meanwhile(pointer.exists, lambda: remove_image(tree)), suppress(StorePurged):
        point(tree, APP, new, FIRST)
    assert not pointer.exists()
    assert [root.reference for root in tree.holdings.roots()] == [LATEST]
    assert tree.holdings.totals() == counted(tmp_path).holdings.totals()


def counted(path: Path) -> Tree:
    tree = open_tree(path)
    tree.count(GO_ON)
    return tree


def test_before_a_count_an_image_is_removed_by_what_it_is_seen_to_have(
    template: Path, tmp_path: Path
) -> None:
    """The blobs follow when the count has told what others lead to."""
    clone(template, tmp_path)
    tree = open_tree(tmp_path)
    selection = tree.selection(APP, ONE)
    assert set(selection.digests) == set(FIRST.manifests)
    removal = tree.remover.begin([selection])
    assert not removal.totals.exact
    tree.remover.leave(removal)
    assert tree.pointers.read_tag(APP, ONE) is None
    tree.survey(GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert left_over(tmp_path) == []


def test_a_removal_that_began_before_a_count_may_be_finished_after_it(
    template: Path, tmp_path: Path
) -> None:
    """A count may end at any moment."""
    tree = open_tree(clone(template, tmp_path))
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    tree.survey(GO_ON)
    tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert left_over(tmp_path) == []


def test_a_count_leaves_alone_what_is_being_removed(tree: Tree, tmp_path: Path) -> None:
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    tree.survey(GO_ON)
    assert len(left_over(tmp_path)) == 1
    tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)


def test_the_picture_after_a_removal_is_what_a_new_count_finds(tree: Tree, tmp_path: Path) -> None:
    for reference in (FIRST.index, ONE, TWO):
        remove(tree, tree.selection(APP, reference))
        other = open_tree(tmp_path)
        other.survey(GO_ON)
        assert tree.holdings.totals() == other.holdings.totals()
        assert tree.holdings.sizes() == other.holdings.sizes()


# -- what is protected -----------------------------------------------------------------------


def test_what_is_protected_stays(tree: Tree, tmp_path: Path) -> None:
    kept = everything(SECOND, THIRD, LOOSE)
    own = everything(FIRST) - kept
    protected = set(list(FIRST.blobs)[:2]) & own
    assert protected
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    tree.remover.finish(removal, lambda key: digest_of(key) in protected, GO_ON)
    assert blobs(tmp_path) == kept | protected
    assert set(tree.holdings.orphans(tree.holdings.sizes())) == set(map(key_of, protected))
    tree.remover.take_orphans(list(map(key_of, protected)), nobody, GO_ON)
    assert blobs(tmp_path) == kept


def test_orphans_go_unless_they_are_protected_or_used(tree: Tree, tmp_path: Path) -> None:
    loose = [b"nobody leads here", b"nor here, but it is read"]
    for data in loose:
        store(tree, Digest.of(data), data)
    keys = [key_of(Digest.of(data)) for data in loose]
    freed = tree.remover.take_orphans(
        [*keys, key_of(FIRST.index)], lambda key: key == keys[1], GO_ON
    )
    assert freed == len(loose[0])
    assert blobs(tmp_path) == everything(FIRST, SECOND, THIRD, LOOSE) | {Digest.of(loose[1])}


# -- the order, and interruptions ------------------------------------------------------------


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


class Stop(threading.Event):
    """Is set when it was asked so often, or does something instead."""

    def __init__(self, calls: int, act: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._left = calls
        self._act = act

    def is_set(self) -> bool:
        self._left -= 1
        if self._left == -1 and self._act:
            self._act()
        return self.is_over and self._act is None

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()

    @property
    def is_over(self) -> bool:
        return self._left < 0


class Crash(BaseException):
    """The process ends here."""


Begin = Callable[[Tree], list[Selection]]

REMOVALS: dict[str, Begin] = {
    "tag": lambda tree: [tree.selection(APP, ONE)],
    "digest": lambda tree: [tree.selection(APP, LOOSE.index)],
    "image": lambda tree: [tree.selection(APP, None)],
    "several": lambda tree: [tree.selection(APP, None), tree.selection(BASE, LATEST)],
}


def assert_tidy(path: Path) -> None:
    """After a restart nothing is left that nothing leads to, and nothing is missing."""
    tree = open_tree(path)
    tree.survey(GO_ON)
    assert blobs(path) == reachable(path)
    assert left_over(path) == []
    assert tree.holdings.is_exact
    assert tree.holdings.sizes().keys() == {key_of(digest) for digest in blobs(path)}
    assert list(tree.holdings.orphans(tree.holdings.sizes())) == []


def is_interrupted_by_stop(tree: Tree, begin: Begin, calls: int) -> bool:
    stop = Stop(calls)
    tree.remover.finish(tree.remover.begin(begin(tree)), nobody, stop)
    return stop.is_over


def is_interrupted_by_error(tree: Tree, begin: Begin, calls: int) -> bool:
    left = iter(range(calls))

    def ask(_: Key) -> bool:
        if next(left, None) is None:
            raise Crash
        return False

    try:
        tree.remover.finish(tree.remover.begin(begin(tree)), ask, GO_ON)
    except Crash:
        return True
    return False


def is_interrupted_by_crash(tree: Tree, begin: Begin, calls: int) -> bool:
    """Before any change of the disk, of pointers, blobs or folders."""
    selections = begin(tree)
    left = iter(range(calls))

    def before(change: Callable[..., None]) -> Callable[..., None]:
        def crash_or_do(*arguments: object, **keywords: object) -> None:
            if next(left, None) is None:
                raise Crash
            change(*arguments, **keywords)

        return crash_or_do

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, before(getattr(os, name)))
        try:
            tree.remover.finish(tree.remover.begin(selections), nobody, GO_ON)
        except Crash:
            return True
    return False


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


# -- any images ------------------------------------------------------------------------------


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


@settings(deadline=None, max_examples=40)
@given(TREES, st.data())
def test_whatever_is_removed_and_wherever_it_dies_the_rest_is_whole(
    trees: Trees, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tree = open_tree(path)
        trees.fill(tree)
        tree.survey(GO_ON)
        tree.remover.take_orphans(list(tree.holdings.orphans(tree.holdings.sizes())), nobody, GO_ON)
        assert blobs(path) == reachable(path)
        repository, tag = data.draw(st.sampled_from(sorted(trees.tags, key=str)))
        whole = data.draw(st.booleans())
        calls = data.draw(st.integers(0, 30))
        is_interrupted_by_crash(
            tree, lambda tree: [tree.selection(repository, None if whole else tag)], calls
        )
        assert_tidy(path)


# -- other processes -------------------------------------------------------------------------


@pytest.fixture
def other(tree: Tree, tmp_path: Path) -> Tree:
    """Another process on the same folder, which has counted too."""
    assert tree.is_there
    return counted(tmp_path)


def remove_from_outside(other: Tree, tag: Tag | None) -> None:
    """As a command does beside the server."""
    remove(other, other.selection(APP, tag))
    other.remover.announce()


def test_ones_own_changes_are_not_foreign(tree: Tree) -> None:
    assert not tree.remover.has_foreign_changes()
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    assert not tree.remover.has_foreign_changes()
    tree.remover.finish(removal, nobody, GO_ON)
    tree.remover.take_orphans([], nobody, GO_ON)
    tree.remover.finish_interrupted(GO_ON)
    assert not tree.remover.has_foreign_changes()


def test_reading_is_no_change(tree: Tree, other: Tree) -> None:
    other.selection(APP, None)
    other.survey(GO_ON)
    assert not tree.remover.has_foreign_changes()


def test_what_another_process_removes_is_noticed(tree: Tree, other: Tree, tmp_path: Path) -> None:
    for tag in (ONE, TWO):
        remove_from_outside(other, tag)
        assert tree.remover.has_foreign_changes()
        assert tree.holdings.doubt()
        tree.survey(GO_ON)
        assert not tree.remover.has_foreign_changes()
        assert tree.holdings.sizes().keys() == {key_of(digest) for digest in blobs(tmp_path)}
        assert tree.holdings.totals() == other.holdings.totals()


def test_a_foreign_change_is_not_covered_up_by_ones_own(tree: Tree, other: Tree) -> None:
    remove_from_outside(other, ONE)
    remove(tree, tree.selection(APP, TWO))
    assert tree.remover.has_foreign_changes()


def test_a_foreign_change_during_ones_own_is_noticed(tree: Tree, other: Tree) -> None:
    removal = tree.remover.begin([tree.selection(APP, TWO)])
    remove_from_outside(other, ONE)
    tree.remover.finish(removal, nobody, GO_ON)
    assert tree.remover.has_foreign_changes()


def test_a_count_that_was_given_up_leaves_a_foreign_change_to_be_noticed(
    tree: Tree, other: Tree
) -> None:
    remove_from_outside(other, ONE)
    tree.count(Stop(3))
    assert tree.remover.has_foreign_changes()


def test_a_foreign_change_during_a_count_is_counted_or_noticed(
    template: Path, tmp_path: Path
) -> None:
    """Whatever the walk has seen by then."""
    for calls in count(0, 2):
        path = clone(template, tmp_path / str(calls))
        tree, other = open_tree(path), counted(path)
        stop = Stop(calls, lambda other=other: remove_from_outside(other, None))  # type: ignore[misc]
        tree.count(stop)
        is_right = tree.holdings.sizes().keys() == {key_of(digest) for digest in blobs(path)}
        assert is_right or tree.remover.has_foreign_changes()
        if not stop.is_over:
            break
    assert calls > 20


def test_two_processes_may_remove_the_same(tree: Tree, other: Tree, tmp_path: Path) -> None:
    removals = [
        (process, process.remover.begin(REMOVALS["tag"](process))) for process in (tree, other)
    ]
    for process, removal in removals:
        process.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    for process in (tree, other):
        assert process.holdings.sizes().keys() == {key_of(digest) for digest in blobs(tmp_path)}


def test_another_process_may_finish_what_one_has_begun(
    tree: Tree, other: Tree, tmp_path: Path
) -> None:
    removal = tree.remover.begin([tree.selection(APP, ONE)])
    other.survey(GO_ON)
    tree.remover.finish(removal, nobody, GO_ON)
    assert blobs(tmp_path) == everything(SECOND, THIRD, LOOSE)
    assert tree.holdings.totals() == other.holdings.totals()


@pytest.mark.parametrize("reference", [None, ONE])
def test_an_image_is_removed_though_another_process_tidies_up_meanwhile(
    tree: Tree, other: Tree, tmp_path: Path, reference: Tag | None
) -> None:
    """It finds a folder in which nothing is yet, and deletes it."""

    def selections() -> Iterator[Selection]:
        selection = tree.selection(APP, reference)
        other.remover.finish_interrupted(GO_ON)
        yield selection

    tree.remover.finish(tree.remover.begin(selections()), nobody, GO_ON)
    assert tree.pointers.read_tag(APP, ONE) is None
    assert blobs(tmp_path) == reachable(tmp_path)
