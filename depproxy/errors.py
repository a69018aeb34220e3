"""What can go wrong, in the words of the domain. Nothing here knows HTTP.

::

    DepproxyError
    ├── ConfigError                  the configuration file; carries every problem at once
    ├── InvalidRequest               the client's words are off
    │   ├── NameInvalid              no OCI repository name
    │   ├── TagInvalid               neither a tag nor a digest
    │   └── DigestInvalid            no digest, or of an algorithm that is not supported
    ├── Unknown                      well said, but there is no such thing
    │   ├── NameUnknown              group, upstream or repository
    │   │   ├── GroupUnknown         or one that the visitor must not know of
    │   │   ├── NothingHere          a path that is none of this server's
    │   │   └── NoMirror             a path without a group, where none is mirrored
    │   ├── ManifestUnknown
    │   └── BlobUnknown
    ├── RangeUnsatisfiable           begins behind the end; carries the size
    ├── ShuttingDown                 the server stops, and gives up on what it was doing
    ├── Denied                       a rule forbids it, or the upstream in spite of credentials
    ├── AccessError                  who asks, and what he may do
    │   ├── Unauthenticated          he has to say who he is; carries the challenge's error code
    │   ├── NotPermitted             he may see the group, and not do this
    │   └── TooManyAttempts          too many passwords to check; carries Retry-After
    ├── UsersFileError               the file of users cannot be read or changed
    ├── UpstreamError                carries the upstream's name
    │   ├── UpstreamNotFound         it says 404
    │   ├── UpstreamRefused          it says 401 or 403, also with a fresh token
    │   ├── UpstreamLimited          it says 429; carries Retry-After
    │   ├── UpstreamFailed           it says 5xx; carries the status
    │   ├── UpstreamUnreachable      no connection, or it broke
    │   ├── UpstreamTimeout          no byte for too long
    │   ├── UpstreamCannotResume     it has no answer to the range that was asked for
    │   └── UpstreamSenseless        an answer that no registry gives
    │       ├── ManifestRefused      not a manifest that we hand on
    │       └── ContentMismatch      the bytes are not what their digest says
    └── StoreError                   the disk
        ├── StoreFull                no space, or over quota
        └── StorePurged              the tree it began in has gone
"""

from collections.abc import Sequence


class DepproxyError(Exception):
    """The root; its text is written for the person who reads it at a ``docker pull``.

    ``word`` is what counts of failures call it: one word for each kind that is to be told apart.
    """

    word = "other"


class ConfigError(DepproxyError):
    """A wrong configuration file, with every problem that was found in it."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(f"{source}: {len(problems)} problem(s)")
        self.source = source
        self.problems = tuple(problems)


class InvalidRequest(DepproxyError):
    """The client's words do not follow the grammar."""


class NameInvalid(InvalidRequest):
    """No repository name of the OCI distribution specification."""


class TagInvalid(InvalidRequest):
    """A reference that is neither a tag nor a digest."""


class DigestInvalid(InvalidRequest):
    """No digest, or one of an algorithm that is not supported."""


class Unknown(DepproxyError):
    """There is no such thing here, nor at the upstream."""


class NameUnknown(Unknown):
    """No such group, upstream or repository."""


class GroupUnknown(NameUnknown):
    """No such group, or a private one that the visitor may not read: the text is the same."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no group {name!r} on this server: check the prefix")


_HOW = "images are pulled as <group>/dependency_proxy/containers/<image>"


class NothingHere(NameUnknown):
    """The path is none of this server's."""

    def __init__(self) -> None:
        super().__init__(f"there is nothing here: {_HOW}")


class NoMirror(NameUnknown):
    """A path without a group, where no group is mirrored, or none that the visitor may read."""

    def __init__(self) -> None:
        super().__init__(f"this server is no mirror: {_HOW}")


class ManifestUnknown(Unknown):
    """The upstream has no such manifest."""


class BlobUnknown(Unknown):
    """The upstream has no such blob."""


class RangeUnsatisfiable(DepproxyError):
    """The range begins behind the end of the blob.

    ``size`` is the blob's length in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"the range begins behind the end of the blob, which has {size} bytes")
        self.size = size


class ShuttingDown(DepproxyError):
    """The server stops."""

    word = "shutdown"

    def __init__(self) -> None:
        super().__init__("the server is shutting down: try again in a moment")


class Denied(DepproxyError):
    """A rule of the group forbids it, or the upstream in spite of the configured credentials."""


class AccessError(DepproxyError):
    """Who asks may not do so."""


class Unauthenticated(AccessError):
    """Who asks has to present credentials, or better ones.

    ``reason`` is the error code of RFC 6750, section 3.1, if the token that came is to blame.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class NotPermitted(AccessError):
    """A known user may see the group, and not do what he asks for."""


class TooManyAttempts(AccessError):
    """Passwords come faster than they are checked. ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UsersFileError(DepproxyError):
    """The htpasswd file cannot be read or changed."""


class UpstreamError(DepproxyError):
    """Something between us and the upstream. ``upstream`` is its name in the configuration."""

    def __init__(self, upstream: str, message: str) -> None:
        super().__init__(f"{upstream}: {message}")
        self.upstream = upstream


class UpstreamNotFound(UpstreamError):
    """The upstream says that it has no such thing."""

    word = "not_found"


class UpstreamRefused(UpstreamError):
    """The upstream does not let us have it, also with a fresh token."""

    word = "refused"


class UpstreamLimited(UpstreamError):
    """The upstream limits us. ``retry_after`` is what it asked for, in seconds, if it did."""

    word = "limited"

    def __init__(self, upstream: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(upstream, message)
        self.retry_after = retry_after


class UpstreamFailed(UpstreamError):
    """The upstream, or its token service, answers with a 5xx ``status``."""

    word = "server_error"

    def __init__(self, upstream: str, message: str, status: int) -> None:
        super().__init__(upstream, message)
        self.status = status


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, or it broke."""

    word = "unreachable"


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for too long."""

    word = "timeout"


class UpstreamCannotResume(UpstreamError):
    """The upstream does not send the range that was asked for; the whole may work."""

    word = "cannot_resume"


class UpstreamSenseless(UpstreamError):
    """An answer that no registry gives, or one that is not safe to follow."""

    word = "senseless"


class ManifestRefused(UpstreamSenseless):
    """The upstream's document is not a manifest that may be handed on."""


class ContentMismatch(UpstreamSenseless):
    """The bytes that came are not those that their digest names."""

    word = "wrong_content"


class StoreError(DepproxyError):
    """The disk refuses to read or write."""

    word = "disk"


class StoreFull(StoreError):
    """No space is left on the disk, or a quota is used up."""

    word = "disk_full"


class StorePurged(StoreError):
    """The tree that a file was to be published into was purged meanwhile."""

    word = "purged"
