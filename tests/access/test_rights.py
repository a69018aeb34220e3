"""What readers, owners, the admin and everybody else may do in a public and a private group."""

import pytest

from depproxy.access.rights import is_public, may_purge, may_read
from depproxy.access.visitor import ADMIN, ANONYMOUS, Visitor
from depproxy.config import GroupConfig
from depproxy.oci.names import GroupName

PUBLIC = GroupConfig(GroupName("open"), readers=("rita",), owners=("otto",))
PRIVATE = GroupConfig(
    GroupName("closed"), visibility="private", readers=("rita",), owners=("otto",)
)
DOUBTFUL = Visitor(is_doubtful=True)
VOUCHED = Visitor(is_vouched=True)


def test_a_group_is_public_or_private() -> None:
    assert is_public(PUBLIC)
    assert not is_public(PRIVATE)


@pytest.mark.parametrize(
    ("visitor", "reads_private", "purges"),
    [
        (ANONYMOUS, False, False),
        (DOUBTFUL, False, False),
        (VOUCHED, False, False),
        (Visitor("mallory"), False, False),
        (Visitor("Rita"), False, False),
        (Visitor("rita"), True, False),
        (Visitor("otto"), True, True),
        (ADMIN, True, True),
    ],
)
def test_readers_read_owners_also_purge_and_everybody_reads_what_is_public(
    visitor: Visitor, reads_private: bool, purges: bool
) -> None:
    assert may_read(PUBLIC, visitor)
    assert may_read(PRIVATE, visitor) == reads_private
    assert (may_purge(PUBLIC, visitor), may_purge(PRIVATE, visitor)) == (purges, purges)


@pytest.mark.parametrize("visitor", [ANONYMOUS, VOUCHED, Visitor("mallory")])
def test_a_private_group_that_names_nobody_is_the_admins(visitor: Visitor) -> None:
    group = GroupConfig(GroupName("closed"), visibility="private")
    assert not may_read(group, visitor)
    assert not may_purge(group, visitor)
    assert may_read(group, ADMIN)
    assert may_purge(group, ADMIN)
