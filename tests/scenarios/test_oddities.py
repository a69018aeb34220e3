"""What registries do that is not in the specification, and what becomes of it."""

import gzip
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from depproxy.demo.image import Image
from depproxy.oci.manifest import DOCKER_LIST
from tests.fakes import behaviours
from tests.fakes.registry import Exchange, FakeRegistry
from tests.running import Start
from tests.tables import assert_documented


@dataclass
class Stage:
    """A registry with ``library/hello``, and what else an oddity needs."""

    registry: FakeRegistry
    image: Image
    folder: Path
    stack: ExitStack
    monkeypatch: pytest.MonkeyPatch
    extra: list[str] = field(default_factory=list)
    upstream: str = ""

    def log_in(self, password: str = "secret") -> None:
        file = self.folder / "password"
        file.write_text(password)
        self.extra += ["username: me", f"password_file: {file}"]


@dataclass(frozen=True)
class Oddity:
    """``status`` is that of a pull of the tag; 200 means that its blobs come too."""

    what: str
    outcome: str
    status: int
    arrange: Callable[[Stage], None]
    tells: str = ""


def basic(stage: Stage) -> None:
    stage.registry.basic = "me:secret"
    stage.log_in()


def basic_for_nobody(stage: Stage) -> None:
    stage.registry.basic = "me:secret"


def realm_elsewhere(stage: Stage) -> None:
    stage.registry.needs_token = True
    stage.registry.realm = f"http://localhost:{stage.registry.port}/token"


def trusted_realm_elsewhere(stage: Stage) -> None:
    realm_elsewhere(stage)
    stage.extra.append("trusted_realms: [localhost]")


def token_answer(document: dict[str, object]) -> Callable[[Stage], None]:
    async def behave(exchange: Exchange) -> None:
        exchange.registry.accept_token("abc")
        await exchange.send(200, {}, json.dumps(document).encode())

    def arrange(stage: Stage) -> None:
        stage.registry.needs_token = True
        stage.registry.misbehave(behave, "/token")

    return arrange


def unknown_is_401(stage: Stage) -> None:
    stage.registry.misbehave(behaviours.status(401), "/v2/.*")


def unknown_is_401_with_login(stage: Stage) -> None:
    unknown_is_401(stage)
    stage.log_in()


def aged_token(code: int) -> Callable[[Stage], None]:
    async def behave(exchange: Exchange) -> None:
        exchange.registry.forget_tokens()
        await exchange.send(code)

    def arrange(stage: Stage) -> None:
        stage.monkeypatch.setattr("depproxy.upstream.tokens._AGED", 0.0)
        stage.registry.needs_token = True
        stage.registry.misbehave(behave, ".*/manifests/sha256.*", times=1)

    return arrange


def head_refused(code: int) -> Callable[[Stage], None]:
    def arrange(stage: Stage) -> None:
        stage.registry.misbehave(behaviours.status(code), "/v2/.*", method="HEAD")

    return arrange


def signed_urls(stage: Stage) -> None:
    async def refuse_authorization(exchange: Exchange) -> None:
        if "authorization" in exchange.seen.headers:
            await exchange.send(400)
        else:
            await exchange.registry.answer_honestly(exchange)

    storage = stage.stack.enter_context(FakeRegistry())
    storage.add_image("library/hello", "latest", stage.image)
    storage.misbehave(refuse_authorization)
    stage.registry.needs_token = True
    stage.registry.redirect_blobs_to = storage.url


def without_length(stage: Stage) -> None:
    async def behave(exchange: Exchange) -> None:
        digest = exchange.seen.path.rpartition("/")[2]
        await behaviours.chunked(exchange.registry.blob(digest))(exchange)

    stage.registry.misbehave(behave, ".*/blobs/.*")


def answers_by_accept(stage: Stage) -> None:
    async def behave(exchange: Exchange) -> None:
        if DOCKER_LIST in exchange.seen.headers["accept"]:
            await exchange.registry.answer_honestly(exchange)
        else:
            await exchange.send(400)

    stage.registry.misbehave(behave, ".*/manifests/.*")


