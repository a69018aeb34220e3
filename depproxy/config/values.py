"""The grammar of single values: each function turns what YAML gave into a value or says, by
`ValueError`, what it expected."""

import ipaddress
import math
import os
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from depproxy.config.model import Address
from depproxy.errors import NameInvalid
from depproxy.oci.names import GroupName

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|[kK]B|MB|GB|TB|KiB|MiB|GiB|TiB)", re.ASCII)
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_DOTTED_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+", re.ASCII)
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_USER = re.compile(r"(?!#)[^\s:,/\ud800-\udfff]{1,128}")
_PATTERN = re.compile(r"[a-z0-9._/*?\[\]!-]{1,255}", re.ASCII)


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


def path(value: Any) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path")
    return Path(value)


def readable_file(value: Any) -> Path:
    """A file that is there and can be read now."""
    file = path(value)
    if not file.is_file() or not os.access(file, os.R_OK):
        raise ValueError("a file that can be read")
    return file


def certificates(value: Any) -> Path:
    """A file with nothing but certificates in PEM, at least one."""
    file = readable_file(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise ValueError("a file of certificates in PEM") from None
    return file


def duration(value: Any) -> float:
    """Seconds. ``30s``, ``5m``, ``12h``, ``90d``."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match or len(value) > 12:
        raise ValueError("a duration such as 30s, 5m, 12h or 90d")
    return float(match[1]) * _SECONDS[match[2]]


def positive_duration(value: Any) -> float:
    """Seconds, more than none."""
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("a duration above zero, such as 30s")
    return seconds


def token_lifetime(value: Any) -> float:
    """Seconds, of five minutes or more."""
    seconds = duration(value)
    if seconds < 300:
        raise ValueError("a duration of at least 5m, since clients keep a token that long")
    return seconds


def size(value: Any) -> int:
    """Bytes. ``500MB``, ``50GiB``."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match or len(value) > 20:
        raise ValueError("a size such as 500MB or 50GiB")
    return math.floor(float(match[1]) * _BYTES[match[2]])


def connections(value: Any) -> int:
    """How many at once."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
        raise ValueError("a whole number from 1 to 10000")
    return value


def host(value: Any) -> str:
    """A host name or a literal address, without a port."""
    if isinstance(value, str):
        lowered = value.lower()
        if _HOST.fullmatch(lowered) and len(lowered) <= 253:
            return lowered
        if _is_address(lowered.strip("[]")):
            return lowered.strip("[]")
    raise ValueError("a host name without a port")


def registry_host(value: Any) -> str:
    """An upstream's name: with a dot, without a port."""
    if not isinstance(value, str) or not _DOTTED_HOST.fullmatch(value) or len(value) > 253:
        raise ValueError("a host name with a dot, in lower case, without a port")
    return value


def registry_alias(value: Any) -> str:
    """Another host name of an upstream; it may carry a port."""
    if isinstance(value, str):
        name, colon, port = value.lower().partition(":")
        if _HOST.fullmatch(name) and len(name) <= 253 and (not colon or _is_port(port)):
            return value.lower()
    raise ValueError("a host name, with a port if need be")


def http_url(value: Any) -> str:
    """``http://`` or ``https://``, a host, perhaps a port and a path; no credentials, no query."""
    expected = "a URL such as https://registry.example.org"
    if not isinstance(value, str):
        raise ValueError(expected)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(expected)
    if "@" in parts.netloc:
        raise ValueError("a URL without credentials: name them by username and password_file")
    if re.search(r"[?#\s]", value):
        raise ValueError(expected)
    return value.rstrip("/")


def external_url(value: Any) -> str:
    """As `http_url`, without a path: images are pulled from the root."""
    url = http_url(value)
    if urlsplit(url).path:
        raise ValueError("a URL without a path, such as https://proxy.example.org")
    return url


def listen_address(value: Any) -> Address:
    """``host:port``, ``[address]:port`` or ``unix:/path``."""
    expected = "an address such as 127.0.0.1:8080, [::1]:8080 or unix:/run/depproxy.sock"
    if not isinstance(value, str):
        raise ValueError(expected)
    if value.startswith("unix:"):
        if not value.removeprefix("unix:").startswith("/"):
            raise ValueError(expected)
        return Address(unix=value.removeprefix("unix:"))
    name, colon, port = value.rpartition(":")
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    if not colon or not _is_port(port, lowest=0) or (":" in bare and bare == name):
        raise ValueError(expected)
    if not (_is_address(bare) or _HOST.fullmatch(bare.lower())):
        raise ValueError(expected)
    return Address(host=bare, port=int(port))


def trusted_proxy(value: Any) -> str:
    """An address, a network in CIDR notation, or ``unix``: whoever comes by a unix socket."""
    if value == "unix":
        return "unix"
    try:
        return str(ipaddress.ip_network(value if isinstance(value, str) else "", strict=False))
    except ValueError:
        raise ValueError("an address or network such as 10.0.0.0/8, or unix") from None


def variable(value: Any) -> str:
    """The name of a variable."""
    if not isinstance(value, str) or not _ENV.fullmatch(value):
        raise ValueError("the name of an environment variable")
    return value


def set_variable(value: Any) -> str:
    """The name of a variable that is set now."""
    name = variable(value)
    if name not in os.environ:
        raise ValueError("the name of an environment variable that is set")
    return name


def is_user(name: str) -> bool:
    """Whether ``name`` can be a user's: no spaces, colons, commas and slashes."""
    return bool(_USER.fullmatch(name))


def user(value: Any) -> str:
    if not isinstance(value, str) or not is_user(value):
        raise ValueError("a user's name")
    return value


def group_name(value: Any) -> GroupName:
    """See `GroupName.parse`."""
    try:
        return GroupName.parse(value if isinstance(value, str) else "")
    except NameInvalid as exc:
        raise ValueError(f"a group's name such as acme or acme/platform ({exc})") from exc


def image_pattern(value: Any) -> str:
    """A name of an image, in which ``*``, ``?`` and ``[…]`` stand for others (`fnmatch`)."""
    if not isinstance(value, str) or not _PATTERN.fullmatch(value):
        raise ValueError("a pattern of image names such as library/* or quay.io/prometheus/*")
    return value


def _is_port(digits: str, lowest: int = 1) -> bool:
    return (
        digits.isascii()
        and digits.isdigit()
        and len(digits) <= 5
        and lowest <= int(digits) <= 65535
    )


def _is_address(candidate: str) -> bool:
    try:
        ipaddress.ip_address(candidate)
    except ValueError:
        return False
    return True
