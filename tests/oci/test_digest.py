"""Digests: two algorithms, lower-case hexadecimal digits; a reference is a tag or one of them."""

import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.errors import DigestInvalid, TagInvalid
from depproxy.oci.digest import ALGORITHMS, Digest, parse_reference
from depproxy.oci.names import Tag

ANY_ALGORITHM = st.sampled_from(sorted(ALGORITHMS))


@given(st.binary(), ANY_ALGORITHM)
def test_a_digest_reads_back_as_what_it_is(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert Digest.parse(str(digest)) == digest
    assert parse_reference(str(digest)) == digest
    assert (digest.algorithm, digest.hex) == (algorithm, hashlib.new(algorithm, data).hexdigest())


@given(st.binary(), st.binary(), ANY_ALGORITHM)
def test_a_digest_names_its_own_bytes_only(data: bytes, other: bytes, algorithm: str) -> None:
    assert Digest.of(data, algorithm).names(data)
    assert Digest.of(data, algorithm).names(other) == (data == other)


@given(st.lists(st.binary()), ANY_ALGORITHM)
def test_a_hasher_is_of_the_digests_own_algorithm(pieces: list[bytes], algorithm: str) -> None:
    digest = Digest.of(b"".join(pieces), algorithm)
    hasher = digest.hasher()
    for piece in pieces:
        hasher.update(piece)
    assert hasher.hexdigest() == digest.hex


@given(st.text() | st.text("sha2561:+.f"))
def test_any_text_is_a_digest_as_it_stands_or_invalid(text: str) -> None:
    with suppress(DigestInvalid):
        assert Digest.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
        "sha256:" + "١" * 64,
        "sha256:" + "a" * 128,
        "sha512:" + "a" * 64,
        "SHA256:" + "a" * 64,
        "sha384:" + "a" * 96,
        "md5:" + "a" * 32,
        "blake3:" + "a" * 64,
        "sha256+b64:" + "a" * 64,
        "sha256:../../../../etc/passwd",
    ],
)
def test_another_algorithm_length_or_alphabet_is_no_digest(text: str) -> None:
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


def test_the_refusal_of_an_algorithm_names_the_supported_ones() -> None:
    with pytest.raises(DigestInvalid, match="sha256 or sha512"):
        Digest.parse("md5:" + "a" * 32)


@pytest.mark.parametrize("text", ["latest", "3.20", "sha256", "sha256-" + "a" * 64 + ".sig"])
def test_a_reference_without_a_colon_is_a_tag(text: str) -> None:
    reference = parse_reference(text)
    assert isinstance(reference, Tag)
    assert reference == text


@pytest.mark.parametrize("text", ["a:b", "latest:", ":latest", "md5:abc", "sha256:abc"])
def test_a_reference_with_a_colon_is_a_digest(text: str) -> None:
    with pytest.raises(DigestInvalid):
        parse_reference(text)


@pytest.mark.parametrize("text", ["", ".hidden", "a/b", "a b", "a" * 129])
def test_a_reference_that_is_neither_is_an_invalid_tag(text: str) -> None:
    with pytest.raises(TagInvalid):
        parse_reference(text)


@given(st.text())
def test_any_text_is_a_reference_or_one_of_two_errors(text: str) -> None:
    try:
        assert parse_reference(text) == text
    except DigestInvalid:
        assert ":" in text
    except TagInvalid:
        assert ":" not in text
