"""The picture of a tree: what goes with a reference, what stands for itself, what is counted."""

import copy
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, Descriptor
from depproxy.oci.names import ImageName, Tag
from depproxy.store.graph import Key
from depproxy.store.inventory import Inventory, Reference, Selection, digest_of, key_of
from depproxy.store.repository import Repository

ALPINE = Repository("docker.io", ImageName("library/alpine"))
BUSYBOX = Repository("docker.io", ImageName("library/busybox"))
LATEST, OLD = Tag("latest"), Tag("3.19")


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def key(name: str) -> Key:
    return key_of(digest(name))


def reference(name: str, tag: Tag | None = None, repository: Repository = ALPINE) -> Reference:
    """A tag, or the digest itself, that means the manifest ``name``."""
    descriptor = Descriptor(digest(name), OCI_INDEX, len(name))
    return Reference(repository, tag or descriptor.digest, descriptor, 1000.0)


def keep(inventory: Inventory, name: str, *links: str) -> None:
    """A document is on disk, with what it leads to."""
    for blob in (name, *links):
        inventory.add_blob(key(blob), len(blob))
    inventory.graph.learn(key(name), [key(link) for link in links])


def named(keys: list[Key] | set[Key], *names: str) -> set[str]:
    """Keys by their names; all of them must be among ``names``."""
    by_key = {key(name): name for name in names}
    return {by_key[found] for found in keys}


def roots(inventory: Inventory) -> list[Reference]:
    """Of all images."""
    return [root for image in inventory.repositories() for root in inventory.roots(image)]


def orphans(inventory: Inventory) -> set[Key]:
    return {blob for blob in inventory.blobs if not inventory.graph.is_used(blob)}


def known(inventory: Inventory) -> set[str]:
    """Names of what can be pulled by its digest, whatever else leads to it as well."""
    return {name for name in NAMES if is_alone_alive(copy.deepcopy(inventory), name)}


def is_alone_alive(inventory: Inventory, name: str) -> bool:
    others = [digest(other) for other in NAMES if other != name]
    inventory.drop(Selection(ALPINE, tags=TAGS, digests=others))
    return inventory.graph.is_used(key(name))


@pytest.fixture
def inventory() -> Inventory:
    """``latest`` is an index of two manifests that share a layer; all of it was pulled."""
    inventory = Inventory()
    keep(inventory, "index", "amd64", "arm64")
    keep(inventory, "amd64", "config", "layer", "shared")
    keep(inventory, "arm64", "shared")
    inventory.set_tag(reference("index", LATEST))
    for name in ("index", "amd64", "arm64"):
        inventory.set_digest(reference(name))
    return inventory


ALL = ("index", "amd64", "arm64", "config", "layer", "shared")


def add_old(inventory: Inventory, *links: str) -> None:
    """``3.19`` is another index."""
    keep(inventory, "old", *links)
    inventory.set_tag(reference("old", OLD))
    inventory.set_digest(reference("old"))


@given(st.sampled_from(["sha256", "sha512"]), st.binary())
def test_a_key_stands_for_one_digest(algorithm: str, data: bytes) -> None:
    found = Digest.of(data, algorithm)
    assert digest_of(key_of(found)) == found


# -- what goes with a reference --------------------------------------------------------------


def test_a_tag_takes_along_the_digests_that_it_leads_to(inventory: Inventory) -> None:
    selection = inventory.selection(ALPINE, LATEST)
    assert selection.tags == [LATEST]
    assert set(selection.digests) == {digest("index"), digest("amd64"), digest("arm64")}
    assert not selection.is_whole
    assert named(inventory.drop(selection), *ALL) == set(ALL)
    assert roots(inventory) == []


def test_what_another_tag_leads_to_stays(inventory: Inventory) -> None:
    add_old(inventory, "amd64")
    assert set(inventory.selection(ALPINE, LATEST).digests) == {digest("index"), digest("arm64")}
    assert inventory.selection(ALPINE, OLD).digests == [digest("old")]
    gone = inventory.drop(inventory.selection(ALPINE, LATEST))
    assert named(gone, *ALL) == {"index", "arm64"}
    assert set(inventory.selection(ALPINE, OLD).digests) == {digest("old"), digest("amd64")}


