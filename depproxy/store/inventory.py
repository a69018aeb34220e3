"""What a tree holds, as one picture in memory: blobs, references, and what leads to what. Pure."""

from dataclasses import dataclass, field

from depproxy.oci.digest import Digest
from depproxy.oci.manifest import Descriptor
from depproxy.oci.names import Tag
from depproxy.store.graph import Graph, Key
from depproxy.store.repository import Repository


@dataclass(frozen=True, slots=True)
class Reference:
    """A tag or a digest by which an image can be pulled, and the manifest that it means.

    ``cached`` is when that came to disk, in seconds since the epoch; ``is_gone``: the upstream has
    answered 404 for the tag since.
    """

    repository: Repository
    reference: Tag | Digest
    descriptor: Descriptor
    cached: float
    is_gone: bool = False


def key_of(digest: Digest) -> Key:
    return bytes.fromhex(digest.hex)


def digest_of(key: Key) -> Digest:
    return Digest(f"{'sha256' if len(key) == 32 else 'sha512'}:{key.hex()}")


@dataclass(slots=True)
class Selection:
    """References of one image that go together; ``is_whole``: all that the image has."""

    repository: Repository
    tags: list[Tag] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    is_whole: bool = False


class Inventory:
    """Adding twice is adding once, so that a walk and what happens meanwhile cannot disagree."""

    def __init__(self) -> None:
        self.blobs: dict[Key, int] = {}
        self.total = 0
        self.graph = Graph()
        self.manifests: set[Key] = set()
        self._tags: dict[Repository, dict[Tag, Reference]] = {}
        self._digests: dict[Repository, dict[Digest, Reference]] = {}

    # -- what is there -----------------------------------------------------------------------

    def add_blob(self, key: Key, size: int) -> None:
        """A file of ``size`` bytes has this digest's name."""
        self.total += size - self.blobs.get(key, 0)
        self.blobs[key] = size

    def remove_blob(self, key: Key) -> None:
        """It has no file any more, and what it led to may have lost its last use."""
        self.total -= self.blobs.pop(key, 0)
        self.graph.forget(key)

    def set_tag(self, reference: Reference) -> None:
        """A tag means this now."""
        tags = self._tags.setdefault(reference.repository, {})
        assert isinstance(reference.reference, Tag)
        old = tags.get(reference.reference)
        tags[reference.reference] = reference
        self.graph.point(key_of(reference.descriptor.digest))
        if old:
            self.graph.unpoint(key_of(old.descriptor.digest))

    def set_digest(self, reference: Reference) -> None:
        """An image knows a manifest by its digest."""
        digests = self._digests.setdefault(reference.repository, {})
        digest = reference.descriptor.digest
        if digest not in digests:
            self.graph.point(key_of(digest))
        digests[digest] = reference
        self.manifests.add(key_of(digest))

    def drop(self, selection: Selection) -> list[Key]:
        """References have gone; returns what nothing leads to any more."""
        tags = self._tags.get(selection.repository, {})
        digests = self._digests.get(selection.repository, {})
        gone = [
            tags.pop(tag, None) for tag in (list(tags) if selection.is_whole else selection.tags)
        ]
        gone += [
            digests.pop(digest, None)
            for digest in (list(digests) if selection.is_whole else selection.digests)
        ]
        unused: dict[Key, None] = {}
        for reference in filter(None, gone):
            unused.update(dict.fromkeys(self.graph.unpoint(key_of(reference.descriptor.digest))))
        return [key for key in unused if not self.graph.is_used(key)]

    # -- questions ---------------------------------------------------------------------------

    def unused_without(self, selection: Selection) -> list[Key]:
        """What `drop` would return; changes nothing."""
        tags = self._tags.get(selection.repository, {})
        digests = self._digests.get(selection.repository, {})
        chosen = [
            *(tags.get(tag) for tag in (tags if selection.is_whole else selection.tags)),
            *(digests.get(name) for name in (digests if selection.is_whole else selection.digests)),
        ]
        return self.graph.unused_without(
            key_of(reference.descriptor.digest) for reference in chosen if reference
        )

    def counts(self) -> tuple[int, int]:
        """Distinct manifest documents, and the other blobs."""
        manifests = sum(1 for key in self.graph if key in self.blobs)
        return manifests, len(self.blobs) - manifests

    def documents(self) -> set[Key]:
        """Every manifest that a reference names."""
        return self.manifests | {
            key_of(tag.descriptor.digest) for tags in self._tags.values() for tag in tags.values()
        }

    def repositories(self) -> list[Repository]:
        """The images that have, or once had, a reference."""
        return list(dict.fromkeys((*self._tags, *self._digests)))

    def roots(self, repository: Repository, *, only_cached: bool = True) -> list[Reference]:
        """The references of an image that stand for themselves: tags, and digests that no other
        reference of it leads to. ``only_cached``: whose manifest is on disk."""
        tags = list(self._tags.get(repository, {}).values())
        digests = list(self._digests.get(repository, {}).values())
        led = {key_of(tag.descriptor.digest) for tag in tags}
        for known in (*tags, *digests):
            key = key_of(known.descriptor.digest)
            led |= self.graph.reach(key) - {key}
        return [
            known
            for known in (*tags, *digests)
            if ((key := key_of(known.descriptor.digest)) in self.blobs or not only_cached)
            and (key not in led or isinstance(known.reference, Tag))
        ]

    def selection(self, repository: Repository, reference: Tag | Digest) -> Selection:
        """The reference, with those digests of its image that it leads to and no other tag does."""
        tags = self._tags.get(repository, {})
        digests = self._digests.get(repository, {})
        if isinstance(reference, Tag):
            known = tags.get(reference)
            chosen = Selection(repository, tags=[reference])
        else:
            known = digests.get(reference)
            chosen = Selection(repository, digests=[reference])
        if known is None:
            return chosen
        held: set[Key] = set()
        for tag, other in tags.items():
            if tag != reference:
                held |= self.graph.reach(key_of(other.descriptor.digest))
        led = self.graph.reach(key_of(known.descriptor.digest)) - held
        chosen.digests += [
            digest for digest in digests if key_of(digest) in led and digest != reference
        ]
        return chosen

    def reach(self, digest: Digest) -> set[Key]:
        """What a manifest leads to and is on disk, the manifest itself included."""
        return {key for key in self.graph.reach(key_of(digest)) if key in self.blobs}
