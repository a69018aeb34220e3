"""``WWW-Authenticate``: RFC 9110, section 11.6.1, and the token protocol of registries,
https://distribution.github.io/distribution/spec/auth/token/
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,\s*)?')
_SCHEME = re.compile(rf"\s*(?:,\s*)*({_TOKEN})(?:\s+|,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """``scheme`` and the names of the parameters are in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of all ``WWW-Authenticate`` fields; what can't be read ends its field."""
    challenges = []
    for header in headers:
        position = 0
        while match := _SCHEME.match(header, position):
            position = match.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                name, quoted, plain = parameter.groups()
                value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters.setdefault(name.lower(), value)
                position = parameter.end()
            challenges.append(Challenge(match[1].lower(), parameters))
    return challenges
