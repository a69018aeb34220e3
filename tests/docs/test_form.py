"""What readers of the text itself see: lines that fit, full paragraphs, whole tables."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.docs.markdown import NAMES, Page

DOCUMENTS = [name for name in NAMES if name.startswith("docs/")]

LONGEST = 128
"""Characters of a line, but of tables and of what cannot be broken."""

SHORTEST = 80
"""A line that is shorter, and that the next word would fit in, was broken by an accident."""

MADE = re.compile(r"<!-- (?!end of ).*? -->.*?<!-- end of .*? -->", re.DOTALL)
"""What programs have written."""

NO_TEXT = re.compile(r"\||#|<|!\[|\s*$")
BEGINS_ANEW = re.compile(r"\s*(?:[-*]|\d+\.) |\||#|<|\s*$")


def text_of(page: Page) -> str:
    return MADE.sub("", page.prose)


def paragraphs(page: Page) -> Iterator[tuple[str, str]]:
    """Pairs of lines of which the second goes on with the paragraph of the first."""
    lines = text_of(page).splitlines()
    for line, following in pairwise(lines):
        if not NO_TEXT.match(line) and not BEGINS_ANEW.match(following):
            yield line, following


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_line_of_text_is_not_too_long(name: str) -> None:
    lines = text_of(Page(name)).splitlines()
    assert [line for line in lines if len(line) > LONGEST and not NO_TEXT.match(line)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_paragraph_is_broken_where_its_lines_are_full(name: str) -> None:
    broken = [
        line
        for line, following in paragraphs(Page(name))
        if len(line) + 1 + len(following.split()[0]) < SHORTEST
    ]
    assert broken == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_words_in_backticks_stand_on_one_line(name: str) -> None:
    lines = text_of(Page(name)).splitlines()
    assert [line for line in lines if line.count("`") % 2] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_rows_of_a_table_have_as_many_cells_as_its_head(name: str) -> None:
    for table in Page(name).tables:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.heading


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_begins_with_its_title_and_who_it_is_for(name: str) -> None:
    page = Page(name)
    [title] = [heading for heading in page.headings if heading.level == 1]
    assert page.lines[0] == f"# {title.text}"
    assert page.lines[2].startswith("For ")