def test_two_tags_of_one_manifest_keep_it_for_each_other(inventory: Inventory) -> None:
    inventory.set_tag(reference("index", OLD))
    selection = inventory.selection(ALPINE, LATEST)
    assert (selection.tags, selection.digests) == ([LATEST], [])
    assert inventory.drop(selection) == []
    assert named(inventory.drop(inventory.selection(ALPINE, OLD)), *ALL) == set(ALL)


def test_the_tags_of_other_images_hold_no_digest_of_this_one(inventory: Inventory) -> None:
    """But what they lead to stays on disk."""
    inventory.set_tag(reference("amd64", LATEST, BUSYBOX))
    selection = inventory.selection(ALPINE, LATEST)
    assert digest("amd64") in selection.digests
    assert named(inventory.drop(selection), *ALL) == {"index", "arm64"}


def test_a_digest_takes_along_what_it_leads_to_and_no_tag_does(inventory: Inventory) -> None:
    add_old(inventory, "loose", "arm64")
    inventory.set_digest(reference("loose"))
    keep(inventory, "loose index", "loose", "arm64")
    inventory.set_digest(reference("loose index"))
    selection = inventory.selection(ALPINE, digest("loose index"))
    assert (selection.tags, selection.digests) == ([], [digest("loose index")])
    inventory.drop(inventory.selection(ALPINE, OLD))
    inventory.set_digest(reference("loose"))
    selection = inventory.selection(ALPINE, digest("loose index"))
    assert selection.digests == [digest("loose index"), digest("loose")]


def test_a_digest_that_a_tag_leads_to_goes_alone_and_frees_nothing(inventory: Inventory) -> None:
    selection = inventory.selection(ALPINE, digest("index"))
    assert selection == Selection(ALPINE, digests=[digest("index")])
    assert inventory.drop(selection) == []
    assert [root.reference for root in roots(inventory)] == [LATEST]


def test_an_unknown_reference_is_selected_alone(inventory: Inventory) -> None:
    """Its pointer may be one that cannot be read."""
    for name in (OLD, digest("never seen")):
        selection = inventory.selection(ALPINE, name)
        assert [*selection.tags, *selection.digests] == [name]
        assert inventory.drop(selection) == []


def test_a_whole_image_goes_with_all_tags_and_digests(inventory: Inventory) -> None:
    add_old(inventory, "amd64")
    inventory.set_tag(reference("arm64", LATEST, BUSYBOX))
    gone = inventory.drop(Selection(ALPINE, is_whole=True))
    assert named(gone, *ALL, "old") == {"index", "amd64", "config", "layer", "old"}
    assert [root.repository for root in roots(inventory)] == [BUSYBOX]
    assert inventory.drop(Selection(ALPINE, is_whole=True)) == []


def test_what_does_not_exist_is_dropped_without_trace(inventory: Inventory) -> None:
    assert inventory.drop(Selection(BUSYBOX, is_whole=True)) == []
    assert inventory.drop(Selection(BUSYBOX, tags=[LATEST], digests=[digest("index")])) == []
    assert BUSYBOX not in inventory.repositories()


def test_a_tag_that_moves_on_leaves_what_nothing_else_leads_to(inventory: Inventory) -> None:
    keep(inventory, "new", "layer")
    inventory.set_tag(reference("new", LATEST))
    assert inventory.graph.is_used(key("index"))
    inventory.drop(Selection(ALPINE, digests=[digest("index")]))
    inventory.drop(Selection(ALPINE, digests=[digest("amd64")]))
    assert inventory.graph.is_used(key("layer"))
    assert not inventory.graph.is_used(key("config"))
    inventory.set_tag(reference("index", LATEST))
    assert inventory.graph.is_used(key("index"))
    inventory.set_tag(reference("new", LATEST))
    assert not inventory.graph.is_used(key("index"))


