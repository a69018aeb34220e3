"""How the pages look: in light and dark, on a desk and on a phone, and for who cannot see them.

``UPDATE_DOCS=1`` writes the pictures of the documentation anew.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import axe_playwright_python  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import Browser, Page

from tests.browsing import PAGE
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.real import showroom
from tests.running import RunningServer, write_config
from tests.signing_in import write_users

pytestmark = pytest.mark.real

PICTURES = Path(__file__).parents[2] / "docs" / "images"

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS = {"desk": 1280, "phone": 390}

PATHS = {
    "groups": "/",
    "group": PAGE,
    "empty": "/groups/other/-/dependency_proxy",
    "found": f"{PAGE}?search=alpine&sort=-bytes",
    "nothing": f"{PAGE}?search=nothing-like-it",
    "clear": f"{PAGE}/clear?image=alpine&reference=3.22",
    "clear-all": f"{PAGE}/clear",
    "sign-in": "/-/sign_in",
    "error": "/groups/nobody/-/dependency_proxy",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Images of all kinds, a month of counts, and a download that stands still."""
    folder = tmp_path_factory.mktemp("showroom")
    write_users(folder / "users", {"ann": "secret"})
    with FakeRegistry() as registry:
        showroom.stock(registry)
        registry.misbehave(behaviours.limiting(100, 76), ".*/manifests/.*")
        config = write_config(
            folder,
            registry.url,
            group="owners: [ann]\nexpire_after: 90d\nmax_size: 50GiB",
            more="external_url: https://cache.example.org\n"
            f"auth: {{users_file: {folder / 'users'}}}\n",
        )
        with RunningServer(config) as server:
            showroom.fill(server)
        showroom.age(config.data_dir)
        with RunningServer(config) as server:
            server.wait_for_counts()
            server.manifest("python", "3.13-slim", "HEAD")
            gate = behaviours.Gate()
            blob = registry.add_blob("library/golang", bytes(3_000_000))
            registry.misbehave(
                behaviours.blob_until(1_700_000, "hold", gate=gate), f".*/blobs/{blob}"
            )
            client = Thread(target=server.blob, args=("golang", blob))
            client.start()
            gate.reached.wait()
            yield server
            gate.open()
            client.join()


@pytest.fixture(params=[(scheme, width) for scheme in SCHEMES for width in WIDTHS])
def owners_page(
    request: pytest.FixtureRequest, browser: Browser, server: RunningServer
) -> Iterator[tuple[Page, str]]:
    """Ann's tab, and what kind of one it is."""
    scheme, width = request.param
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": WIDTHS[width], "height": 844},
        reduced_motion="reduce",
        base_url=f"http://127.0.0.1:{server.port}",
    )
    page = context.new_page()
    page.goto("/-/sign_in")
    page.get_by_label("User").fill("ann")
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_text("Signed in as").wait_for(state="attached")
    yield page, f"{scheme}-{width}"
    context.close()


def faults(page: Page) -> list[str]:
    """What axe-core finds, and where."""
    page.evaluate(AXE)
    result: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['impact']}: {fault['help']}: {node['html'][:200]} {node['failureSummary']}"
        for fault in result["violations"]
        for node in fault["nodes"]
    ]


def test_pages_can_be_used_by_everybody_and_fit_the_screen(
    owners_page: tuple[Page, str],
) -> None:
    """No page is wider than its screen, and axe-core has nothing to say, however small."""
    page, _ = owners_page
    for name, path in PATHS.items():
        page.goto(path)
        assert faults(page) == [], name
        width = page.viewport_size["width"] if page.viewport_size else 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_table_that_is_folded_away_can_be_used_too(owners_page: tuple[Page, str]) -> None:
    page, _ = owners_page
    page.goto(PAGE)
    page.get_by_text("The same as a table").click()
    assert faults(page) == []
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_has_the_focus_can_be_seen(owners_page: tuple[Page, str]) -> None:
    """Everything that the keyboard comes to has a ring around it."""
    page, _ = owners_page
    page.goto(PAGE)
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        ring = page.evaluate(
            """() => {
                const here = document.activeElement;
                const marked = here.type === "radio" ? here.nextElementSibling : here;
                return [here.outerHTML.slice(0, 120), getComputedStyle(marked).outlineStyle];
            }"""
        )
        if ring[0].startswith("<body"):
            break
        assert ring[1] == "solid", ring[0]
        seen.add(ring[0])
    assert len(seen) > 20


def test_both_pages_are_in_the_documentation(owners_page: tuple[Page, str]) -> None:
    page, kind = owners_page
    for name in ("groups", "group"):
        file = PICTURES / f"page-{name}-{kind}.png"
        if os.environ.get("UPDATE_DOCS"):
            page.goto(PATHS[name])
            page.screenshot(path=file, full_page=True)
        assert file.read_bytes().startswith(b"\x89PNG"), file
