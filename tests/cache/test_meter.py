"""What was asked for and moved: by group and by hour, over restarts and from many threads."""

import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depproxy.cache.meter import HOURS_KEPT, Counts, Meter, decode_counts
from depproxy.oci.names import GroupName
from depproxy.store.data_dir import DataDir, open_data_dir
from tests.clock import Clock

GROUP, OTHER = GroupName("acme/platform"), GroupName("other")
HOUR = 3600
START = 1_700_000_000 // HOUR * HOUR
"""The beginning of an hour."""


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cut is tested here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDir]:
    data = open_data_dir(tmp_path)
    yield data
    data.close()


@pytest.fixture
def meter(data: DataDir, clock: Clock) -> Meter:
    return Meter(data, clock)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "groups/acme/platform/-usage.json"


def test_answers_and_bytes_are_counted(meter: Meter) -> None:
    for size in (100, 50):
        meter.answered(GROUP, is_hit=True, served=size)
    meter.answered(GROUP, is_hit=False, served=30)
    meter.fetched(GROUP, 40)
    assert meter.counts(GROUP).total == Counts(hits=2, misses=1, served=180, fetched=40)


def test_every_group_has_its_own_counts(meter: Meter) -> None:
    meter.fetched(GROUP, 40)
    assert meter.counts(OTHER).total == Counts()


@pytest.mark.parametrize(("served", "fetched", "saved"), [(10, 4, 6), (4, 10, 0), (0, 0, 0)])
def test_what_upstreams_did_not_have_to_send_is_saved(
    served: int, fetched: int, saved: int
) -> None:
    """A pull that a client gave up costs more than it served, and saves nothing."""
    assert Counts(served=served, fetched=fetched).saved == saved


def test_each_hour_is_counted_by_itself(meter: Meter, clock: Clock) -> None:
    for now in (START, START + HOUR - 0.001, START + HOUR, START + 5 * HOUR + 17):
        clock.now = now
        meter.fetched(GROUP, 1)
    hours = meter.counts(GROUP).hours
    assert {hour: counts.fetched for hour, counts in hours.items()} == {
        START: 2,
        START + HOUR: 1,
        START + 5 * HOUR: 1,
    }
    assert meter.counts(GROUP).total.fetched == 4


def test_hours_can_be_read_while_counting_goes_on(meter: Meter, clock: Clock) -> None:
    meter.fetched(GROUP, 1)
    told = meter.hours(GROUP)
    meter.fetched(GROUP, 1)
    clock.now += HOUR
    meter.fetched(GROUP, 1)
    assert told == {START: Counts(fetched=1)}


def test_hours_are_kept_for_thirty_days(meter: Meter, clock: Clock) -> None:
    for number in range(HOURS_KEPT + 50):
        clock.now = START + number * HOUR
        meter.fetched(GROUP, 1)
    hours = meter.counts(GROUP).hours
    assert len(hours) == HOURS_KEPT == 720
    assert (min(hours), max(hours)) == (START + 50 * HOUR, clock.now)
    assert meter.counts(GROUP).total.fetched == HOURS_KEPT + 50


def test_after_a_long_pause_old_hours_are_gone(meter: Meter, clock: Clock) -> None:
    meter.fetched(GROUP, 1)
    clock.now += 31 * 24 * HOUR
    meter.fetched(GROUP, 1)
    assert list(meter.counts(GROUP).hours) == [int(clock.now)]


def test_a_clock_that_is_set_back_loses_nothing(meter: Meter, clock: Clock) -> None:
    meter.fetched(GROUP, 1)
    clock.now -= 2 * HOUR
    meter.fetched(GROUP, 1)
    assert meter.counts(GROUP).total.fetched == 2
    assert sum(hour.fetched for hour in meter.counts(GROUP).hours.values()) == 2


def test_counts_survive_a_restart(meter: Meter, data: DataDir, clock: Clock) -> None:
    meter.answered(GROUP, is_hit=True, served=100)
    clock.now += HOUR
    meter.answered(GROUP, is_hit=False, served=10)
    meter.fetched(GROUP, 20)
    meter.flush()
    clock.now += 10
    again = Meter(data, clock)
    assert again.counts(GROUP) == meter.counts(GROUP)
    assert again.counts(GROUP).since == START
    again.fetched(GROUP, 1)
    assert again.counts(GROUP).total == Counts(1, 1, 110, 21)
    assert again.counts(GROUP).hours[START + HOUR] == Counts(0, 1, 10, 21)


