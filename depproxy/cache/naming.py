"""What an image is called in a group."""

from depproxy.cache.upstream_choice import DOCKER_HUB
from depproxy.config import GroupConfig
from depproxy.store.repository import Repository


def image_name(group: GroupConfig, repository: Repository) -> str:
    """What follows the pull prefix for this image: as short as it may be."""
    image = str(repository.image)
    if repository.upstream == DOCKER_HUB:
        image = image.removeprefix("library/")
    if repository.upstream == group.upstreams[0] and "." not in image.partition("/")[0]:
        return image
    return f"{repository.upstream}/{image}"
