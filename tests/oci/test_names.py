"""Names and tags follow the grammar of the distribution specification; nothing else passes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.errors import NameInvalid, TagInvalid
from depproxy.oci.names import GroupName, ImageName, Tag

WORDS = st.text("az09", min_size=1, max_size=4)
SEPARATORS = st.sampled_from([".", "_", "__", "-", "--", "---"])
TAILS = st.lists(st.tuples(SEPARATORS, WORDS).map("".join), max_size=3).map("".join)
COMPONENTS = st.tuples(WORDS, TAILS).map("".join)
NAMES = st.lists(COMPONENTS, min_size=1, max_size=6).map("/".join)

NO_NAMES = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "Alpine",
    "a..b",
    "a___b",
    "a._b",
    "-a",
    "a-",
    ".a",
    "a.",
    "_a",
    "a_",
    ".",
    "..",
    "a/../b",
    "a/-/b",
    "a b",
    "a\n",
    "a\x00",
    "a:b",
    "a@b",
    "a%2fb",
    "ä",
    "١",
]


@given(NAMES)
def test_a_name_of_the_grammar_is_itself(name: str) -> None:
    assert ImageName.parse(name) == name
    assert GroupName.parse(name) == name


@given(st.text() | st.text("aA0._-/:"))
def test_any_text_is_a_name_as_it_stands_or_invalid(text: str) -> None:
    for kind in (ImageName, GroupName):
        with suppress(NameInvalid):
            assert kind.parse(text) == text


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_off_the_grammar_is_no_name(name: str) -> None:
    with pytest.raises(NameInvalid):
        ImageName.parse(name)
    with pytest.raises(NameInvalid):
        GroupName.parse(name)


@pytest.mark.parametrize("name", ["a" * 200, "a" * 200 + "/" + "b" * 54])
def test_a_component_has_up_to_200_characters_and_a_name_up_to_255(name: str) -> None:
    assert ImageName.parse(name) == name


@pytest.mark.parametrize("name", ["a" * 201, "a" * 200 + "/" + "b" * 55, "a/" * 5000 + "a"])
def test_a_longer_name_is_invalid(name: str) -> None:
    with pytest.raises(NameInvalid):
        ImageName.parse(name)


@pytest.mark.parametrize(
    "name",
    ["dependency_proxy", "acme/dependency_proxy", "dependency_proxy/acme", "a/dependency_proxy/b"],
)
def test_dependency_proxy_is_no_segment_of_a_group_but_may_be_one_of_an_image(name: str) -> None:
    with pytest.raises(NameInvalid):
        GroupName.parse(name)
    assert ImageName.parse(name) == name


@pytest.mark.parametrize("name", ["dependency_proxy2", "my_dependency_proxy", "containers"])
def test_a_segment_that_only_resembles_the_reserved_one_is_fine(name: str) -> None:
    assert GroupName.parse(name) == name


@given(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True))
def test_a_tag_of_the_grammar_is_itself(tag: str) -> None:
    assert Tag.parse(tag) == tag


@given(st.text() | st.text("aA0._-/:"))
def test_any_text_is_a_tag_as_it_stands_or_invalid(text: str) -> None:
    with suppress(TagInvalid):
        assert Tag.parse(text) == text


@pytest.mark.parametrize(
    "tag", ["", ".a", "-a", "a/b", "a:b", "a b", "a\n", "ä", "١", "a+b", "a" * 129]
)
def test_what_is_off_the_grammar_is_no_tag(tag: str) -> None:
    with pytest.raises(TagInvalid):
        Tag.parse(tag)


@pytest.mark.parametrize("text", ["A" * 200, "/" * 200, "a/" + "B" * 199, "\x00" * 200])
def test_a_message_stays_short_enough_to_be_read(text: str) -> None:
    with pytest.raises(NameInvalid) as name:
        ImageName.parse(text)
    with pytest.raises(TagInvalid) as tag:
        Tag.parse(text * 50)
    assert len(str(name.value)) < 1000
    assert len(str(tag.value)) < 1000