def test_counts_outlive_a_purge(meter: Meter, data: DataDir, clock: Clock) -> None:
    data.tree(GROUP)
    meter.fetched(GROUP, 20)
    meter.flush()
    data.purge(GROUP)
    assert Meter(data, clock).counts(GROUP).total.fetched == 20


def test_what_was_not_flushed_is_lost_with_the_process(
    meter: Meter, data: DataDir, clock: Clock
) -> None:
    meter.fetched(GROUP, 20)
    clock.now += 60
    again = Meter(data, clock)
    assert again.counts(GROUP).total == Counts()
    assert again.counts(GROUP).since == clock.now


def test_only_what_has_changed_is_written(meter: Meter, file: Path) -> None:
    meter.counts(GROUP)
    meter.flush()
    assert not file.exists()
    meter.fetched(GROUP, 1)
    meter.flush()
    assert file.exists()
    file.unlink()
    meter.flush()
    assert not file.exists()


def test_the_file_can_be_read_by_people(meter: Meter, file: Path) -> None:
    meter.answered(GROUP, is_hit=True, served=100)
    meter.flush()
    counts = {"hits": 1, "misses": 0, "served": 100, "fetched": 0}
    assert json.loads(file.read_text()) == {
        "since": START,
        "total": counts,
        "hours": [{"from": START, **counts}],
    }


def test_what_cannot_be_written_is_written_the_next_time(meter: Meter, file: Path) -> None:
    file.mkdir(parents=True)
    meter.fetched(GROUP, 20)
    meter.fetched(OTHER, 7)
    meter.flush()
    assert file.parents[2].joinpath("other/-usage.json").exists()
    file.rmdir()
    meter.flush()
    assert json.loads(file.read_text())["total"]["fetched"] == 20


GOOD = {"since": 1.5, "total": asdict(Counts(1, 2, 3, 4)), "hours": [{"from": START, "hits": 1}]}


WRONG: list[dict[str, object]] = [
    {"since": None},
    {"since": "yesterday"},
    {"since": 10**400},
    {"total": None},
    {"total": [1]},
    {"total": {"hits": "many"}},
    {"total": {"hits": math.nan}},
    {"total": {"hits": math.inf}},
    {"total": {"visits": 1}},
    {"hours": None},
    {"hours": 7},
    {"hours": [1]},
    {"hours": [{}]},
    {"hours": [{"from": START, "hits": None}]},
    {"hours": [{"from": math.inf}]},
]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"since": ' + b"9" * 10_000 + b"}",
        *(json.dumps({**GOOD, **wrong}).encode() for wrong in WRONG),
    ],
    ids=lambda content: content[:40].decode("latin-1"),
)
def test_a_file_that_cannot_be_read_is_begun_anew(meter: Meter, file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert meter.counts(GROUP).total == Counts()
    meter.fetched(GROUP, 5)
    meter.flush()
    assert json.loads(file.read_text())["total"]["fetched"] == 5


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["since", "total", "hours", "from", "hits", "served"]), inner
            )
        ),
        max_leaves=12,
    )
    | st.fixed_dictionaries(
        {
            "since": st.integers() | st.floats(),
            "total": st.dictionaries(st.just("hits"), st.integers() | st.floats()),
            "hours": st.lists(
                st.fixed_dictionaries({"from": st.integers() | st.floats()}), max_size=2
            ),
        }
    )
)
def test_any_document_is_read_or_refused(document: object) -> None:
    found = decode_counts(document)
    assert found is None or isinstance(found.total.hits, int)


def test_threads_lose_no_count(meter: Meter, data: DataDir, clock: Clock) -> None:
    def work(number: int) -> None:
        for _ in range(300):
            meter.answered(GROUP, is_hit=number % 2 == 0, served=2)
            meter.fetched(GROUP, 1)
            if number == 0:
                clock.now += HOUR
            elif number == 1:
                meter.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    meter.flush()
    for found in (meter.counts(GROUP), Meter(data, clock).counts(GROUP)):
        assert found.total == Counts(1200, 1200, 4800, 2400)
        assert sum(hour.fetched for hour in found.hours.values()) == 2400


def test_what_happened_since_the_start_begins_anew(meter: Meter, data: DataDir) -> None:
    meter.answered(GROUP, is_hit=True, served=100)
    meter.fetched(GROUP, 20)
    assert meter.since_start() == {GROUP: Counts(hits=1, served=100, fetched=20)}
    meter.flush()
    again = Meter(data, Clock())
    assert again.since_start() == {}
    again.answered(GROUP, is_hit=False, served=7)
    assert again.since_start() == {GROUP: Counts(misses=1, served=7)}
    assert again.counts(GROUP).total.served == 107
