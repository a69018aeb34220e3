"""An htpasswd file: who stands in it, which of its lines count, how one of them is changed."""

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.access.htpasswd import cost, parse_users, with_user
from depproxy.config.values import is_user
from tests.access.fakes import ALICES_HASH, BOBS_HASH, BY_APACHE, CAROLS, DAVES

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]))
USERS = st.text(min_size=1, max_size=20).filter(is_user)
HASHES = st.builds(
    "$2{}${:02d}{}".format,
    st.sampled_from("aby"),
    st.integers(4, 16),
    st.sampled_from([ALICES_HASH[6:], BOBS_HASH[6:]]),
)
FILES = st.dictionaries(USERS, HASHES, max_size=3)
COMMENTS = TEXTS.map("#{}".format)
WRONG_LINES = st.sampled_from(["eve", "eve:", "eve:$apr1$M5fi4dqG$27JMi8kIlE27idlJ88aal.", ":x"])
OTHER_LINES = st.lists(COMMENTS | WRONG_LINES | st.sampled_from(["", "  "]), max_size=5)


def written(users: dict[str, str]) -> str:
    return "".join(f"{user}:{stored}\n" for user, stored in users.items())


def test_a_file_made_by_apache_is_read() -> None:
    users = parse_users(BY_APACHE)
    assert not users.problems
    assert list(users.hashes) == ["carol", "dave"]
    assert bcrypt.checkpw(CAROLS.encode(), users.hashes["carol"].encode())
    assert bcrypt.checkpw(DAVES.encode(), users.hashes["dave"].encode())
    assert [cost(stored) for stored in users.hashes.values()] == [4, 5]


@settings(deadline=None)
@given(FILES)
def test_every_user_of_a_right_file_counts(users: dict[str, str]) -> None:
    found = parse_users(written(users))
    assert found.hashes == users
    assert not found.problems


@pytest.mark.parametrize(
    "text",
    [
        f"alice:{ALICES_HASH}",
        f"alice:{ALICES_HASH}\r\n",
        f"\n\n  alice:{ALICES_HASH}  \n\n",
        f"# alice:{BOBS_HASH}\n  # indented\nalice:{ALICES_HASH}\n#",
    ],
)
def test_empty_lines_comments_and_spaces_at_the_ends_do_not_matter(text: str) -> None:
    found = parse_users(text)
    assert found.hashes == {"alice": ALICES_HASH}
    assert not found.problems


@pytest.mark.parametrize(
    "line",
    [
        "alice",
        "alice:",
        f":{BOBS_HASH}",
        f"al ice:{BOBS_HASH}",
        f"al/ice:{BOBS_HASH}",
        f"al,ice:{BOBS_HASH}",
        f"{'a' * 129}:{BOBS_HASH}",
        f"alice :{BOBS_HASH}",
        f"alice: {BOBS_HASH}",
        f"alice:{BOBS_HASH}:Alice",
        f"alice:{BOBS_HASH}x",
        f"alice:{BOBS_HASH[:-1]}",
        f"alice:{BOBS_HASH[:-1]}ä",
        f"alice:{BOBS_HASH.replace('$2b', '$2x')}",
        f"alice:{BOBS_HASH.replace('$04', '$03')}",
        f"alice:{BOBS_HASH.replace('$04', '$17')}",
        f"alice:{BOBS_HASH.replace('$04', '$٠٤')}",
        "alice:$apr1$M5fi4dqG$27JMi8kIlE27idlJ88aal.",
        "alice:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=",
        "alice:WpMvwy.iNBQKc",
        "alice:secret",
    ],
)
def test_a_wrong_line_is_a_problem_with_its_number_and_counts_for_nobody(line: str) -> None:
    found = parse_users(f"# users\n{line}\nbob:{BOBS_HASH}\n")
    assert found.hashes == {"bob": BOBS_HASH}
    [problem] = found.problems
    assert problem.startswith("line 2: expected ")


@pytest.mark.parametrize("line", ["alice:hunter2", f"alice hunter2:{BOBS_HASH}"])
def test_a_problem_tells_no_secrets(line: str) -> None:
    [problem] = parse_users(line).problems
    assert "hunter2" not in problem
    assert BOBS_HASH not in problem


