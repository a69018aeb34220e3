"""The pages in a real browser: what people do there, and what scripts of others do not."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from depproxy.demo.image import Image
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.browsing import PAGE, SIGN_IN
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.images import add_manifest, layer
from tests.pulling import pull
from tests.running import RunningServer, Start
from tests.signing_in import write_users

pytestmark = pytest.mark.real

PREFIX = "localhost:8080/mygroup/dependency_proxy/containers"


@pytest.fixture
def server(start: Start, registry: FakeRegistry, hello: Image, tmp_path: Path) -> RunningServer:
    """``mygroup`` is public and ann's, and has three images."""
    users = tmp_path / "users"
    write_users(users, {"ann": "secret", "bob": "his own"})
    server = start(group="owners: [ann]", more=f"auth: {{users_file: {users}}}\n")
    add_manifest(registry, "library/app", layer(1, 50_000), tag="v1")
    add_manifest(registry, "acme/tool", layer(2, 5_000), tag="v2")
    for name, tag in (("hello", "latest"), ("app", "v1"), ("acme/tool", "v2")):
        pull(server, name, tag)
    return server


def go(page: Page, server: RunningServer, path: str = PAGE) -> None:
    page.goto(f"http://127.0.0.1:{server.port}{path}")


def sign_in(page: Page, server: RunningServer, user: str = "ann", password: str = "secret") -> None:
    go(page, server)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("User").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def names(page: Page) -> list[str]:
    return page.locator("#images th.name .image").all_inner_texts()


def copied(page: Page) -> str:
    expect(page.get_by_role("status").last).to_have_text("Copied")
    return str(page.evaluate("navigator.clipboard.readText()"))


# -- copying -------------------------------------------------------------------------------------


def test_the_prefix_a_full_name_and_a_digest_can_be_copied(
    page: Page, server: RunningServer, hello: Image
) -> None:
    go(page, server)
    page.get_by_role("button", name="Copy the pull prefix").click()
    assert copied(page) == PREFIX
    page.get_by_role("button", name="Copy the full name of hello:latest").click()
    assert copied(page) == f"{PREFIX}/hello:latest"
    page.get_by_role("button", name="Copy the digest of hello:latest").click()
    assert copied(page) == hello.index