def test_setting_a_reference_twice_is_setting_it_once(inventory: Inventory) -> None:
    for _ in range(2):
        inventory.set_tag(reference("index", LATEST))
        inventory.set_digest(reference("index"))
    gone = inventory.drop(inventory.selection(ALPINE, LATEST))
    assert named(gone, *ALL) == set(ALL)


# -- what stands for itself ------------------------------------------------------------------


def test_tags_and_digests_that_nothing_leads_to_stand_for_themselves(inventory: Inventory) -> None:
    keep(inventory, "loose", "layer")
    inventory.set_digest(reference("loose"))
    assert {root.reference for root in roots(inventory)} == {LATEST, digest("loose")}


def test_a_digest_that_only_another_image_leads_to_stands_for_itself(inventory: Inventory) -> None:
    inventory.set_digest(reference("amd64", repository=BUSYBOX))
    assert {(root.repository, root.reference) for root in roots(inventory)} == {
        (ALPINE, LATEST),
        (BUSYBOX, digest("amd64")),
    }


def test_a_reference_whose_manifest_is_not_on_disk_stands_for_nothing(inventory: Inventory) -> None:
    """What it led to is known no longer, so digests of it are pulled by themselves."""
    inventory.remove_blob(key("index"))
    assert {root.reference for root in roots(inventory)} == {digest("amd64"), digest("arm64")}


def test_an_index_of_indexes_leads_to_their_manifests(inventory: Inventory) -> None:
    keep(inventory, "top", "index")
    inventory.set_tag(reference("top", LATEST))
    assert [root.reference for root in roots(inventory)] == [LATEST]
    inventory.drop(Selection(ALPINE, digests=[digest("index")]))
    assert [root.reference for root in roots(inventory)] == [LATEST]
    assert len(inventory.selection(ALPINE, LATEST).digests) == 2


# -- counts ----------------------------------------------------------------------------------


def test_a_manifest_that_many_references_name_is_counted_once(inventory: Inventory) -> None:
    inventory.set_digest(reference("index", repository=BUSYBOX))
    inventory.set_tag(reference("index", OLD))
    assert inventory.counts() == (3, 3)
    assert inventory.total == sum(len(name) for name in ALL)


def test_a_manifest_of_a_tag_is_one_though_no_digest_of_the_image_names_it() -> None:
    """The digest's pointer may have been purged alone."""
    inventory = Inventory()
    keep(inventory, "manifest", "layer")
    inventory.set_tag(reference("manifest", LATEST))
    assert inventory.counts() == (1, 1)


def test_a_manifest_that_is_not_on_disk_is_not_counted(inventory: Inventory) -> None:
    inventory.remove_blob(key("arm64"))
    assert inventory.counts() == (2, 3)
    assert inventory.documents() == {key(name) for name in ("index", "amd64", "arm64")}


def test_adding_and_removing_blobs_twice_is_doing_it_once() -> None:
    inventory = Inventory()
    for _ in range(2):
        inventory.add_blob(key("blob"), 7)
    assert (inventory.total, inventory.counts()) == (7, (0, 1))
    inventory.add_blob(key("blob"), 9)
    assert inventory.total == 9
    for _ in range(2):
        inventory.remove_blob(key("blob"))
    assert (inventory.total, inventory.counts()) == (0, (0, 0))


def test_blobs_that_no_reference_leads_to_are_orphans(inventory: Inventory) -> None:
    inventory.add_blob(key("loose"), 5)
    assert orphans(inventory) == {key("loose")}
    inventory.remove_blob(key("arm64"))
    assert orphans(inventory) == {key("loose")}
    inventory.remove_blob(key("amd64"))
    assert named(orphans(inventory), "loose", *ALL) == {
        "loose",
        "config",
        "layer",
        "shared",
    }


def test_a_manifest_reaches_what_is_on_disk_of_it(inventory: Inventory) -> None:
    inventory.remove_blob(key("layer"))
    reach = inventory.reach(digest("index"))
    assert named(reach, *ALL) == set(ALL) - {"layer"}
    assert inventory.reach(digest("never seen")) == set()