def test_of_two_lines_for_one_user_the_first_counts() -> None:
    found = parse_users(f"alice:{ALICES_HASH}\nalice:{BOBS_HASH}\n")
    assert found.hashes == {"alice": ALICES_HASH}
    assert found.problems == ("line 2: alice stands here twice",)


def test_the_highest_cost_that_counts_is_16() -> None:
    assert parse_users(f"alice:{ALICES_HASH.replace('$04', '$16')}").hashes


@settings(deadline=None)
@given(st.text() | st.text("a:#$2b04\n ") | st.lists(st.sampled_from(BY_APACHE)).map("".join))
def test_any_text_is_a_list_of_users_and_problems(text: str) -> None:
    found = parse_users(text)
    for user, stored in found.hashes.items():
        assert is_user(user)
        assert 4 <= cost(stored) <= 16
    assert len(found.hashes) + len(found.problems) <= len(text.splitlines())


@settings(deadline=None)
@given(st.from_regex(r"\$2[aby]\$04\$[./A-Za-z0-9]{53}", fullmatch=True))
def test_a_password_can_be_held_against_every_hash_that_counts(stored: str) -> None:
    """bcrypt refuses salts that no bytes have, which would be an error at every sign-in."""
    for counted in parse_users(f"alice:{stored}").hashes.values():
        assert not bcrypt.checkpw(b"wrong", counted.encode())


@settings(deadline=None)
@given(FILES, USERS, HASHES)
def test_a_user_is_added_or_changed_and_the_others_stay(
    users: dict[str, str], user: str, stored: str
) -> None:
    found = parse_users(with_user(written(users), user, stored))
    assert found.hashes == {**users, user: stored}
    assert not found.problems


@settings(deadline=None)
@given(FILES, USERS)
def test_a_user_is_removed_and_the_others_stay(users: dict[str, str], user: str) -> None:
    found = parse_users(with_user(written({**users, user: ALICES_HASH}), user, None))
    assert found.hashes == {name: users[name] for name in users if name != user}


@settings(deadline=None)
@given(OTHER_LINES, OTHER_LINES)
def test_comments_and_wrong_lines_survive_a_change(before: list[str], after: list[str]) -> None:
    def text(*middle: str) -> str:
        return "".join(f"{line}\n" for line in [*before, *middle, *after])

    with_alice = text(f"alice:{ALICES_HASH}")
    assert with_user(with_alice, "alice", None) == text()
    assert with_user(with_alice, "alice", BOBS_HASH) == text() + f"alice:{BOBS_HASH}\n"
    assert with_user(text(), "alice", ALICES_HASH) == text() + f"alice:{ALICES_HASH}\n"


@pytest.mark.parametrize("line", ["alice", "alice:", "alice:secret", f"  alice:{BOBS_HASH}"])
def test_a_users_wrong_and_repeated_lines_go_with_a_change(line: str) -> None:
    text = f"{line}\nbob:{BOBS_HASH}\nalice:{BOBS_HASH}\n"
    assert with_user(text, "alice", None) == f"bob:{BOBS_HASH}\n"
    assert with_user(text, "alice", ALICES_HASH) == f"bob:{BOBS_HASH}\nalice:{ALICES_HASH}\n"


@pytest.mark.parametrize("text", ["", f"bob:{BOBS_HASH}", f"bob:{BOBS_HASH}\r\n"])
def test_a_new_line_stands_on_its_own_whatever_the_last_one_ends_with(text: str) -> None:
    found = parse_users(with_user(text, "alice", ALICES_HASH))
    assert found.hashes == {**parse_users(text).hashes, "alice": ALICES_HASH}


def test_a_name_that_begins_with_another_is_another_users() -> None:
    text = written({"alice2": BOBS_HASH, "Alice": BOBS_HASH, "alice": ALICES_HASH})
    assert parse_users(with_user(text, "alice", None)).hashes == {
        "alice2": BOBS_HASH,
        "Alice": BOBS_HASH,
    }


@pytest.mark.parametrize("name", ["a", "Alice", "alice@example.org", "ålice", "a#b", "a" * 128])
def test_a_users_name_is_nearly_anything(name: str) -> None:
    assert is_user(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a\n", "a\tb", "a:b", "a,b", "a/b", "a\u2028b", "a" * 129, "#alice", "#"],
)
def test_what_would_not_stand_in_a_line_as_a_name_is_none(name: str) -> None:
    assert not is_user(name)
