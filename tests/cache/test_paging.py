"""Pages of tags: the upstream's, or ours where it has none."""

from collections.abc import Mapping

import pytest

from depproxy.cache.paging import MAX_PAGE, clamped, following_query, paged

UNSORTED = ["c", "a", "d", "b", "a"]


@pytest.mark.parametrize(
    ("query", "tags", "following"),
    [
        ({}, ["a", "b", "c", "d"], ""),
        ({"n": "3"}, ["a", "b", "c"], "n=3&last=c"),
        ({"n": "3", "last": "c"}, ["d"], ""),
        ({"last": "b"}, ["c", "d"], ""),
        ({"n": "2", "last": "a"}, ["b", "c"], "n=2&last=c"),
        ({"n": "4"}, ["a", "b", "c", "d"], ""),
        ({"n": "5"}, ["a", "b", "c", "d"], ""),
        ({"n": "9"}, ["a", "b", "c", "d"], ""),
        ({"n": "0"}, [], ""),
    ],
)
def test_an_upstream_that_gives_everything_each_time_is_sorted_and_paged_here(
    query: Mapping[str, str], tags: list[str], following: str
) -> None:
    assert paged(UNSORTED, "", query) == (tags, following)


def test_an_upstream_that_pages_keeps_its_order() -> None:
    assert paged(["c", "a"], "last=a&n=2", {"n": "2"}) == (["c", "a"], "last=a&n=2")
    assert paged(["c", "b"], "", {"n": "2", "last": "a"}) == (["c", "b"], "")


@pytest.mark.parametrize(
    ("asked", "n"),
    [("5", "5"), ("-5", "0"), ("1001", str(MAX_PAGE)), ("9" * 5000, str(MAX_PAGE)), ("+7", "7")],
)
def test_n_is_clamped(asked: str, n: str) -> None:
    assert clamped({"n": asked, "last": "a"}) == {"n": n, "last": "a"}


@pytest.mark.parametrize("asked", ["", "many", "5.0", "٣"])
def test_an_n_that_is_no_number_is_left_out(asked: str) -> None:
    assert clamped({"n": asked, "last": "a"}) == {"last": "a"}


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ('</v2/a/tags/list?n=5&last=b>; rel="next"', "n=5&last=b"),
        ("<https://other.example/x?last=b%2Fc>;rel=next", "last=b%2Fc"),
        ('</x?first>; rel="prev", </x?last=b>; rel="next"', "last=b"),
        ('</x?last=b>; rel="prev"', ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_of_a_link_only_the_next_pages_query_counts(link: str, query: str) -> None:
    assert following_query(link) == query