# -- any picture -----------------------------------------------------------------------------

NAMES = [str(number) for number in range(8)]
TAGS = [Tag(name) for name in ("a", "b", "c")]


@dataclass(frozen=True)
class Picture:
    """Documents lead to later names only; pointers may name what is not on disk."""

    links: dict[str, list[str]]
    tags: dict[Tag, str]
    digests: list[str]

    def inventory(self) -> Inventory:
        inventory = Inventory()
        for name, links in self.links.items():
            keep(inventory, name, *links)
        for tag, name in self.tags.items():
            inventory.set_tag(reference(name, tag))
        for name in self.digests:
            inventory.set_digest(reference(name))
        return inventory


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    documents = draw(st.lists(st.sampled_from(NAMES[:6]), unique=True))
    links = {
        name: draw(st.lists(st.sampled_from(NAMES[int(name) + 1 :]), max_size=3, unique=True))
        for name in documents
    }
    tags = draw(st.dictionaries(st.sampled_from(TAGS), st.sampled_from(NAMES)))
    return Picture(links, tags, draw(st.lists(st.sampled_from(NAMES), unique=True)))


def tagged(inventory: Inventory, picture: Picture, without: Tag | None = None) -> set[Key]:
    """What tags lead to."""
    return {
        found
        for tag, name in picture.tags.items()
        if tag != without
        for found in inventory.graph.reach(key(name))
    }


@given(pictures(), st.sampled_from(TAGS))
def test_a_dropped_tag_takes_all_that_is_its_own_and_nothing_else(
    picture: Picture, tag: Tag
) -> None:
    inventory = picture.inventory()
    held = tagged(inventory, picture, without=tag)
    own = tagged(inventory, picture) - held
    expected = [name for name in picture.digests if key(name) in own]
    selection = inventory.selection(ALPINE, tag)
    assert sorted(selection.digests) == sorted(digest(name) for name in expected)
    before = {name for name in NAMES if inventory.graph.is_used(key(name))}
    gone = named(set(inventory.drop(selection)), *NAMES)
    after = {name for name in NAMES if inventory.graph.is_used(key(name))}
    assert gone == before - after
    assert held <= {key(name) for name in after}
    assert known(inventory) == set(picture.digests) - set(expected)


@given(pictures(), st.data())
def test_whatever_is_dropped_in_whichever_order_in_the_end_nothing_is_used(
    picture: Picture, data: st.DataObject
) -> None:
    inventory = picture.inventory()
    used = {name for name in NAMES if inventory.graph.is_used(key(name))}
    references: list[Tag | Digest] = [*picture.tags, *(digest(name) for name in picture.digests)]
    gone: list[Key] = []
    for name in data.draw(st.permutations(references)):
        gone += inventory.drop(inventory.selection(ALPINE, name))
    assert len(gone) == len(set(gone))
    assert named(set(gone), *NAMES) == used
    assert roots(inventory) == []
    assert orphans(inventory) == set(inventory.blobs)


@given(pictures())
def test_roots_and_orphans_together_reach_all_that_is_on_disk(picture: Picture) -> None:
    """So that whoever chooses among them can bring a tree down to nothing; what only a manifest
    that has gone missing leads to is an orphan."""
    inventory = picture.inventory()
    found = orphans(inventory)
    for root in roots(inventory):
        assert key_of(root.descriptor.digest) in inventory.blobs
        found |= inventory.reach(root.descriptor.digest)
    assert found == set(inventory.blobs)


@given(pictures())
def test_no_root_is_what_another_root_leads_to_unless_it_is_a_tag(picture: Picture) -> None:
    inventory = picture.inventory()
    found = roots(inventory)
    for root in found:
        led = inventory.reach(root.descriptor.digest) - {key_of(root.descriptor.digest)}
        assert not [
            other
            for other in found
            if isinstance(other.reference, Digest) and key_of(other.descriptor.digest) in led
        ]
