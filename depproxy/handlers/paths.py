"""The paths below ``/v2/``: pure.

The first ``/dependency_proxy/containers/`` ends the group; the last ``/manifests/``, ``/blobs/``,
``/tags/list`` or ``/referrers/`` ends the image. Names are decoded after they were cut apart, so an
encoded slash never makes a new segment.
"""

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote, urlsplit

from depproxy.errors import NameInvalid
from depproxy.oci.digest import Digest, parse_reference
from depproxy.oci.names import GroupName, ImageName, Tag

_MARK = "/dependency_proxy/containers/"
_KINDS = ("manifests", "blobs", "referrers")


def pull_prefix(external_url: str, group: str) -> str:
    """What stands before an image: ``cache.example.org/acme/dependency_proxy/containers``."""
    return f"{urlsplit(external_url).netloc}/{group}{_MARK}".removesuffix("/")


@dataclass(frozen=True)
class RegistryPath:
    """``group`` is None on the mirror's paths; ``image`` may begin with an upstream's host."""

    group: GroupName | None
    image: str
    reference: str

    @cached_property
    def name(self) -> str:
        """The repository's name as the client has it."""
        return self.image if self.group is None else f"{self.group}{_MARK}{self.image}"

    @cached_property
    def manifest(self) -> Tag | Digest:
        """The reference of a manifest. Raises `TagInvalid` and `DigestInvalid`."""
        return parse_reference(self.reference)

    @cached_property
    def digest(self) -> Digest:
        """The reference of what has no tags. Raises `DigestInvalid`."""
        return Digest.parse(self.reference)


def resource_kind(path: str) -> str | None:
    """``manifests``, ``blobs``, ``referrers`` or ``tags``: what an undecoded path asks for."""
    return _cut(path)[1]


def parse_registry_path(path: str) -> RegistryPath:
    """Take apart a request's undecoded path. Raises `NameInvalid`."""
    name, kind, reference = _cut(path)
    if kind is None:
        raise NameInvalid("the path names no image")
    group, image = _group_and_image(name)
    return RegistryPath(
        None if group is None else GroupName.parse(_decoded(group)),
        _decoded(image),
        unquote(reference, errors="replace"),
    )


def parse_repository_name(name: str) -> RegistryPath:
    """Take apart a repository's name as tokens have it: like a path, and not encoded. Raises
    `NameInvalid`."""
    group, image = _group_and_image(name)
    return RegistryPath(
        None if group is None else GroupName.parse(group), ImageName.parse(image), ""
    )


def _group_and_image(name: str) -> tuple[str | None, str]:
    """The group is None on the mirror's paths. A name may end where a group's image would begin."""
    group, mark, image = f"/{name}/".partition(_MARK)
    return (group.removeprefix("/"), image.removesuffix("/")) if mark else (None, name)


def _cut(path: str) -> tuple[str, str | None, str]:
    """The name, the kind of resource, and what follows it."""
    rest = path.removeprefix("/v2/")
    if rest == path:
        return "", None, ""
    if rest.endswith("/tags/list"):
        return rest.removesuffix("/tags/list"), "tags", ""
    position, kind = max((rest.rfind(f"/{kind}/"), kind) for kind in _KINDS)
    if position < 0:
        return "", None, ""
    return rest[:position], kind, rest[position + len(kind) + 2 :]


def _decoded(name: str) -> str:
    decoded = unquote(name, errors="replace")
    if decoded.count("/") != name.count("/"):
        raise NameInvalid("a name contains an encoded slash")
    return decoded
