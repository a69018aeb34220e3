"""Which upstream and which image a request means: pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from depproxy.config import GroupConfig, UpstreamConfig
from depproxy.errors import NameInvalid, NameUnknown
from depproxy.oci.names import ImageName

DOCKER_HUB = "docker.io"
"""The upstream whose official images have a name without an organisation."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An upstream by its key in the configuration, and the image as that upstream calls it."""

    upstream: str
    image: ImageName


class UpstreamNames:
    """The keys and aliases of all upstreams, compared whole; ``:443`` may be left out."""

    def __init__(self, upstreams: Mapping[str, UpstreamConfig]) -> None:
        self._owners = {
            _plain(name): upstream.name
            for upstream in upstreams.values()
            for name in (*upstream.aliases, upstream.name)
        }

    def hosts(self, upstream: str) -> list[str]:
        """An upstream's name and its aliases."""
        return [host for host, owner in self._owners.items() if owner == upstream]

    def owner(self, host: str) -> str | None:
        """The upstream that ``host`` names."""
        return self._owners.get(_plain(host))

    def choose(
        self,
        group: GroupConfig,
        name: str,
        ns: str | None,
        own_hosts: Collection[str],
        default: str | None = None,
    ) -> Choice:
        """What ``name``, the image of a path, means in a group.

        ``default`` is the upstream of a name without a host; None: the group's first.
        ``ns`` is what containerd says that it wants (None where it says nothing); one of
        ``own_hosts`` means this server, and counts as none. An upstream is never guessed: an image
        of another registry under the asked name would be a dependency confusion.

        Raises `NameInvalid`, and `NameUnknown` naming the upstreams that the group has.
        """
        ImageName.parse(name)
        first, _, rest = name.partition("/")
        if ns and not is_own_host(ns, own_hosts):
            upstream = self._known(group, ns)
            prefix = self.owner(first)
            if prefix is not None and prefix != upstream:
                raise NameUnknown(f"the request names two upstreams, ns={ns[:100]} and {first}")
            image = rest if prefix is not None else name
        elif "." in first:
            upstream, image = self._known(group, first), rest
        else:
            upstream, image = self._known(group, default or group.upstreams[0]), name
        if not image:
            raise NameInvalid(
                f"the name ends after the upstream's host, {first}: the image is missing"
            )
        return Choice(upstream, _canonical(upstream, image))

    def choose_stored(self, group: GroupConfig, name: str) -> Choice:
        """As `choose`, also for an image of an upstream that the group no longer has: what is on
        disk can still be named. Raises `NameInvalid`."""
        try:
            return self.choose(group, name, None, ())
        except NameUnknown:
            host, _, image = name.partition("/")
            upstream = self.owner(host) or host
            return Choice(upstream, _canonical(upstream, image))

    def _known(self, group: GroupConfig, host: str) -> str:
        upstream = self.owner(host)
        if upstream is None or upstream not in group.upstreams:
            raise NameUnknown(
                f"the group {group.name} has no upstream {host[:100]!r};"
                f" it has {', '.join(group.upstreams)}"
            )
        return upstream


def is_own_host(ns: str, own_hosts: Collection[str]) -> bool:
    """Whether ``ns`` means this server itself."""
    return _plain(ns) in {_plain(host) for host in own_hosts}


def _plain(host: str) -> str:
    return host.lower().removesuffix(":443")


def _canonical(upstream: str, image: str) -> ImageName:
    """``alpine`` and ``library/alpine`` of Docker Hub are one image."""
    if upstream == DOCKER_HUB and "/" not in image:
        image = f"library/{image}"
    return ImageName.parse(image)
