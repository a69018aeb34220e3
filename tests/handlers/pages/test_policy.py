"""Policies in words: every key has some, and no value falls through."""

from dataclasses import replace

from depproxy.cache.catalogue import policies
from depproxy.config import GroupConfig
from depproxy.handlers.pages.policy import sentences
from depproxy.oci.names import GroupName

USUAL = GroupConfig(GroupName("mygroup"))
SET = replace(
    USUAL,
    visibility="private",
    upstreams=("docker.io", "quay.io"),
    revalidate_after=300.0,
    stale_for=43200.0,
    refused_stale_for=3600.0,
    not_found_ttl=5.0,
    expire_after=90 * 86400.0,
    max_size=50 * 2**30,
    allow=("library/*", "acme/*"),
    deny=("*/secret",),
)


def words(group: GroupConfig) -> dict[str, str]:
    return {sentence.key: sentence.words for sentence in sentences(policies(group))}


def test_every_key_is_told_in_a_sentence_whatever_its_value() -> None:
    for group in (USUAL, SET):
        told = policies(group)
        for key, sentence in words(group).items():
            assert sentence != str(told[key]), f"{key} has no words"


def test_values_are_told_as_people_write_them() -> None:
    told = words(SET)
    assert told["upstreams"] == "docker.io, quay.io"
    assert told["revalidate_after"] == "A tag is good for 5 minutes without asking."
    assert told["expire_after"] == "What nobody has pulled for 90 days goes."
    assert told["max_size"] == "Beyond 50 GiB, the least recently pulled goes."
    assert told["allow"] == "Only library/*, acme/*."
    assert told["deny"] == "Never */secret."
    assert words(USUAL)["expire_after"] == "Nothing expires."