def test_copying_works_where_the_browser_has_no_clipboard_for_pages(
    page: Page, server: RunningServer
) -> None:
    """As without TLS on another host than localhost: what is copied can be pasted."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    go(page, server)
    page.get_by_role("button", name="Copy the pull prefix").click()
    expect(page.get_by_role("status").last).to_have_text("Copied")
    page.get_by_label("Search by name or digest").focus()
    page.keyboard.press("Control+V")
    assert page.get_by_label("Search by name or digest").input_value() == PREFIX


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("docker", f"docker pull {PREFIX}/alpine:latest"),
        ("Dockerfile", f"FROM {PREFIX}/alpine:latest"),
        ("GitLab CI", f"image: {PREFIX}/alpine:latest"),
        ("containerd", "override_path = true"),
    ],
)
def test_each_client_has_lines_that_are_ready(
    page: Page, server: RunningServer, client: str, text: str
) -> None:
    go(page, server)
    page.get_by_text(client, exact=True).click()
    expect(page.locator(".tab:visible pre")).to_have_count(1)
    page.get_by_role("button", name=f"Copy the lines for {client}", exact=True).click()
    assert text in copied(page)


def test_clients_are_chosen_by_the_keyboard(page: Page, server: RunningServer) -> None:
    go(page, server)
    page.get_by_role("radio", name="docker", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-dockerfile")).to_be_visible()
    expect(page.locator("#tab-docker")).to_be_hidden()


# -- finding -------------------------------------------------------------------------------------


def test_images_are_found(page: Page, server: RunningServer) -> None:
    go(page, server)
    assert names(page) == ["acme/tool:v2", "app:v1", "hello:latest"]
    page.get_by_label("Search by name or digest").fill("TOOL")
    page.keyboard.press("Enter")
    expect(page.locator("#images th.name .image")).to_have_count(1)
    assert names(page) == ["acme/tool:v2"]
    page.get_by_label("Search by name or digest").fill("nothing like it")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Show all images").click()
    expect(page.locator("#images th.name .image")).to_have_count(3)


def test_images_are_sorted_by_a_columns_head_and_by_a_choice(
    page: Page, server: RunningServer
) -> None:
    go(page, server)
    page.get_by_role("link", name="Size", exact=True).click()
    size = page.get_by_role("columnheader", name="Size")
    expect(size).to_have_attribute("aria-sort", "descending")
    assert names(page)[0] == "app:v1"
    page.get_by_role("link", name="Size", exact=True).click()
    expect(size).to_have_attribute("aria-sort", "ascending")
    assert names(page)[-1] == "app:v1"
    page.get_by_label("Sort by").select_option("Name")
    expect(size).to_have_attribute("aria-sort", "none")
    assert names(page) == ["acme/tool:v2", "app:v1", "hello:latest"]


# -- signing in and clearing ---------------------------------------------------------------------


def test_an_owner_signs_in_and_out_again(page: Page, server: RunningServer) -> None:
    sign_in(page, server)
    expect(page).to_have_url(re.compile(f"{PAGE}$"))
    expect(page.get_by_text("Signed in as ann")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_a_wrong_password_is_told_and_the_user_kept(page: Page, server: RunningServer) -> None:
    sign_in(page, server, password="wrong")
    expect(page.get_by_role("alert")).to_have_text("User or password is wrong.")
    assert page.get_by_label("User").input_value() == "ann"
    assert page.get_by_label("Password").input_value() == ""


def test_one_image_is_cleared_after_a_confirmation(page: Page, server: RunningServer) -> None:
    sign_in(page, server)
    page.get_by_role("link", name="Clear app:v1…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Clear app:v1?")
    page.get_by_role("link", name="Cancel").click()
    assert "app:v1" in names(page)
    page.get_by_role("link", name="Clear app:v1…").click()
    expect(page.locator("main")).to_contain_text("Bytes50.")
    page.get_by_role("button", name="Clear app:v1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("app:v1 is cleared")
    page.get_by_role("link", name="Back to mygroup").click()
    assert names(page) == ["acme/tool:v2", "hello:latest"]


def test_everything_is_cleared_after_a_confirmation_by_the_administrator(
    page: Page, server: RunningServer
) -> None:
    go(page, server, SIGN_IN + f"?next={PAGE}")
    page.get_by_text("With the admin token").click()
    page.get_by_label("Admin token").fill(server.token)
    page.get_by_role("button", name="Sign in as administrator").click()
    manifests = server.ask("/api/v4/groups/mygroup/dependency_proxy").json["manifests"]
    page.get_by_role("link", name="Clear cache…").click()
    expect(page.locator("main")).to_contain_text(f"Manifests{manifests}")
    page.get_by_role("button", name="Clear everything").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The cache of mygroup is cleared")
    page.get_by_role("link", name="Back to mygroup").click()
    expect(page.get_by_text("Nothing is cached yet")).to_be_visible()


def test_who_may_not_clear_sees_no_way_to(page: Page, server: RunningServer) -> None:
    go(page, server)
    expect(page.get_by_role("link", name=re.compile("^Clear"))).to_have_count(0)
    sign_in(page, server, "bob", "his own")
    expect(page.get_by_text("Signed in as bob")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^Clear"))).to_have_count(0)


def test_a_form_on_another_site_clears_nothing(
    context: BrowserContext, server: RunningServer, page: Page, tmp_path: Path
) -> None:
    """The owner is signed in, and looks at something else."""
    sign_in(page, server)
    trap = tmp_path / "trap.html"
    trap.write_text(
        f'<form method="post" action="http://127.0.0.1:{server.port}{PAGE}/clear">'
        '<input name="what" value="everything"><button>Win</button></form>'
    )
    other = context.new_page()
    other.goto(trap.as_uri())
    other.get_by_role("button").click()
    expect(other).to_have_url(re.compile("/-/sign_in"))  # the cookie did not come along
    page.reload()
    assert len(names(page)) == 3


# -- strangers -----------------------------------------------------------------------------------


def test_a_private_group_is_hidden(page: Page, start: Start, hello: Image, tmp_path: Path) -> None:
    users = tmp_path / "users"
    write_users(users, {"ann": "secret"})
    server = start(
        group="visibility: private\nreaders: [ann]", more=f"auth: {{users_file: {users}}}\n"
    )
    go(page, server, "/")
    expect(page.get_by_role("link", name="other")).to_be_visible()
    expect(page.get_by_text("mygroup")).to_have_count(0)
    go(page, server)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("User").fill("ann")
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("mygroup")
    go(page, server, "/")
    expect(page.get_by_role("link", name="mygroup")).to_be_visible()


EVIL = "<script>document.title = 'owned'</script>"


def test_names_that_are_scripts_are_shown_and_not_run(
    page: Page, server: RunningServer, registry: FakeRegistry
) -> None:
    """The grammar keeps such images out, whoever asks for them; what an upstream may write freely,
    as platforms, is text."""
    manifest = add_manifest(registry, "library/evil", layer(3))
    entry = {"mediaType": OCI_MANIFEST, "digest": manifest, "size": 1}
    platform = {"os": EVIL, "architecture": '"><img src=x onerror="document.title=\'owned\'">'}
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**entry, "platform": platform}],
    }
    registry.add_manifest("library/evil", json.dumps(index).encode(), OCI_INDEX, tag="v1")
    pull(server, "evil", "v1")
    asked = server.ask(
        f"/v2/mygroup/dependency_proxy/containers/{EVIL.replace(' ', '%20')}/manifests/v1"
    )
    assert asked.error == "NAME_INVALID"
    go(page, server, f"{PAGE}?search=evil")
    expect(page.locator(".platforms")).to_contain_text(EVIL)
    go(page, server, f"{PAGE}?search={EVIL.replace(' ', '%20')}")
    expect(page.locator("#images")).to_contain_text(EVIL)
    assert "owned" not in page.title()


def test_an_images_folder_that_is_called_like_a_script_is_not_run(
    page: Page, server: RunningServer, start: Start, hello: Image
) -> None:
    """Whoever may write into the data folder still writes no pages."""
    tree = server.tree / "manifests" / "docker.io"
    server.stop()
    (tree / "library" / "hello").rename(tree / "library" / "<img src=x onerror=alert(1)>")
    again = start()
    again.wait_for_counts()
    go(page, again)
    assert page.locator("#images img").count() == 0


# -- what is under way ---------------------------------------------------------------------------


@pytest.fixture
def download(
    server: RunningServer, registry: FakeRegistry
) -> Iterator[tuple[Digest, Callable[[], None]]]:
    """A download of 400,000 bytes that stands still at a quarter of them, and how to end it."""
    gate = behaviours.Gate()
    blob = registry.add_blob("library/hello", layer(9, 400_000))
    registry.misbehave(behaviours.blob_until(100_000, "hold", gate=gate), f".*/blobs/{blob}")
    client = Thread(target=server.blob, args=("hello", blob))
    client.start()
    gate.reached.wait()

    def end() -> None:
        gate.open()
        client.join()

    yield blob, end
    end()


def test_a_download_is_shown_as_it_proceeds_and_its_end_is_told(
    page: Page, server: RunningServer, download: tuple[Digest, Callable[[], None]]
) -> None:
    blob, end = download
    go(page, server)
    bar = page.get_by_role("progressbar", name=f"hello, {blob.hex[:12]}")
    expect(bar).to_have_attribute("value", "100000")
    expect(page.locator("#fills")).to_contain_text("100.0 kB of 400.0 kB · 25 %")
    end()
    expect(page.locator("#fills")).to_contain_text("The downloads have ended.")
    expect(bar).to_have_count(0)
    page.get_by_role("link", name="Reload").click()
    expect(page.locator("#fills")).not_to_contain_text("ended")


def test_a_download_that_begins_while_one_looks_appears(
    page: Page, server: RunningServer, registry: FakeRegistry
) -> None:
    page.clock.install()
    go(page, server)
    gate = behaviours.Gate()
    blob = registry.add_blob("library/hello", layer(9, 400_000))
    registry.misbehave(behaviours.blob_until(100_000, "hold", gate=gate), f".*/blobs/{blob}")
    client = Thread(target=server.blob, args=("hello", blob))
    client.start()
    gate.reached.wait()
    page.clock.fast_forward(15_000)
    expect(page.get_by_role("progressbar")).to_be_visible()
    gate.open()
    client.join()


# -- without scripts -----------------------------------------------------------------------------


def test_everything_can_be_read_and_cleared_without_scripts(
    page: Page, server: RunningServer
) -> None:
    bare = page.context.browser
    assert bare
    context = bare.new_context(java_script_enabled=False)
    plain = context.new_page()
    sign_in(plain, server)
    assert names(plain) == ["acme/tool:v2", "app:v1", "hello:latest"]
    expect(plain.get_by_role("button", name=re.compile("^Copy"))).to_have_count(0)
    plain.get_by_label("Search by name or digest").fill("app")
    plain.get_by_role("button", name="Search").click()
    plain.get_by_role("link", name="Clear app:v1…").click()
    plain.get_by_role("button", name="Clear app:v1").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("app:v1 is cleared")
    context.close()
