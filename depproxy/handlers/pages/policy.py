"""A group's policies in words. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from depproxy import readable


@dataclass(frozen=True, slots=True)
class Sentence:
    """``key`` of the configuration, and what its value means."""

    key: str
    words: str


def sentences(policies: Mapping[str, Any]) -> list[Sentence]:
    """One for each key, in the order of the configuration."""
    return [Sentence(key, _words(key, value)) for key, value in policies.items()]


def _words(key: str, value: Any) -> str:
    match key, value:
        case "visibility", "public":
            return "Everybody who can reach this server may pull."
        case "visibility", _:
            return "Readers and owners may pull."
        case "upstreams", names:
            return _listed(names)
        case "revalidate_after", 0:
            return "A tag is checked with its upstream at each pull."
        case "revalidate_after", seconds:
            return f"A tag is good for {readable.duration(seconds)} without asking."
        case "stale_for", None:
            return "While an upstream fails, cached tags are served without limit."
        case "stale_for", seconds:
            return (
                f"While an upstream fails, cached tags are served for {readable.duration(seconds)}."
            )
        case "refused_stale_for", seconds:
            return f"After a refusal, cached tags are served for {readable.duration(seconds)}."
        case "not_found_ttl", seconds:
            return f"A 404 is remembered for {readable.duration(seconds)}."
        case "expire_after", None:
            return "Nothing expires."
        case "expire_after", seconds:
            return f"What nobody has pulled for {readable.duration(seconds)} goes."
        case "max_size", None:
            return "No limit."
        case "max_size", size:
            return f"Beyond {readable.limit(size)}, the least recently pulled goes."
        case "allow", ():
            return "All images."
        case "allow", patterns:
            return f"Only {_listed(patterns)}."
        case "deny", ():
            return "None."
        case "deny", patterns:
            return f"Never {_listed(patterns)}."
    return str(value)


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values)
