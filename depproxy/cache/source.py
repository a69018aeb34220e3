"""What one request is about: an image of an upstream, in one generation of a group."""

from dataclasses import dataclass

from depproxy.config import GroupConfig
from depproxy.errors import (
    BlobUnknown,
    Denied,
    DepproxyError,
    ManifestUnknown,
    NameUnknown,
    UpstreamError,
    UpstreamNotFound,
    UpstreamRefused,
)
from depproxy.store.repository import Repository
from depproxy.store.tree import Tree
from depproxy.upstream.registry import Registry


@dataclass(frozen=True, eq=False)
class Source:
    """A group's policy, its tree, an upstream, and the image's name there.

    The tree is taken once and kept: what begins before a purge ends in what was purged.
    """

    group: GroupConfig
    tree: Tree
    registry: Registry
    repository: Repository

    def is_same_image(self, other: "Source") -> bool:
        return self.repository == other.repository

    def concerns(self, error: UpstreamError, other: "Source") -> bool:
        """Whether an error of what this source began is also an answer to ``other``: a refusal or a
        404 is about this image only, everything else about this upstream, as it was configured
        then."""
        if self.registry is not other.registry:
            return False
        if self.is_same_image(other):
            return True
        return not isinstance(error, UpstreamNotFound | UpstreamRefused)

    def unknown(self, kind: "type[ManifestUnknown | BlobUnknown]") -> DepproxyError:
        """The upstream says 404."""
        if kind is ManifestUnknown:
            return kind(
                f"{self.registry.name} has no such manifest of {self.name}: check name and tag"
            )
        return kind(f"{self.registry.name} has no such blob of {self.name}: pull the tag anew")

    def told(
        self, error: UpstreamError, kind: "type[ManifestUnknown | BlobUnknown]"
    ) -> DepproxyError:
        """What a client without a cached answer is told of an upstream's error."""
        if isinstance(error, UpstreamNotFound):
            return self.unknown(kind)
        if isinstance(error, UpstreamRefused) and not self.registry.is_anonymous:
            return Denied(
                f"{self.registry.name} does not give {self.name} to the configured user: the name"
                f" is wrong, or the credentials do not allow it ({error})"
            )
        if isinstance(error, UpstreamRefused):
            return NameUnknown(
                f"{self.registry.name} does not give {self.name} to anonymous users: the name is"
                " wrong, or the image is private there"
            )
        return error

    @property
    def name(self) -> str:
        """The image with its upstream, for people."""
        return f"{self.repository.upstream}/{self.repository.image}"
