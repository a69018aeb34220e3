"""What is on disk, and what holdings say of it when they are told or have looked."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_MANIFEST, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.counting import Counting
from depproxy.store.graph import Key
from depproxy.store.holdings import Holdings
from depproxy.store.inventory import Inventory, Reference, Selection, key_of
from depproxy.store.repository import Repository
from depproxy.store.shared import SharedFiles

ALPINE = Repository("docker.io", ImageName("library/alpine"))
LATEST, OLD = Tag("latest"), Tag("3.19")


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def document(*layers: str) -> bytes:
    return json.dumps({"layers": [{"digest": digest(layer)} for layer in layers]}).encode()


BODIES = {f"m{number}": document(f"l{number}", f"l{number + 1}", "shared") for number in range(3)}
LAYERS = ["l0", "l1", "l2", "l3", "shared"]
DIGESTS = {name: Digest.of(body) for name, body in BODIES.items()} | {
    name: digest(name) for name in LAYERS
}
KEYS = {name: key_of(digest) for name, digest in DIGESTS.items()}
SIZES = {name: len(BODIES.get(name, b"")) or 100 for name in DIGESTS}
TAGS = [Tag("a"), Tag("b")]


def reference(name: str, tag: Tag | None = None, cached: float = 1000.0) -> Reference:
    found = Descriptor(DIGESTS[name], OCI_MANIFEST, SIZES[name])
    return Reference(ALPINE, tag or found.digest, found, cached)


@dataclass
class Files:
    """What is on disk, as a walk would see it, and as `Holdings` are told of it."""

    blobs: set[str] = field(default_factory=set)
    tags: dict[Tag, str] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)

    def add_blob(self, name: str, *told: Holdings) -> None:
        self.blobs.add(name)
        for holdings in told:
            holdings.add_blob(DIGESTS[name], SIZES[name])
            if name in BODIES:
                holdings.learn(DIGESTS[name], BODIES[name])

    def remove_blob(self, name: str, *told: Holdings) -> None:
        self.blobs.discard(name)
        for holdings in told:
            holdings.remove_blob(DIGESTS[name])

    def set_tag(self, tag: Tag, name: str, *told: Holdings) -> None:
        self.tags[tag] = name
        for holdings in told:
            holdings.set_tag(reference(name, tag))

    def set_digest(self, name: str, *told: Holdings) -> None:
        self.digests.add(name)
        for holdings in told:
            holdings.set_digest(reference(name))

    def drop(self, selection: Selection, *told: Holdings) -> None:
        for tag in TAGS if selection.is_whole else selection.tags:
            self.tags.pop(tag, None)
        self.digests -= {
            name
            for name in list(self.digests)
            if selection.is_whole or DIGESTS[name] in selection.digests
        }
        for holdings in told:
            holdings.drop(selection)

    def walk(self, counting: Counting) -> "list[Callable[[], None]]":
        """What a walk that has looked at all files by now is still to say of them."""
        steps: list[Callable[[], None]] = [
            lambda name=name: counting.found_blob(KEYS[name], SIZES[name], None)  # type: ignore[misc]
            for name in sorted(self.blobs)
        ]
        for tag, name in sorted(self.tags.items()):
            seen = reference(name, tag)
            steps.append(lambda seen=seen: counting.found_tag(seen))  # type: ignore[misc]
        for name in sorted(self.digests):
            seen = reference(name)
            steps.append(lambda seen=seen: counting.found_digest(seen))  # type: ignore[misc]
        return steps

    def read_bodies(self, counting: Counting) -> None:
        for key in counting.unread():
            for name in BODIES:
                if KEYS[name] == key and name in self.blobs:
                    counting.found_body(key, BODIES[name])


def is_known(inventory: Inventory, name: str) -> bool:
    """Whether it can be pulled by its digest, whatever else leads to it: that is dropped first."""
    others = [digest for other, digest in DIGESTS.items() if other != name]
    inventory.drop(Selection(ALPINE, tags=TAGS, digests=others))
    return inventory.graph.is_used(KEYS[name])


def tags_of(inventory: Inventory) -> set[object]:
    return {root.reference for root in inventory.roots(ALPINE, only_cached=False)}


def seen(holdings: Holdings) -> object:
    """All that a picture tells, but for documents that no reference names: a walk reads none."""

    def look(inventory: Inventory) -> object:
        return (
            dict(inventory.blobs),
            inventory.total,
            {name for name in DIGESTS if inventory.graph.is_used(KEYS[name])},
            {name for name in DIGESTS if is_known(copy.deepcopy(inventory), name)},
            {
                tag: sorted(inventory.selection(ALPINE, tag).digests)
                for tag in TAGS
                if tag in tags_of(inventory)
            },
        )

    return (
        holdings.ask(look),
        {(root.reference, root.descriptor.digest) for root in holdings.roots()},
        set(holdings.orphans(holdings.sizes())),
    )


def expected(files: Files) -> object:
    """The picture of a tree that has never held anything else."""
    fresh = new_holdings()
    for name in files.blobs:
        files.add_blob(name, fresh)
    for tag, name in files.tags.items():
        files.set_tag(tag, name, fresh)
    for name in files.digests:
        files.set_digest(name, fresh)
    return seen(fresh)


def new_holdings(*, exact: bool = True) -> Holdings:
    return Holdings(SharedFiles(), exact=exact)


CHANGES = st.one_of(
    st.tuples(st.sampled_from(["add", "remove"]), st.sampled_from(sorted(DIGESTS)), st.none()),
    st.tuples(st.just("tag"), st.sampled_from(sorted(BODIES)), st.sampled_from(TAGS)),
    st.tuples(st.just("digest"), st.sampled_from(sorted(BODIES)), st.none()),
    st.tuples(st.just("drop tag"), st.just(""), st.sampled_from(TAGS)),
    st.tuples(st.just("drop digest"), st.sampled_from(sorted(BODIES)), st.none()),
    st.tuples(st.just("drop all"), st.just(""), st.none()),
)
Change = tuple[str, str, Tag | None]


def change(files: Files, what: Change, *told: Holdings) -> None:
    match what:
        case ("add", name, _):
            files.add_blob(name, *told)
        case ("remove", name, _):
            files.remove_blob(name, *told)
        case ("tag", name, Tag() as tag):
            files.set_tag(tag, name, *told)
        case ("digest", name, _):
            files.set_digest(name, *told)
        case ("drop tag", _, Tag() as tag):
            files.drop(Selection(ALPINE, tags=[tag]), *told)
        case ("drop digest", name, _):
            files.drop(Selection(ALPINE, digests=[DIGESTS[name]]), *told)
        case ("drop all", _, _):
            files.drop(Selection(ALPINE, is_whole=True), *told)


def never(_: Key) -> bool:
    return False
