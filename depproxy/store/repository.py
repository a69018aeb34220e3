"""An image of an upstream, as a tree files it."""

from dataclasses import dataclass

from depproxy.oci.digest import Digest
from depproxy.oci.names import ImageName, Tag


@dataclass(frozen=True, slots=True)
class Repository:
    """``docker.io`` and ``library/alpine``."""

    upstream: str
    image: ImageName

    @property
    def folder(self) -> str:
        """Where its pointers are, relative to the tree. ``-`` is no part of an image's name."""
        return f"manifests/{self.upstream}/{self.image}/-"

    def path(self, reference: Tag | Digest, suffix: str) -> str:
        """Where a file about one of its references is, relative to the tree: ``.json`` is its
        pointer, ``.times`` lies beside that."""
        if isinstance(reference, Digest):
            return f"{self.folder}/digests/{reference.algorithm}/{reference.hex}{suffix}"
        return f"{self.folder}/tags/{reference}{suffix}"

    def __str__(self) -> str:
        return f"{self.upstream}/{self.image}"


def repository_of(folder: str) -> Repository | None:
    """The repository whose pointers are in this folder; None where it is none's."""
    top, _, rest = folder.partition("/")
    upstream, _, image = rest.removesuffix("/-").partition("/")
    if top != "manifests" or not rest.endswith("/-") or not image:
        return None
    return Repository(upstream, ImageName(image))
