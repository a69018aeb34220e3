"""What a manifest leads to: variants of an index, config and layers of a manifest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.demo.image import make_image
from depproxy.oci.contents import (
    Contents,
    Part,
    Variant,
    contents_of,
    platform_of_config,
)
from depproxy.oci.digest import Digest
from depproxy.oci.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

CONFIG, FIRST, SECOND = (Digest.of(data) for data in (b"config", b"first", b"second"))
LONG = Digest.of(b"long", "sha512")
NOTHING = Contents()
WORDS = ["manifests", "layers", "config", "digest", "size"]
WORDS += ["platform", "os", "architecture", "variant"]
GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([CONFIG, FIRST, LONG, "unknown", "linux"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
        )
    ),
    max_leaves=15,
)
DOCUMENTS = st.fixed_dictionaries(
    {}, optional={"manifests": GARBAGE, "layers": GARBAGE, "config": GARBAGE}
) | st.fixed_dictionaries(
    {"manifests": st.lists(st.fixed_dictionaries({}, optional={"digest": GARBAGE}))}
)


def described(digest: object, size: object = 1, **more: object) -> dict[str, object]:
    return {"digest": digest, "size": size, **more}


def body(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def index(*platforms: object) -> bytes:
    """One manifest for each platform; None: the index does not tell."""
    return body(
        mediaType=OCI_INDEX,
        manifests=[
            described(FIRST, **({} if platform is None else {"platform": platform}))
            for platform in platforms
        ],
    )


def platforms(document: bytes) -> list[str]:
    return [variant.platform for variant in contents_of(document).variants]


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_MANIFEST])
def test_a_manifest_leads_to_its_config_and_layers_in_order(media_type: str) -> None:
    document = body(
        mediaType=media_type,
        config=described(CONFIG, 7),
        layers=[described(FIRST, 10), described(LONG, 20)],
    )
    assert contents_of(document) == Contents(
        parts=(Part(CONFIG, 7), Part(FIRST, 10), Part(LONG, 20)), config=CONFIG
    )
    assert contents_of(document).digests == (CONFIG, FIRST, LONG)


@pytest.mark.parametrize("media_type", [DOCKER_LIST, OCI_INDEX])
def test_an_index_leads_to_its_manifests(media_type: str) -> None:
    document = body(
        mediaType=media_type,
        manifests=[
            described(FIRST, platform={"os": "linux", "architecture": "amd64"}),
            described(SECOND, platform={"os": "linux", "architecture": "arm64", "variant": "v8"}),
        ],
    )
    assert contents_of(document) == Contents(
        (Variant(FIRST, "linux/amd64"), Variant(SECOND, "linux/arm64/v8"))
    )
    assert contents_of(document).digests == (FIRST, SECOND)


def test_a_whole_image_is_found_from_its_index() -> None:
    image = make_image("Found.", {"file": b"shared by both platforms"})
    found: set[Digest] = set()
    ways = [image.index]
    while ways:
        digest = ways.pop()
        found.add(digest)
        if digest in image.manifests:
            ways += contents_of(image.manifests[digest][1]).digests
    assert found == {*image.manifests, *image.blobs}


def test_a_part_that_is_named_twice_is_one_part() -> None:
    """Empty layers come many times in one manifest, and a config may be a layer as well."""
    document = body(
        config=described(CONFIG, 7),
        layers=[described(FIRST, 10), described(FIRST, 10), described(CONFIG, 9)],
    )
    assert contents_of(document).parts == (Part(CONFIG, 7), Part(FIRST, 10))


def test_a_manifest_for_two_platforms_is_two_variants() -> None:
    document = index(
        {"os": "linux", "architecture": "arm", "variant": "v6"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
    )
    assert platforms(document) == ["linux/arm/v6", "linux/arm/v7"]


@pytest.mark.parametrize(
    "platform",
    [
        None,
        {},
        "linux/amd64",
        ["linux", "amd64"],
        {"os": "linux"},
        {"architecture": "amd64"},
        {"os": "", "architecture": "amd64"},
        {"os": 1, "architecture": 2},
        {"os": "unknown", "architecture": "unknown"},
        {"os": "linux", "architecture": "unknown"},
    ],
    ids=str,
)
def test_a_variant_without_a_whole_known_platform_has_none(platform: object) -> None:
    """Attestations are filed under ``unknown/unknown``."""
    assert platforms(index(platform)) == [""]


def test_a_variant_is_no_substitute_for_an_operating_system() -> None:
    assert platforms(index({"architecture": "arm", "variant": "v7"})) == [""]
    assert platforms(index({"os": "linux", "variant": "v7"})) == [""]


def test_other_words_of_a_platform_are_left_out() -> None:
    platform = {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"}
    assert platforms(index(platform)) == ["windows/amd64"]


@pytest.mark.parametrize(
    "wrong", [None, 1, "", "sha256:abc", "md5:" + "0" * 32, str(FIRST).upper(), [FIRST], {}]
)
def test_what_has_no_digest_leads_nowhere(wrong: object) -> None:
    entries = [described(wrong), described(SECOND)]
    assert contents_of(body(manifests=entries)).digests == (SECOND,)
    found = contents_of(body(config=described(wrong), layers=entries))
    assert found == Contents(parts=(Part(SECOND, 1),))


@pytest.mark.parametrize("size", [None, -1, 1.5, "12", [], {}])
def test_a_size_that_is_none_counts_as_nothing(size: object) -> None:
    assert contents_of(body(layers=[described(FIRST, size)])).parts == (Part(FIRST, 0),)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"\xff\xfe\xfd",
        b"[]",
        b"null",
        b"2",
        b'{"manifests": [',
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"size": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda document: document[:12].decode("latin-1"),
)
def test_what_cannot_be_read_leads_nowhere(document: bytes) -> None:
    assert contents_of(document) == NOTHING
    assert platform_of_config(document) == ""


@given(st.binary() | DOCUMENTS.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_lead_to_digests_or_nowhere(document: bytes) -> None:
    found = contents_of(document)
    for digest in found.digests:
        assert Digest.parse(digest) == digest
    assert len({part.digest for part in found.parts}) == len(found.parts)
    assert all(part.size >= 0 for part in found.parts)
    assert found.config is None or found.config in found.digests
    platform_of_config(document)


@pytest.mark.parametrize(
    ("config", "platform"),
    [
        ({"os": "linux", "architecture": "amd64", "config": {}}, "linux/amd64"),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({"created": "2026-01-01T00:00:00Z"}, ""),
        ([], ""),
    ],
)
def test_a_config_says_what_an_image_is_for(config: object, platform: str) -> None:
    assert platform_of_config(json.dumps(config).encode()) == platform
