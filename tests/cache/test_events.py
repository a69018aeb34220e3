"""What happens to downloads and tags, by group."""

from depproxy.cache.events import OUTCOMES, RESULTS, Events
from depproxy.cache.fill import ENDED
from depproxy.errors import StoreFull, UpstreamNotFound, UpstreamTimeout
from depproxy.oci.names import GroupName

ACME = GroupName("acme")


def test_outcomes_are_the_ends_of_a_fill() -> None:
    assert {state.value for state in ENDED} == set(OUTCOMES)


def test_only_a_failure_has_a_reason() -> None:
    events = Events()
    events.filled(ACME, "stored", None)
    events.filled(ACME, "unstored", None)
    events.filled(ACME, "failed", StoreFull("no space"))
    assert events.fills == {(ACME, outcome): 1 for outcome in OUTCOMES}
    assert events.failures == {(ACME, "disk_full"): 1}


def test_a_question_about_a_tag_has_four_results() -> None:
    events = Events()
    events.asked(ACME, is_on_disk=True)
    events.asked(ACME, is_on_disk=False)
    events.not_told(ACME, UpstreamNotFound("docker.io", ""))
    events.not_told(ACME, UpstreamTimeout("docker.io", ""))
    assert events.revalidations == {(ACME, result): 1 for result in RESULTS}
