"""Names that are not told are summed, and no sum ever becomes smaller."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from depproxy.metrics.disclosure import PRIVATE, REMOVED, Disclosure
from depproxy.metrics.exposition import Exposition
from depproxy.metrics.families import FAMILIES
from depproxy.tallies import Labels, Samples
from tests.waiting import CHANCE

FAMILY = "depproxy_served_bytes"
COUNTS: Samples = {("open", "x"): 5, ("hidden", "x"): 3, ("secret", "x"): 4, ("", "x"): 1}
NAMES = {"open": "open", "hidden": PRIVATE, "secret": PRIVATE}


def disclosure(names: dict[str, str]) -> Disclosure:
    made = Disclosure()
    made.change(names, {})
    return made


def test_private_names_are_summed() -> None:
    shown = disclosure(NAMES).growing("m", COUNTS)
    assert shown == {("open", "x"): 5, (PRIVATE, "x"): 7, ("", "x"): 1}


def test_what_is_about_now_is_merged_as_its_metric_says() -> None:
    told = disclosure(NAMES)
    assert told.current({("hidden",): 3, ("secret",): 4}, max) == {(PRIVATE,): 4}
    assert told.current({("hidden",): 3, ("secret",): 4}, sum) == {(PRIVATE,): 7}


def test_a_name_that_nobody_knows_is_not_told() -> None:
    assert disclosure({}).growing("m", {("x",): 1}) == {(REMOVED,): 1}


def test_a_group_that_goes_leaves_its_counts_and_begins_anew_when_it_comes_back() -> None:
    told = disclosure({"a": "a"})
    told.change({}, {"m": {("a",): 5}})
    assert told.growing("m", {("a",): 6}) == {(REMOVED,): 6}
    told.change({"a": "a"}, {"m": {("a",): 6}})
    assert told.growing("m", {("a",): 8}) == {(REMOVED,): 6, ("a",): 2}


def test_a_group_that_becomes_private_takes_its_name_along() -> None:
    told = disclosure({"a": "a", "b": PRIVATE})
    told.change({"a": PRIVATE, "b": PRIVATE}, {"m": {("a",): 5, ("b",): 1}})
    assert told.growing("m", {("a",): 6, ("b",): 1}) == {(REMOVED,): 5, (PRIVATE,): 2}


def test_a_group_that_becomes_public_leaves_what_was_private_in_the_sum() -> None:
    told = disclosure({"a": PRIVATE})
    told.change({"a": "a"}, {"m": {("a",): 5}})
    assert told.growing("m", {("a",): 6}) == {(PRIVATE,): 5, ("a",): 1}


STEPS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
        st.dictionaries(st.sampled_from("abc"), st.booleans()),
    )
)


@given(STEPS)
def test_sums_never_become_smaller_and_nothing_is_lost(
    steps: list[tuple[dict[str, int], dict[str, bool]]],
) -> None:
    told, counts, sums = Disclosure(), dict.fromkeys("abc", 0), {PRIVATE: 0.0, REMOVED: 0.0}
    for more, visible in steps:
        for name, count in more.items():
            counts[name] += count
        samples: dict[Labels, float] = {(name,): count for name, count in counts.items()}
        shown = told.growing("m", samples)
        assert sum(shown.values()) == sum(counts.values())
        told.change(
            {name: name if is_public else PRIVATE for name, is_public in visible.items()},
            {"m": samples},
        )
        shown = told.growing("m", samples)
        assert sum(shown.values()) == sum(counts.values())
        for label, before in sums.items():
            sums[label] = shown.get((label,), 0)
            assert sums[label] >= before
        public = {name for name, is_public in visible.items() if is_public}
        assert {name for (name,) in shown} <= public | set(sums)


def test_no_sum_becomes_smaller_where_a_reload_meets_a_scrape() -> None:
    """A group becomes private between the reading of its numbers and their telling."""
    counts: dict[Labels, float] = {("a",): 10.0, ("b",): 100.0}
    reloads: list[threading.Thread] = []

    def reload() -> None:
        counts["a",] += 5000.0
        exposition.tell({"group": {"a": PRIVATE, "b": PRIVATE}, "upstream": {}})

    def read() -> Samples:
        now = dict(counts)
        if is_met and not reloads:
            reloads.append(threading.Thread(target=reload))
            reloads[0].start()
            reloads[0].join(CHANCE)
        return now

    def private() -> float:
        text, _ = asyncio.run(exposition.render("text/plain"))
        begin = f'{FAMILY}_total{{group="{PRIVATE}"'
        [line] = [line for line in text.decode().splitlines() if line.startswith(begin)]
        return float(line.split(" ")[1])

    readings = {family.name: read if family.name == FAMILY else dict for family in FAMILIES}
    with ThreadPoolExecutor() as pool:
        exposition = Exposition(readings, pool, tells_all=False)
        is_met = False
        exposition.tell({"group": {"a": "a", "b": PRIVATE}, "upstream": {}})
        before = private()
        is_met = True
        during = private()
        reloads[0].join()
        assert before <= during <= private()
