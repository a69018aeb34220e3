"""What a visitor may do in a group that exists. Pure."""

from depproxy.access.visitor import Visitor
from depproxy.config import GroupConfig


def is_public(group: GroupConfig) -> bool:
    return group.visibility == "public"


def may_read(group: GroupConfig, visitor: Visitor) -> bool:
    """Whether he may see what is in the group. The admin token may; it does not pull, which its
    holder cannot ask for: ``/v2/`` does not look at it."""
    return (
        is_public(group)
        or visitor.is_admin
        or visitor.user in group.readers
        or visitor.user in group.owners
    )


def may_purge(group: GroupConfig, visitor: Visitor) -> bool:
    """Whether he may clear the group."""
    return visitor.is_admin or visitor.user in group.owners
