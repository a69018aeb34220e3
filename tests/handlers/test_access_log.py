"""The access log: a line for each request, collected, and lost by nobody's fault."""

import io
import json
from collections.abc import Callable

from depproxy.handlers.access_log import Access, AccessLog

ACCESS = Access(
    id="0123456789abcdef",
    client="192.0.2.1",
    method="GET",
    path="/v2/acme/dependency_proxy/containers/alpine/manifests/latest",
    user="ada",
    group="acme",
    image="docker.io/library/alpine",
    kind="manifest",
    status=200,
    size=1638,
    duration=0.0012345,
    cache="hit",
)


class Desk:
    """Where a log writes, and when: timers run when the test says so."""

    def __init__(self, form: str = "text") -> None:
        self.stream = io.StringIO()
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.now = 1_700_000_000.25
        self.log = AccessLog(
            form,
            lambda: self.stream,
            lambda: self.now,
            lambda delay, work: self.due.append((delay, work)),
        )

    def wait(self) -> None:
        due, self.due = self.due, []
        for _, work in due:
            work()

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def test_a_line_of_text_has_the_fields_in_their_order() -> None:
    desk = Desk()
    desk.log.note(ACCESS)
    desk.wait()
    assert desk.lines == [
        "2023-11-14T22:13:20.250Z INFO depproxy.access: 192.0.2.1 ada GET"
        " /v2/acme/dependency_proxy/containers/alpine/manifests/latest 200 1638B 1.2ms hit"
        " 0123456789abcdef"
    ]


def test_what_is_unknown_is_a_dash() -> None:
    desk = Desk()
    desk.log.note(Access("1", "", "GET", "/", status=404))
    desk.wait()
    assert desk.lines[0].endswith("depproxy.access: - - GET / 404 0B 0.0ms - 1")


def test_an_answer_that_was_cut_says_so() -> None:
    desk = Desk()
    desk.log.note(Access("1", "::1", "GET", "/", status=200, cut=True))
    desk.wait()
    assert " 200 cut 0B " in desk.lines[0]


def test_a_line_of_json_has_every_field() -> None:
    desk = Desk("json")
    desk.log.note(ACCESS)
    desk.wait()
    assert json.loads(desk.lines[0]) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "depproxy.access",
        "id": "0123456789abcdef",
        "client": "192.0.2.1",
        "user": "ada",
        "method": "GET",
        "path": "/v2/acme/dependency_proxy/containers/alpine/manifests/latest",
        "group": "acme",
        "image": "docker.io/library/alpine",
        "kind": "manifest",
        "status": 200,
        "size": 1638,
        "duration": 0.001234,
        "cut": False,
        "cache": "hit",
    }


def test_lines_wait_for_each_other_with_one_timer() -> None:
    desk = Desk()
    for _ in range(3):
        desk.log.note(ACCESS)
    assert (desk.lines, len(desk.due)) == ([], 1)
    desk.wait()
    assert len(desk.lines) == 3
    desk.log.note(ACCESS)
    assert len(desk.due) == 1


def test_many_lines_wait_for_no_timer() -> None:
    desk = Desk()
    for _ in range(1000):
        desk.log.note(ACCESS)
    assert len(desk.lines) >= 512


def test_the_last_lines_are_written_at_the_end() -> None:
    desk = Desk()
    desk.log.note(ACCESS)
    desk.log.flush()
    assert len(desk.lines) == 1


def test_a_stream_that_takes_nothing_harms_no_request() -> None:
    desk = Desk()
    desk.stream.close()
    desk.log.note(ACCESS)
    desk.log.flush()


def test_the_second_goes_on() -> None:
    desk = Desk()
    desk.log.note(ACCESS)
    desk.now += 1
    desk.log.note(ACCESS)
    desk.wait()
    assert [line[:24] for line in desk.lines] == [
        "2023-11-14T22:13:20.250Z",
        "2023-11-14T22:13:21.250Z",
    ]