def schema_1(stage: Stage) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    body = b'{"schemaVersion": 1, "name": "library/hello"}'
    stage.registry.add_manifest("library/hello", body, kind, tag="latest")


def no_digest_header(stage: Stage) -> None:
    async def behave(exchange: Exchange) -> None:
        media_type, body = stage.image.manifests[stage.image.index]
        await exchange.send(200, {"Content-Type": media_type}, body)

    stage.registry.misbehave(behave, ".*/manifests/latest")


def wrong_digest_header(stage: Stage) -> None:
    async def behave(exchange: Exchange) -> None:
        digest = exchange.seen.path.rpartition("/")[2]
        media_type, body = next(v for k, v in stage.image.manifests.items() if k == digest)
        headers = {"Content-Type": media_type, "Docker-Content-Digest": "sha256:" + "0" * 64}
        await exchange.send(200, headers, body)

    stage.registry.misbehave(behave, ".*/manifests/sha256.*")


def said_to_be_gzip(stage: Stage) -> None:
    async def behave(exchange: Exchange) -> None:
        body = exchange.registry.blob(exchange.seen.path.rpartition("/")[2])
        await exchange.send(200, {"Content-Encoding": "gzip"}, body)

    stage.registry.misbehave(behave, ".*/blobs/.*")


def really_gzip(stage: Stage) -> None:
    async def behave(exchange: Exchange) -> None:
        body = exchange.registry.blob(exchange.seen.path.rpartition("/")[2])
        await exchange.send(200, {"Content-Encoding": "gzip"}, gzip.compress(body))

    stage.registry.misbehave(behave, ".*/blobs/.*")


def plain_json_type(stage: Stage) -> None:
    async def behave(exchange: Exchange) -> None:
        reference = exchange.seen.path.rpartition("/")[2]
        digest = stage.image.index if reference == "latest" else reference
        body = next(v for k, v in stage.image.manifests.items() if k == digest)[1]
        headers = {"Content-Type": "application/json", "Docker-Content-Digest": digest}
        await exchange.send(200, headers, body)

    stage.registry.misbehave(behave, ".*/manifests/.*")


