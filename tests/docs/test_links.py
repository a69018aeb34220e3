"""Whatever the documentation links to is there: files, headings, and pictures."""

import pytest

from tests.docs.markdown import NAMES, ROOT, Page

INTERNAL = [
    (name, link) for name in NAMES for link in Page(name).links if not link.startswith("http")
]


@pytest.mark.parametrize(("name", "link"), INTERNAL)
def test_a_link_leads_somewhere(name: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (ROOT / name).parent.joinpath(path).resolve() if path else ROOT / name
    assert target.exists(), f"{name}: there is no {path}"
    if anchor:
        page = Page(str(target.relative_to(ROOT)))
        assert anchor in [heading.anchor for heading in page.headings], f"{name}: {link}"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("docs/")])
def test_a_document_can_be_reached_from_another_one(name: str) -> None:
    sources = [
        other
        for other, link in INTERNAL
        if (ROOT / other).parent.joinpath(link.partition("#")[0]).resolve() == ROOT / name
    ]
    assert set(sources) - {name}


@pytest.mark.parametrize("name", [name for name in NAMES if Page(name).contents])
def test_a_list_of_contents_has_every_chapter_in_its_place(name: str) -> None:
    page = Page(name)
    chapters = [heading.anchor for heading in page.headings if heading.level == 2]
    assert [anchor for anchor in page.contents if anchor in chapters] == chapters
