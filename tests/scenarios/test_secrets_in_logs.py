"""No secret reaches a log, whatever goes wrong: at level debug, in text and in JSON."""

import base64
import http.client
import json
import urllib.parse
from pathlib import Path

import pytest

from depproxy.access.users import hash_password
from depproxy.config import load_config
from depproxy.demo.image import Image
from depproxy.logs import set_up_logging
from tests.browsing import PAGE, Tab
from tests.fakes import behaviours
from tests.fakes.registry import FakeRegistry
from tests.running import PREFIX, RunningServer, write_config

CLIENTS_PASSWORD = "a-clients-password"
UPSTREAMS_PASSWORD = "an-upstreams-password"
WRONG_PASSWORD = "a-wrong-password"
SIGNATURE = "X-Amz-Signature-0123"
KEY = "the-key-of-an-earlier-start"
HUB_PASSWORD = "somebodys-hub-password"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def post(server: RunningServer, path: str, form: dict[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
    connection.request("POST", path, urllib.parse.urlencode(form), headers)
    return connection.getresponse()


def use(
    server: RunningServer, image: Image, registry: FakeRegistry, storage: FakeRegistry
) -> list[str]:
    """Everything in which secrets travel; returns those that were made on the way."""
    answer = server.ask("/jwt/auth?scope=repository:x:pull", headers=basic("ada", CLIENTS_PASSWORD))
    token = str(answer.json["token"])
    bearer = {"Authorization": f"Bearer {token}"}
    scope = urllib.parse.quote(f"repository:{PREFIX.removeprefix('/v2/')}/hello:pull")
    answer = server.ask(f"/jwt/auth?scope={scope}", headers=basic("ada", CLIENTS_PASSWORD))
    pulling = {"Authorization": f"Bearer {answer.json['token']}"}
    good = server.ask(f"{PREFIX}/hello/manifests/latest?token={token}", headers=pulling)
    assert good.status == 200
    first, *others = image.blobs
    blob = f"/v2/library/hello/blobs/{first}"
    registry.misbehave(behaviours.redirect(f"{storage.url}{blob}?sig={SIGNATURE}"), blob)
    assert server.ask(f"{PREFIX}/hello/blobs/{first}", headers=pulling).status == 200
    [seen] = storage.requests
    assert seen.query == {"sig": [SIGNATURE]}
    for headers in (bearer, basic("ada", WRONG_PASSWORD), basic("ada", CLIENTS_PASSWORD)):
        server.ask(f"{PREFIX}/hello/manifests/latest", headers=headers)
        server.ask("/api/v4/groups/mygroup/dependency_proxy", headers=headers)
    admin = server.token
    server.ask("/api/v4/groups/mygroup/dependency_proxy", headers={"PRIVATE-TOKEN": admin})
    form = {"grant_type": "password", "username": "ada", "password": CLIENTS_PASSWORD}
    post(server, "/jwt/auth", form).close()
    post(server, "/jwt/auth", form | {"username": HUB_PASSWORD, "password": HUB_PASSWORD}).close()
    cookie = {"Cookie": f"depproxy_session={token}"}
    server.ask("/groups/mygroup/-/dependency_proxy", headers=cookie)
    for path in ("/nowhere", "/api/v4/groups/mygroup/dependency_proxy/manifests"):
        server.ask(f"{path}?page=none&private_token={admin}", headers=basic("ada", WRONG_PASSWORD))
        server.ask(f"{path}?page=none&private_token={admin}", headers={"PRIVATE-TOKEN": admin})
    made = [token, str(answer.json["token"]), admin, *look_at_pages(server)]
    for behaviour in (
        behaviours.redirect(f"http://169.254.169.254/x?sig={SIGNATURE}"),
        behaviours.redirect(f"http://127.0.0.1:1/x?sig={SIGNATURE}"),
        behaviours.redirect(f"ftp://u:{SIGNATURE}@x/?sig={SIGNATURE}"),
        behaviours.status(401, {"WWW-Authenticate": f'Bearer realm="http://x/?s={SIGNATURE}"'}),
        behaviours.status(503, {"X-Signature": SIGNATURE}),
        behaviours.raw(f"HTTP/9 {SIGNATURE}\r\n\r\n".encode()),
    ):
        registry.misbehave(behaviour, f".*/blobs/{others[0]}")
        server.ask(f"{PREFIX}/hello/blobs/{others[0]}?token={token}", headers=pulling)
    return made


def look_at_pages(server: RunningServer) -> list[str]:
    """As a user and as the holder of the admin token; returns cookies and words of forms."""
    made = []
    user, admin, stranger = Tab(server), Tab(server), Tab(server)
    assert user.sign_in("ada", CLIENTS_PASSWORD).status == 200
    assert admin.sign_in_as_admin().status == 200
    assert stranger.sign_in("ada", WRONG_PASSWORD).status == 401
    for tab in (user, admin):
        assert tab.open(f"{PAGE}/clear").status == 200
        made += [tab.form(f"{PAGE}/clear").fields["word"], *tab.cookies.values()]
        word = tab.form(f"{PAGE}/clear").fields["word"]
        assert tab.post(f"{PAGE}/clear?word={word}", word="wrong").status == 403
    return [*made, *stranger.cookies.values()]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_reaches_the_log(
    form: str,
    tmp_path: Path,
    registry: FakeRegistry,
    hello: Image,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("depproxy.cache.transfer.PAUSES", (0.0, 0.0, 0.0))
    registry.needs_token = True
    stored = hash_password(CLIENTS_PASSWORD)
    (tmp_path / "users").write_text(f"ada:{stored}\nwrong {CLIENTS_PASSWORD}:{stored}\n")
    (tmp_path / "password").write_text(UPSTREAMS_PASSWORD)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/token_key").write_text(KEY)
    write_config(
        tmp_path,
        registry.url,
        group="visibility: private\nowners: [ada]",
        extra=f"username: robot\npassword_file: {tmp_path / 'password'}",
        more=f"auth: {{users_file: {tmp_path / 'users'}}}\nlog: {{level: debug, format: {form}}}\n",
    )
    config = load_config(tmp_path / "depproxy.yml")
    set_up_logging(config.log.format, config.log.level)
    with RunningServer(config) as server, FakeRegistry() as storage:
        storage.add_image("library/hello", "latest", hello)
        made = use(server, hello, registry, storage)
    log = capfd.readouterr().err
    assert "asyncio" in log or "depproxy" in log
    secrets = [CLIENTS_PASSWORD, UPSTREAMS_PASSWORD, WRONG_PASSWORD, HUB_PASSWORD, SIGNATURE]
    secrets += [base64.b64encode(f"ada:{CLIENTS_PASSWORD}".encode()).decode(), *made]
    secrets += [stored, KEY]
    secrets += [
        seen.headers["authorization"].partition(" ")[2]
        for seen in registry.requests
        if "authorization" in seen.headers
    ]
    assert [secret for secret in secrets if secret in log] == []
    if form == "json":
        lines = [json.loads(line) for line in log.splitlines()]
        users = {line["user"] for line in lines if line["logger"] == "depproxy.access"}
        assert users == {"", "ada", "token:admin"}
        kinds = {line["kind"] for line in lines if line["logger"] == "depproxy.access"}
        assert kinds == {"manifest", "blob", "token", "api", "page"}
