"""What happens to downloads, tags and stale answers, counted for who watches over the server."""

from depproxy.errors import DepproxyError, UpstreamError, UpstreamNotFound
from depproxy.oci.names import GroupName
from depproxy.tallies import Tally

OUTCOMES = ("stored", "unstored", "failed")
"""How a download ends; as `cache.fill.State` calls it."""

RESULTS = ("confirmed", "changed", "gone", "failed")
"""What comes of asking an upstream for a tag."""


class Events:
    """Counts since the start, of all groups. Lives on the event loop."""

    def __init__(self) -> None:
        self.fills = Tally()
        """By group and outcome."""
        self.failures = Tally()
        """Downloads that failed, by group and reason."""
        self.resumptions = Tally()
        """By group."""
        self.revalidations = Tally()
        """By group and result."""
        self.stale = Tally()
        """By group."""

    def filled(self, group: GroupName, outcome: str, error: DepproxyError | None) -> None:
        """A download has ended; ``error`` is why it failed."""
        self.fills[group, outcome] += 1
        if outcome == "failed" and error is not None:
            self.failures[group, error.word] += 1

    def resumed(self, group: GroupName) -> None:
        """A download goes on after its transfer had broken."""
        self.resumptions[(group,)] += 1

    def asked(self, group: GroupName, *, is_on_disk: bool) -> None:
        """An upstream has told what a tag is now."""
        self.revalidations[group, "confirmed" if is_on_disk else "changed"] += 1

    def not_told(self, group: GroupName, error: UpstreamError) -> None:
        """An upstream has not told what a tag is now."""
        result = "gone" if isinstance(error, UpstreamNotFound) else "failed"
        self.revalidations[group, result] += 1

    def served_stale(self, group: GroupName) -> None:
        """What the upstream did not confirm was served."""
        self.stale[(group,)] += 1
