"""The gate: who is let in, what each visitor may do in which group, and what goes into a token."""

import asyncio
from pathlib import Path

import pytest

from depproxy.access.admin import AdminToken
from depproxy.access.gate import Gate, Scope
from depproxy.access.htpasswd import with_user
from depproxy.access.tokens import Tokens
from depproxy.access.users import Users
from depproxy.access.users_file import change_users_file
from depproxy.access.visitor import ADMIN, ANONYMOUS, Bearer, Password, Visitor
from depproxy.config import GroupConfig
from depproxy.errors import GroupUnknown, NoMirror, NotPermitted, Unauthenticated
from depproxy.oci.names import GroupName
from tests.access.fakes import (
    ALICES,
    ALICES_HASH,
    ALICES_NEXT_HASH,
    BOBS,
    BOBS_HASH,
    Clock,
    users_file,
)

ADMINS = "the admin's token"
HERE = "192.0.2.1"
OPEN, CLOSED, MISSING = GroupName("open"), GroupName("closed"), GroupName("missing")
GROUPS: dict[str, GroupConfig] = {
    OPEN: GroupConfig(OPEN, owners=("bob",)),
    CLOSED: GroupConfig(CLOSED, visibility="private", readers=("alice",), owners=("bob",)),
}
ALICE, BOB, MALLORY = (Visitor(name, is_vouched=True) for name in ("alice", "bob", "mallory"))
DOUBTFUL = Visitor(is_doubtful=True)
VOUCHED = Visitor(repositories=frozenset({"open/x", "closed/x"}), is_vouched=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """``mallory`` exists here, too: he may do nothing."""
    return users_file(tmp_path, alice=ALICES_HASH, bob=BOBS_HASH, mallory=BOBS_HASH)


def make_gate(users: Users | None, clock: Clock, mirror: GroupName | None = None) -> Gate:
    tokens = Tokens("secret", "https://proxy.example.org", 900, clock)
    return Gate(GROUPS, mirror, AdminToken(ADMINS), tokens, users)


@pytest.fixture
def gate(users: Users, clock: Clock) -> Gate:
    return make_gate(users, clock)


@pytest.fixture
def gate_without_users(clock: Clock) -> Gate:
    return make_gate(None, clock)


def scope(group: GroupName | None) -> Scope:
    return Scope(group, f"{group}/x" if group else "x")


def visitor(gate: Gate, presented: Password | Bearer | None) -> Visitor:
    return asyncio.run(gate.visitor(presented, HERE))


def sign_in(gate: Gate, password: Password | None) -> str:
    return asyncio.run(gate.sign_in(password, HERE))


def test_without_users_every_group_is_open(gate_without_users: Gate) -> None:
    assert not gate_without_users.has_users
    for group in (OPEN, CLOSED, MISSING, None):
        assert gate_without_users.is_open(group)
        gate_without_users.check_pull(scope(group), ANONYMOUS)


def test_with_users_only_public_groups_are_open(gate: Gate) -> None:
    assert gate.has_users
    assert gate.is_open(OPEN)
    assert not gate.is_open(CLOSED)
    assert not gate.is_open(MISSING)


@pytest.mark.parametrize(("mirror", "is_open"), [(None, True), (OPEN, True), (CLOSED, False)])
def test_mirror_paths_are_as_open_as_their_group(
    users: Users, clock: Clock, mirror: GroupName | None, is_open: bool
) -> None:
    """Without one they lead nowhere, which nobody has to sign in for."""
    assert make_gate(users, clock, mirror).is_open(None) == is_open


def test_who_presents_nothing_or_a_wrong_password_is_anonymous(gate: Gate) -> None:
    assert visitor(gate, None) == ANONYMOUS
    assert visitor(gate, Password("alice", "wrong")) == ANONYMOUS
    assert visitor(gate, Password("nobody", ALICES)) == ANONYMOUS


def test_who_presents_his_password_is_a_user_with_no_limit(gate: Gate) -> None:
    assert visitor(gate, Password("alice", ALICES)) == ALICE


def test_without_users_no_password_is_right(gate_without_users: Gate) -> None:
    assert visitor(gate_without_users, Password("alice", ALICES)) == ANONYMOUS


def test_a_token_makes_its_user_a_visitor_of_its_repositories(gate: Gate) -> None:
    text = gate.issue("alice", [scope(CLOSED)]).text
    assert visitor(gate, Bearer(text)) == Visitor(
        "alice", repositories=frozenset({"closed/x"}), is_vouched=True
    )
    anonymous = gate.issue("", [scope(OPEN)]).text
    assert visitor(gate, Bearer(anonymous)) == Visitor(
        repositories=frozenset({"open/x"}), is_vouched=True
    )


@pytest.mark.parametrize("text", ["", "garbage", "e30.e30.", ADMINS])
def test_what_is_no_token_of_ours_makes_a_doubtful_visitor(gate: Gate, text: str) -> None:
    assert visitor(gate, Bearer(text)) == DOUBTFUL


def test_a_token_that_expired_makes_a_doubtful_visitor(gate: Gate, clock: Clock) -> None:
    text = gate.issue("alice", []).text
    clock.now += 900
    assert visitor(gate, Bearer(text)) == DOUBTFUL


@pytest.mark.parametrize("stored", [None, ALICES_NEXT_HASH])
def test_a_token_falls_with_its_users_password(gate: Gate, file: Path, stored: str | None) -> None:
    alices, bobs = gate.issue("alice", []).text, gate.issue("bob", []).text
    change_users_file(file, lambda text: with_user(text, "alice", stored))
    assert visitor(gate, Bearer(alices)) == DOUBTFUL
    assert visitor(gate, Bearer(bobs)).user == "bob"


def test_a_token_of_a_user_is_nothing_where_there_are_no_users_any_more(
    gate: Gate, gate_without_users: Gate
) -> None:
    assert visitor(gate_without_users, Bearer(gate.issue("alice", []).text)) == DOUBTFUL
    assert visitor(gate_without_users, Bearer(gate.issue("", []).text)).is_vouched


@pytest.mark.parametrize("presented", [ADMINS, f" {ADMINS} \n"])
def test_the_admin_token_makes_the_admin(gate: Gate, presented: str) -> None:
    assert gate.admin(presented) == ADMIN


@pytest.mark.parametrize("presented", [None, "", " ", "wrong", ADMINS[:-1], ADMINS + "x", "\udcff"])
def test_nothing_else_makes_the_admin(gate: Gate, presented: str | None) -> None:
    assert gate.admin(presented) is None


@pytest.mark.parametrize("who", [ANONYMOUS, DOUBTFUL, VOUCHED, ALICE, BOB, MALLORY])
def test_everybody_pulls_from_a_public_group_whatever_he_presents(gate: Gate, who: Visitor) -> None:
    gate.check_pull(scope(OPEN), who)
    gate.check_pull(Scope(OPEN, "open/other"), who)


@pytest.mark.parametrize("who", [ALICE, BOB])
def test_readers_and_owners_pull_from_a_private_group(gate: Gate, who: Visitor) -> None:
    gate.check_pull(scope(CLOSED), who)


@pytest.mark.parametrize("group", [CLOSED, MISSING])
@pytest.mark.parametrize(
    ("who", "reason"), [(ANONYMOUS, None), (VOUCHED, None), (DOUBTFUL, "invalid_token")]
)
def test_who_is_unknown_is_asked_alike_for_a_private_and_a_missing_group(
    gate: Gate, group: GroupName, who: Visitor, reason: str | None
) -> None:
    words = []
    for check in (lambda: gate.check_pull(scope(group), who), lambda: gate.check_read(group, who)):
        with pytest.raises(Unauthenticated) as caught:
            check()
        assert caught.value.reason == reason
        words.append(str(caught.value))
    assert set(words) == {"sign in, as by 'docker login': the group is private, or does not exist"}


def test_a_user_without_the_right_learns_of_a_private_group_what_he_learns_of_a_missing_one(
    gate: Gate,
) -> None:
    for group in (CLOSED, MISSING):
        for check in (
            lambda group=group: gate.check_pull(scope(group), MALLORY),
            lambda group=group: gate.check_read(group, MALLORY),
            lambda group=group: gate.check_purge(group, MALLORY),
        ):
            with pytest.raises(GroupUnknown) as caught:
                check()
            assert str(caught.value) == str(GroupUnknown(group))


def test_a_token_pulls_only_what_it_is_for(gate: Gate) -> None:
    token = Visitor("alice", repositories=frozenset({"closed/x"}), is_vouched=True)
    gate.check_pull(scope(CLOSED), token)
    with pytest.raises(Unauthenticated, match="closed/y") as caught:
        gate.check_pull(Scope(CLOSED, "closed/y"), token)
    assert caught.value.reason == "insufficient_scope"


def test_a_token_keeps_no_right_that_its_user_lost(gate: Gate) -> None:
    token = Visitor("mallory", repositories=frozenset({"closed/x"}), is_vouched=True)
    with pytest.raises(GroupUnknown):
        gate.check_pull(scope(CLOSED), token)


def test_a_private_mirror_asks_who_comes_by_mirror_paths(users: Users, clock: Clock) -> None:
    gate = make_gate(users, clock, CLOSED)
    gate.check_pull(scope(None), ALICE)
    with pytest.raises(Unauthenticated):
        gate.check_pull(scope(None), ANONYMOUS)
    with pytest.raises(NoMirror):
        gate.check_pull(scope(None), MALLORY)


def test_who_may_read_gets_the_group(gate: Gate, gate_without_users: Gate) -> None:
    assert gate.check_read(OPEN, ANONYMOUS) is GROUPS[OPEN]
    for who in (ALICE, BOB, ADMIN):
        assert gate.check_read(CLOSED, who) is GROUPS[CLOSED]
    assert gate_without_users.check_read(CLOSED, ANONYMOUS) is GROUPS[CLOSED]


def test_what_does_not_exist_is_unknown_to_the_admin_and_where_there_are_no_users(
    gate: Gate, gate_without_users: Gate
) -> None:
    with pytest.raises(GroupUnknown):
        gate.check_read(MISSING, ADMIN)
    with pytest.raises(GroupUnknown):
        gate_without_users.check_read(MISSING, ANONYMOUS)


@pytest.mark.parametrize("group", [OPEN, CLOSED])
def test_owners_and_the_admin_purge(gate: Gate, gate_without_users: Gate, group: GroupName) -> None:
    assert gate.check_purge(group, BOB) is GROUPS[group]
    assert gate.check_purge(group, ADMIN) is GROUPS[group]
    assert gate_without_users.check_purge(group, ADMIN) is GROUPS[group]


@pytest.mark.parametrize("group", [OPEN, CLOSED, MISSING])
@pytest.mark.parametrize("who", [ANONYMOUS, DOUBTFUL, VOUCHED])
def test_to_purge_one_has_to_be_known_whatever_the_group(
    gate: Gate, gate_without_users: Gate, group: GroupName, who: Visitor
) -> None:
    for each in (gate, gate_without_users):
        with pytest.raises(Unauthenticated):
            each.check_purge(group, who)


@pytest.mark.parametrize(("group", "who"), [(OPEN, ALICE), (OPEN, MALLORY), (CLOSED, ALICE)])
def test_who_may_only_read_is_not_permitted_to_purge(
    gate: Gate, group: GroupName, who: Visitor
) -> None:
    with pytest.raises(NotPermitted, match=who.user):
        gate.check_purge(group, who)


def test_a_missing_group_is_not_purged(gate: Gate, gate_without_users: Gate) -> None:
    for each in (gate, gate_without_users):
        with pytest.raises(GroupUnknown):
            each.check_purge(MISSING, ADMIN)
    with pytest.raises(GroupUnknown):
        gate.check_purge(MISSING, BOB)


def test_signing_in_tells_the_user(gate: Gate) -> None:
    assert sign_in(gate, None) == ""
    assert sign_in(gate, Password("bob", BOBS)) == "bob"


@pytest.mark.parametrize("password", [Password("bob", ALICES), Password("", "")])
def test_wrong_credentials_sign_nobody_in(
    gate: Gate, gate_without_users: Gate, password: Password
) -> None:
    for each in (gate, gate_without_users):
        with pytest.raises(Unauthenticated):
            sign_in(each, password)


MIRRORED, NAMED = Scope(None, "library/alpine"), Scope(OPEN, "open/x")


@pytest.mark.parametrize(
    ("mirror", "scopes", "is_only"),
    [
        (OPEN, [MIRRORED], True),
        (OPEN, [MIRRORED, MIRRORED], True),
        (OPEN, [], False),
        (OPEN, [None], False),
        (OPEN, [MIRRORED, None], False),
        (OPEN, [MIRRORED, NAMED], False),
        (OPEN, [NAMED], False),
        (CLOSED, [MIRRORED], False),
        (MISSING, [MIRRORED], False),
        (None, [MIRRORED], False),
    ],
)
def test_only_requests_for_nothing_but_a_public_mirror_pass_by_the_passwords(
    users: Users,
    clock: Clock,
    mirror: GroupName | None,
    scopes: list[Scope | None],
    is_only: bool,
) -> None:
    assert make_gate(users, clock, mirror).is_mirror_only(scopes) == is_only


@pytest.mark.parametrize(
    ("user", "granted"),
    [
        ("", {"open/x"}),
        ("mallory", {"open/x"}),
        ("alice", {"open/x", "closed/x"}),
        ("bob", {"open/x", "closed/x"}),
    ],
)
def test_a_token_leaves_out_what_its_user_may_not_have_and_what_does_not_exist(
    gate: Gate, user: str, granted: set[str]
) -> None:
    asked = [scope(OPEN), None, scope(CLOSED), scope(MISSING), scope(None), scope(OPEN)]
    found = visitor(gate, Bearer(gate.issue(user, asked).text))
    assert (found.user, found.repositories) == (user, frozenset(granted))


@pytest.mark.parametrize(
    ("mirror", "user", "granted"),
    [(OPEN, "", {"x"}), (CLOSED, "", set()), (CLOSED, "mallory", set()), (CLOSED, "alice", {"x"})],
)
def test_a_token_for_mirror_paths_rests_on_the_mirrors_group(
    users: Users, clock: Clock, mirror: GroupName, user: str, granted: set[str]
) -> None:
    gate = make_gate(users, clock, mirror)
    found = visitor(gate, Bearer(gate.issue(user, [scope(None)]).text))
    assert found.repositories == frozenset(granted)


def test_a_token_names_no_repository_twice(gate: Gate) -> None:
    """It travels in a header."""
    once, twice = (gate.issue("", [scope(OPEN)] * times).text for times in (1, 2))
    assert twice == once


def test_a_user_who_was_removed_meanwhile_gets_an_anonymous_token(gate: Gate, file: Path) -> None:
    change_users_file(file, lambda text: with_user(text, "alice", None))
    found = visitor(gate, Bearer(gate.issue("alice", [scope(OPEN), scope(CLOSED)]).text))
    assert found == Visitor(repositories=frozenset({"open/x"}), is_vouched=True)


def test_what_is_presented_hides_its_secret() -> None:
    shown = repr([Password("alice", ALICES), Bearer("a.b.c"), AdminToken(ADMINS)])
    assert ALICES not in shown
    assert "a.b.c" not in shown
    assert ADMINS not in shown
