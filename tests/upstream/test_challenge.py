"""``WWW-Authenticate`` as registries send it, and as nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.upstream.challenge import Challenge, parse_challenges

HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:library/alpine:pull"'
)


def test_docker_hubs_challenge_is_read() -> None:
    assert parse_challenges([HUB]) == [
        Challenge(
            "bearer",
            {
                "realm": "https://auth.docker.io/token",
                "service": "registry.docker.io",
                "scope": "repository:library/alpine:pull",
            },
        )
    ]


@pytest.mark.parametrize(
    "header",
    [
        'Bearer realm="r",service="s"',
        'bearer REALM="r" , Service="s"',
        'BEARER   realm = "r",  service = s',
        "Bearer realm=r,service=s",
        ' , Bearer realm="r",service="s",',
        'Bearer realm="\\r",service="s"',
    ],
)
def test_case_blanks_and_quotes_make_no_difference(header: str) -> None:
    assert parse_challenges([header]) == [Challenge("bearer", {"realm": "r", "service": "s"})]


def test_a_comma_in_quotes_separates_nothing() -> None:
    [challenge] = parse_challenges(['Bearer realm="r",scope="repository:a:pull,push"'])
    assert challenge.parameters["scope"] == "repository:a:pull,push"


def test_an_escaped_quote_ends_nothing() -> None:
    [challenge] = parse_challenges([r'Basic realm="the \"inner\" \\ realm"'])
    assert challenge.parameters["realm"] == r'the "inner" \ realm'


@pytest.mark.parametrize(
    "headers",
    [
        ['Basic realm="b"', 'Bearer realm="r"'],
        ['Basic realm="b", Bearer realm="r"'],
        ['Basic realm="b",Bearer realm="r"'],
        ['Negotiate, Bearer realm="r"'],
        ['Negotiate,Bearer realm="r"'],
    ],
)
def test_every_challenge_of_every_field_is_found(headers: list[str]) -> None:
    challenges = parse_challenges(headers)
    assert len(challenges) == 2
    assert challenges[1] == Challenge("bearer", {"realm": "r"})


def test_of_two_equal_parameters_the_first_counts() -> None:
    [challenge] = parse_challenges(['Bearer realm="first",realm="second"'])
    assert challenge.parameters == {"realm": "first"}


@pytest.mark.parametrize("header", ['Bearer realm="never closed', "=", '"Bearer"', "@ Bearer"])
def test_what_cannot_be_read_ends_its_field_only(header: str) -> None:
    assert parse_challenges([header, HUB])[-1] == parse_challenges([HUB])[0]
    assert all("realm" not in challenge.parameters for challenge in parse_challenges([header]))


def test_no_field_is_no_challenge() -> None:
    assert parse_challenges([]) == []
    assert parse_challenges([""]) == []


@given(st.lists(st.text() | st.text('Bearer realm="\\,= '), max_size=3))
def test_any_text_is_read_as_far_as_it_goes(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert all(name == name.lower() for name in challenge.parameters)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(), min_size=1))
def test_quoted_values_read_back_as_they_are(parameters: dict[str, str]) -> None:
    quoted = {
        name: value.replace("\\", r"\\").replace('"', r"\"") for name, value in parameters.items()
    }
    header = "Bearer " + ",".join(f'{name}="{value}"' for name, value in quoted.items())
    assert parse_challenges([header]) == [Challenge("bearer", parameters)]
