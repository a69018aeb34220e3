"""Which images a group serves, by whatever name they are asked for."""

import pytest

from depproxy.cache.image_policy import check_image
from depproxy.cache.upstream_choice import DOCKER_HUB, Choice
from depproxy.config import GroupConfig
from depproxy.errors import Denied
from depproxy.oci.names import GroupName, ImageName

ALPINE = Choice(DOCKER_HUB, ImageName("library/alpine"))
HUB_FIRST, HUB_SECOND = (DOCKER_HUB, "quay.io"), ("quay.io", DOCKER_HUB)


def is_served(
    upstreams: tuple[str, ...], *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()
) -> bool:
    group = GroupConfig(GroupName("acme"), upstreams=upstreams, allow=allow, deny=deny)
    try:
        check_image(group, ALPINE, [DOCKER_HUB, "index.docker.io"])
    except Denied:
        return False
    return True


@pytest.mark.parametrize("upstreams", [HUB_FIRST, HUB_SECOND])
@pytest.mark.parametrize(
    "pattern", ["alpine", "library/alpine", "docker.io/alpine", "index.docker.io/library/*", "*"]
)
def test_no_spelling_is_a_way_around_a_deny_rule(upstreams: tuple[str, ...], pattern: str) -> None:
    assert is_served(upstreams)
    assert not is_served(upstreams, deny=(pattern,))
    assert not is_served(upstreams, allow=("*",), deny=(pattern,))


@pytest.mark.parametrize(
    ("upstreams", "served"), [(HUB_FIRST, True), (HUB_SECOND, False)], ids=["first", "second"]
)
def test_a_short_name_is_allowed_only_where_it_means_the_image(
    upstreams: tuple[str, ...], served: bool
) -> None:
    """Elsewhere it is the name of another upstream's image."""
    assert is_served(upstreams, allow=("alpine",)) == served
    assert is_served(upstreams, allow=("docker.io/alpine",))
