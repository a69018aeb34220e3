"""Which images a group serves: ``allow`` and ``deny``. Pure."""

from collections.abc import Collection
from fnmatch import fnmatchcase

from depproxy.cache.upstream_choice import DOCKER_HUB, Choice
from depproxy.config import GroupConfig
from depproxy.errors import Denied


def check_image(group: GroupConfig, choice: Choice) -> None:
    """Raises `Denied`, naming the rule. ``deny`` counts before ``allow``.

    ``*`` matches slashes too. A pattern is held against every name by which the image can be asked
    for in the group, so that no other spelling is a way around it.
    """
    names = names_of(group, choice)
    image = f"{choice.upstream}/{choice.image}"
    denied = _first_match(group.deny, names)
    if denied:
        raise Denied(
            f"the group {group.name} does not serve {image}: its deny rule {denied!r} says so"
        )
    if group.allow and not _first_match(group.allow, names):
        raise Denied(
            f"the group {group.name} does not serve {image}: none of its allow rules matches"
            f" ({', '.join(group.allow)})"
        )


def names_of(group: GroupConfig, choice: Choice) -> list[str]:
    """Every name of an image in a group: with the upstream's host, and without where that is the
    group's first; with ``library/``, and without, where that is Docker Hub's."""
    short = [str(choice.image)]
    if choice.upstream == DOCKER_HUB and choice.image.startswith("library/"):
        short.append(choice.image.removeprefix("library/"))
    names = [f"{choice.upstream}/{name}" for name in short]
    return names + short if choice.upstream == group.upstreams[0] else names


def _first_match(patterns: Collection[str], names: Collection[str]) -> str | None:
    return next((p for p in patterns if any(fnmatchcase(name, p) for name in names)), None)
