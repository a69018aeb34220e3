"""How far a fill has come, for people."""

from dataclasses import dataclass

from depproxy.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Progress:
    """A fill under way, and the image that it was begun for. ``state`` is that of the fill;
    ``written`` and ``size`` are in bytes, the latter None where nobody has told."""

    image: str
    digest: Digest
    state: str
    written: int
    size: int | None

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the size is not known."""
        return None if self.size is None else min(1.0, self.written / max(1, self.size))
