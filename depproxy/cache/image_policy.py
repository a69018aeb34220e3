"""Which images a group serves: ``allow`` and ``deny``. Pure."""

from collections.abc import Collection
from fnmatch import fnmatchcase

from depproxy.cache.upstream_choice import DOCKER_HUB, Choice
from depproxy.config import GroupConfig
from depproxy.errors import Denied


def check_image(group: GroupConfig, choice: Choice, hosts: Collection[str]) -> None:
    """Raises `Denied`, naming the rule. ``deny`` counts before ``allow``.

    ``hosts`` are the upstream's name and its aliases. ``*`` matches slashes too. A pattern is held
    against every name by which the image can be asked for, so that no spelling is a way around it;
    Docker Hub's short names count for ``deny`` even where they mean another upstream in the group.
    """
    names = names_of(group, choice, hosts)
    image = f"{choice.upstream}/{choice.image}"
    denied = _first_match(group.deny, {*names, *_short_names(choice)})
    if denied:
        raise Denied(
            f"the group {group.name} does not serve {image}: its deny rule {denied!r} says so"
        )
    if group.allow and not _first_match(group.allow, names):
        raise Denied(
            f"the group {group.name} does not serve {image}: none of its allow rules matches"
            f" ({', '.join(group.allow)})"
        )


def names_of(group: GroupConfig, choice: Choice, hosts: Collection[str]) -> set[str]:
    """Every name of an image in a group: with the upstream's hosts, and without where it is the
    group's first; with ``library/``, and without, where that is Docker Hub's."""
    short = {str(choice.image), *_short_names(choice)}
    names = {f"{host}/{name}" for host in hosts for name in short}
    return names | short if choice.upstream == group.upstreams[0] else names


def _short_names(choice: Choice) -> set[str]:
    """What Docker users call an image of Docker Hub."""
    if choice.upstream != DOCKER_HUB:
        return set()
    return {str(choice.image), choice.image.removeprefix("library/")}


def _first_match(patterns: Collection[str], names: Collection[str]) -> str | None:
    return next((p for p in patterns if any(fnmatchcase(name, p) for name in names)), None)