def secured(stage: Stage, trusted: bool) -> FakeRegistry:
    """A registry with TLS in place of the stage's own."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    secure = stage.stack.enter_context(FakeRegistry(tls=context))
    secure.add_image("library/hello", "latest", stage.image)
    stage.upstream = f"https://localhost:{secure.port}"
    if trusted:
        file = stage.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(file))
        stage.extra.append(f"ca_file: {file}")
    return secure


def private_ca(trusted: bool) -> Callable[[Stage], None]:
    def arrange(stage: Stage) -> None:
        secured(stage, trusted)

    return arrange


def http_realm_of_https(stage: Stage) -> None:
    secure = secured(stage, trusted=True)
    realm = f'Bearer realm="http://localhost:{stage.registry.port}/token"'
    secure.misbehave(behaviours.status(401, {"WWW-Authenticate": realm}))


ODDITIES = [
    Oddity("a `Basic` challenge, with a user configured", "user and password are sent", 200, basic),
    Oddity(
        "a `Basic` challenge, with nobody configured",
        "refused: 404 `NAME_UNKNOWN`",
        404,
        basic_for_nobody,
    ),
    Oddity(
        "a token realm on another host",
        "502, and the message names `trusted_realms`",
        502,
        realm_elsewhere,
        "trusted_realms",
    ),
    Oddity(
        "the same, with the host in `trusted_realms`",
        "the token is fetched there",
        200,
        trusted_realm_elsewhere,
    ),
    Oddity(
        "a token realm with http, of an upstream with https",
        "502; nothing is sent there",
        502,
        http_realm_of_https,
        "http",
    ),
    Oddity(
        "a token answer without `expires_in` and `issued_at`",
        "the token counts for 60 s",
        200,
        token_answer({"token": "abc"}),
    ),
    Oddity(
        "a token answer with `access_token` only",
        "that is the token",
        200,
        token_answer({"access_token": "abc", "expires_in": 300}),
    ),
    Oddity(
        "a token answer without a token", "502", 502, token_answer({"expires_in": 300}), "token"
    ),
    Oddity(
        "401 for what does not exist (Docker Hub), asked anonymously",
        "404 `NAME_UNKNOWN`",
        404,
        unknown_is_401,
    ),
    Oddity("the same, with a user configured", "403 `DENIED`", 403, unknown_is_401_with_login),
    Oddity(
        "403 to a token that has aged (ECR)", "a fresh token, once, and again", 200, aged_token(403)
    ),
    Oddity("400 to a token that has aged (ECR)", "the same", 200, aged_token(400)),
    Oddity("`HEAD` is 405 where `GET` works", "asked by `GET`", 200, head_refused(405)),
    Oddity("`HEAD` is 403 where `GET` works", "asked by `GET`", 200, head_refused(403)),
    Oddity(
        "blobs redirect to signed URLs on another host, which refuse `Authorization`",
        "followed without it",
        200,
        signed_urls,
    ),
    Oddity(
        "blobs without `Content-Length`",
        "sent in chunks, the last one when the digest is right",
        200,
        without_length,
    ),
    Oddity(
        "the answer depends on `Accept`",
        "always asked with the same one, whatever the client accepts",
        200,
        answers_by_accept,
    ),
    Oddity(
        "a manifest of schema 1",
        "502 `MANIFEST_INVALID`: push the image again",
        502,
        schema_1,
        "schema 1",
    ),
    Oddity("no `Docker-Content-Digest`", "asked by `GET`, and computed", 200, no_digest_header),
    Oddity(
        "a wrong `Docker-Content-Digest` for a digest",
        "ignored: the bytes are judged",
        200,
        wrong_digest_header,
    ),
    Oddity("manifests as `application/json`", "their own `mediaType` counts", 200, plain_json_type),
    Oddity(
        "blobs labelled `Content-Encoding: gzip` that are as they should be",
        "the label is ignored",
        200,
        said_to_be_gzip,
    ),
    Oddity(
        "blobs compressed on the way, though `identity` was asked for",
        "502: the bytes are not what the digest names",
        502,
        really_gzip,
    ),
    Oddity("a certificate of a private CA", "502", 502, private_ca(trusted=False), "certificate"),
    Oddity("the same, with `ca_file`", "trusted", 200, private_ca(trusted=True)),
]


@pytest.fixture
def stage(
    registry: FakeRegistry, hello: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(registry, hello, tmp_path, stack, monkeypatch)


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.what)
def test_an_oddity_has_its_promised_outcome(start: Start, stage: Stage, oddity: Oddity) -> None:
    oddity.arrange(stage)
    server = start(extra="\n".join(stage.extra), upstream=stage.upstream)
    reply = server.manifest("hello", "latest", Accept="text/plain")
    if oddity.status == 200:
        assert reply.body == stage.image.manifests[stage.image.index][1]
        for digest, blob in stage.image.blobs.items():
            assert server.blob("hello", digest).body == blob
        return
    if reply.status == 200:
        reply = server.blob("hello", next(iter(stage.image.blobs)))
    assert reply.status == oddity.status
    assert oddity.tells in reply.message


def test_a_password_is_in_no_log_and_no_error(
    start: Start, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.log_in("very-secret")
    stage.registry.needs_token = True
    stage.registry.token_basic = "me:another"
    server = start(extra="\n".join(stage.extra))
    reply = server.manifest("hello", "latest")
    stage.registry.token_basic = "me:very-secret"
    assert server.manifest("hello", "latest").status == 200
    assert "very-secret" not in caplog.text + reply.message + repr(server.config)
    assert "token-" not in caplog.text


def test_the_oddities_are_documented() -> None:
    rows = [[oddity.what, oddity.outcome] for oddity in ODDITIES]
    assert_documented(
        "upstreams.md", "oddities", ["what an upstream does", "what comes of it"], rows
    )
