"""Manifests: which documents are handed on, and with which media type."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.oci.manifest import (
    ACCEPT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_MANIFEST,
    MEDIA_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    MediaTypeMissing,
    NotAManifest,
    is_telling,
    judge_manifest,
    media_type_of,
)

IMAGE: dict[str, object] = {"schemaVersion": 2, "config": {"size": 1}, "layers": []}
INDEX: dict[str, object] = {"schemaVersion": 2, "manifests": []}
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
SIGNED_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def shape(media_type: str) -> dict[str, object]:
    return INDEX if media_type in (DOCKER_LIST, OCI_INDEX) else IMAGE


def document(base: dict[str, object], **fields: object) -> bytes:
    return json.dumps({**base, **fields}).encode()


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "application/octet-stream; charset=binary"]
)
def test_the_bodys_own_type_counts_where_the_upstream_says_nothing(
    media_type: str, content_type: str | None
) -> None:
    body = document(shape(media_type), mediaType=media_type)
    assert judge_manifest(body, content_type) == media_type


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("fields", [{}, {"mediaType": None}])
def test_without_a_type_in_the_body_the_upstreams_counts_without_its_parameters(
    media_type: str, fields: dict[str, None]
) -> None:
    body = document(shape(media_type), **fields)
    assert judge_manifest(body, f"{media_type}; charset=utf-8") == media_type


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_both_may_say_the_same(media_type: str) -> None:
    body = document(shape(media_type), mediaType=media_type)
    assert judge_manifest(body, media_type.upper()) == media_type


@pytest.mark.parametrize("content_type", [None, "", "application/json", "binary/octet-stream"])
def test_a_type_that_nobody_tells_is_missing(content_type: str | None) -> None:
    with pytest.raises(MediaTypeMissing):
        judge_manifest(document(IMAGE), content_type)


@pytest.mark.parametrize("own", MEDIA_TYPES)
@pytest.mark.parametrize("said", [*MEDIA_TYPES, "text/html"])
def test_a_contradiction_is_refused(own: str, said: str) -> None:
    if own == said:
        return
    with pytest.raises(NotAManifest):
        judge_manifest(document(shape(own), mediaType=own), said)


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.plugin.v1+json", "x"],
)
def test_an_unknown_type_is_refused_whoever_tells_it(media_type: str) -> None:
    with pytest.raises(NotAManifest):
        judge_manifest(document(IMAGE, mediaType=media_type), None)
    with pytest.raises(NotAManifest):
        judge_manifest(document(IMAGE), media_type)


@pytest.mark.parametrize("own", [5, True, [], {}, [OCI_MANIFEST]])
def test_a_media_type_is_a_string(own: object) -> None:
    with pytest.raises(NotAManifest):
        judge_manifest(document(IMAGE, mediaType=own), OCI_MANIFEST)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("fields", [{"layers": []}, {"config": {}}, {"layers": None}])
def test_a_document_that_is_both_manifest_and_index_is_refused(
    media_type: str, fields: dict[str, object]
) -> None:
    with pytest.raises(NotAManifest, match="CVE-2021-41190"):
        judge_manifest(document(INDEX, mediaType=media_type, **fields), media_type)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_document_has_the_shape_of_its_type(media_type: str) -> None:
    wrong = IMAGE if shape(media_type) is INDEX else INDEX
    with pytest.raises(NotAManifest):
        judge_manifest(document(wrong, mediaType=media_type), media_type)


@pytest.mark.parametrize(
    ("base", "media_type", "fields"),
    [
        (IMAGE, OCI_MANIFEST, {"layers": {}}),
        (IMAGE, OCI_MANIFEST, {"config": None}),
        (IMAGE, DOCKER_MANIFEST, {"config": "sha256:abc"}),
        (INDEX, OCI_INDEX, {"manifests": {}}),
        (INDEX, DOCKER_LIST, {"manifests": None}),
    ],
)
def test_config_layers_and_manifests_are_of_the_right_kind(
    base: dict[str, object], media_type: str, fields: dict[str, object]
) -> None:
    with pytest.raises(NotAManifest):
        judge_manifest(document(base, **fields), media_type)


@pytest.mark.parametrize("media_type", [SCHEMA_1, SIGNED_SCHEMA_1])
def test_schema_1_is_refused_with_advice(media_type: str) -> None:
    old = {"schemaVersion": 1, "name": "library/alpine", "fsLayers": [], "history": []}
    with pytest.raises(NotAManifest, match=r"schema 1 .* push the image again"):
        judge_manifest(document(old), f"{media_type}; charset=utf-8")
    with pytest.raises(NotAManifest, match="schema 1"):
        judge_manifest(document(old, mediaType=media_type), None)


@pytest.mark.parametrize("version", [None, 1, 3, "2", True, [2]])
def test_the_schema_version_is_two(version: object) -> None:
    with pytest.raises(NotAManifest):
        judge_manifest(document(IMAGE, schemaVersion=version), OCI_MANIFEST)


def test_a_document_of_two_schemas_is_refused() -> None:
    with pytest.raises(NotAManifest):
        judge_manifest(document(IMAGE, fsLayers=[]), DOCKER_MANIFEST)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe\xfd",
        b"[]",
        b"null",
        b"2",
        b'"manifest"',
        b'{"schemaVersion": 2',
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"size": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)
def test_what_is_no_json_object_that_can_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(NotAManifest):
        judge_manifest(body, OCI_MANIFEST)


def test_four_mebibytes_are_the_limit() -> None:
    body = document(IMAGE)
    whole = body + b" " * (MAX_MANIFEST - len(body))
    assert judge_manifest(whole, OCI_MANIFEST) == OCI_MANIFEST
    with pytest.raises(NotAManifest, match="4194304"):
        judge_manifest(whole + b" ", OCI_MANIFEST)


@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from([*IMAGE, *INDEX, "mediaType", "fsLayers"]), JSON).map(
        lambda value: json.dumps(value).encode()
    ),
    st.none() | st.text() | st.sampled_from(MEDIA_TYPES),
)
def test_any_bytes_get_a_known_type_or_are_refused(body: bytes, content_type: str | None) -> None:
    with suppress(NotAManifest):
        assert judge_manifest(body, content_type) in MEDIA_TYPES


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, ""),
        ("", ""),
        ("text/html", "text/html"),
        (" Text/HTML ; charset=utf-8", "text/html"),
        (";", ""),
    ],
)
def test_a_media_type_has_no_parameters_and_no_capitals(header: str | None, expected: str) -> None:
    assert media_type_of(header) == expected


@pytest.mark.parametrize("content_type", [*MEDIA_TYPES, SCHEMA_1, f"{SIGNED_SCHEMA_1}; charset=x"])
def test_a_manifests_type_tells_something(content_type: str) -> None:
    assert is_telling(content_type)


@pytest.mark.parametrize("content_type", ["", "application/json", "text/html"])
def test_any_other_type_tells_nothing(content_type: str) -> None:
    assert not is_telling(content_type)


def test_upstreams_are_asked_for_the_four_types_and_nothing_else() -> None:
    assert ACCEPT.split(", ") == list(MEDIA_TYPES)
    assert set(MEDIA_TYPES) == {DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX}
