"""Lines that are ready to be copied: how to pull through a group. Pure."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from depproxy.cache.upstream_choice import DOCKER_HUB
from depproxy.config import GroupConfig
from depproxy.handlers.paths import pull_prefix
from depproxy.oci.digest import Digest

_WILDCARDS = frozenset("*?[")

_HUBS_HOST = "registry-1.docker.io"
"""Where Docker Hub's registry answers."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """``name`` of the client, ``key`` for identifiers in the page, and what comes into which
    file, or to the command line."""

    key: str
    name: str
    where: str
    text: str


def full_name(before: str, image: str, reference: str) -> str:
    """A cached image as clients name it; ``before`` is the prefix."""
    mark = "@" if isinstance(reference, Digest) else ":"
    return f"{before}/{image}{mark}{reference}"


def example(group: GroupConfig) -> str:
    """An image that the group serves: the first that ``allow`` names in full, or one of Docker Hub
    that everybody knows."""
    named = [pattern for pattern in group.allow if not _WILDCARDS & set(pattern)]
    if named:
        return f"{named[0].removeprefix('library/')}:latest"
    first = group.upstreams[0]
    if first == DOCKER_HUB:
        return "alpine:latest"
    return f"{DOCKER_HUB}/alpine:latest" if DOCKER_HUB in group.upstreams else "IMAGE:TAG"


def first_command(external_url: str, group: GroupConfig) -> str:
    """What to type to see an image appear."""
    return f"docker pull {pull_prefix(external_url, group.name)}/{example(group)}"


def snippets(external_url: str, group: GroupConfig) -> list[Snippet]:
    """For docker, Dockerfiles, GitLab CI and containerd."""
    name = f"{pull_prefix(external_url, group.name)}/{example(group)}"
    login = f"docker login {urlsplit(external_url).netloc}\n" if _is_private(group) else ""
    upstream = group.upstreams[0]
    return [
        Snippet("docker", "docker", "On the command line", f"{login}docker pull {name}"),
        Snippet("dockerfile", "Dockerfile", "In a Dockerfile", f"FROM {name}"),
        Snippet("gitlab", "GitLab CI", "In .gitlab-ci.yml", f"image: {name}"),
        Snippet(
            "containerd",
            "containerd",
            f"In /etc/containerd/certs.d/{upstream}/hosts.toml",
            _hosts_toml(external_url, group.name, upstream),
        ),
    ]


def _is_private(group: GroupConfig) -> bool:
    return group.visibility == "private"


def _hosts_toml(external_url: str, group: str, upstream: str) -> str:
    """containerd asks this server first, and the registry itself where it has no answer."""
    host = _HUBS_HOST if upstream == DOCKER_HUB else upstream
    return (
        f'server = "https://{host}"\n\n'
        f'[host."{external_url}/v2/{group}/dependency_proxy/containers"]\n'
        '  capabilities = ["pull", "resolve"]\n'
        "  override_path = true"
    )
