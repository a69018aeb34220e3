"""Paths below ``/v2/``: where the group ends, where the image ends, what is decoded and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depproxy.errors import InvalidRequest, NameInvalid
from depproxy.handlers.paths import parse_registry_path, parse_repository_name, resource_kind

PREFIX = "/v2/acme/dependency_proxy/containers"


@pytest.mark.parametrize(
    ("path", "kind", "group", "image", "reference"),
    [
        (f"{PREFIX}/alpine/manifests/latest", "manifests", "acme", "alpine", "latest"),
        (f"{PREFIX}/alpine/blobs/sha256:abc", "blobs", "acme", "alpine", "sha256:abc"),
        (f"{PREFIX}/alpine/referrers/sha256:abc", "referrers", "acme", "alpine", "sha256:abc"),
        (f"{PREFIX}/alpine/tags/list", "tags", "acme", "alpine", ""),
        (f"{PREFIX}/quay.io/a/b/manifests/1.0", "manifests", "acme", "quay.io/a/b", "1.0"),
        ("/v2/a/b/c/dependency_proxy/containers/x/blobs/y", "blobs", "a/b/c", "x", "y"),
        ("/v2/library/alpine/manifests/latest", "manifests", None, "library/alpine", "latest"),
        ("/v2/alpine/tags/list", "tags", None, "alpine", ""),
    ],
)
def test_a_path_names_group_image_and_reference(
    path: str, kind: str, group: str | None, image: str, reference: str
) -> None:
    found = parse_registry_path(path)
    assert (resource_kind(path), found.group) == (kind, group)
    assert (found.image, found.reference) == (image, reference)


def test_the_first_mark_ends_the_group() -> None:
    path = f"{PREFIX}/b/dependency_proxy/containers/c/manifests/latest"
    found = parse_registry_path(path)
    assert (found.group, found.image) == ("acme", "b/dependency_proxy/containers/c")


@pytest.mark.parametrize("path", [f"{PREFIX}/manifests/latest", f"{PREFIX}//manifests/latest"])
def test_a_group_without_an_image_is_no_name_of_the_mirror(path: str) -> None:
    found = parse_registry_path(path)
    assert (found.group, found.image) == ("acme", "")


@pytest.mark.parametrize(
    ("path", "kind", "image", "reference"),
    [
        (f"{PREFIX}/manifests/manifests/latest", "manifests", "manifests", "latest"),
        (f"{PREFIX}/a/manifests/b/blobs/c", "blobs", "a/manifests/b", "c"),
        (f"{PREFIX}/a/blobs/b/manifests/c", "manifests", "a/blobs/b", "c"),
        (f"{PREFIX}/a/tags/list/manifests/c", "manifests", "a/tags/list", "c"),
        (f"{PREFIX}/a/referrers/b/tags/list", "tags", "a/referrers/b", ""),
        (f"{PREFIX}/a/manifests/tags/list", "tags", "a/manifests", ""),
        (f"{PREFIX}/tags/list/tags/list", "tags", "tags/list", ""),
    ],
)
def test_the_last_kind_ends_the_image(path: str, kind: str, image: str, reference: str) -> None:
    found = parse_registry_path(path)
    assert (resource_kind(path), found.image, found.reference) == (kind, image, reference)


def test_names_are_decoded() -> None:
    found = parse_registry_path(
        "/v2/ac%6De/dependency_proxy/containers/alp%69ne/manifests/sha256%3Aabc"
    )
    assert (found.group, found.image, found.reference) == ("acme", "alpine", "sha256:abc")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/acme%2Fplatform/dependency_proxy/containers/alpine/manifests/latest",
        f"{PREFIX}/library%2Falpine/manifests/latest",
        f"{PREFIX}/library%2falpine/blobs/x",
        "/v2/library%2Falpine/manifests/latest",
        f"{PREFIX}/..%2f..%2fetc/manifests/latest",
    ],
)
def test_an_encoded_slash_makes_no_new_segment(path: str) -> None:
    with pytest.raises(NameInvalid):
        parse_registry_path(path)


@pytest.mark.parametrize("reference", ["a/b", "a%2Fb", "../x", "a%00b"])
def test_a_reference_is_handed_on_decoded_whatever_it_is(reference: str) -> None:
    found = parse_registry_path(f"{PREFIX}/alpine/manifests/{reference}")
    assert found.reference == reference.replace("%2F", "/").replace("%00", "\0")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/dependency_proxy/containers/alpine/manifests/latest",
        "/v2//dependency_proxy/containers/alpine/manifests/latest",
        "/v2/Acme/dependency_proxy/containers/alpine/manifests/latest",
        "/v2/dependency_proxy/dependency_proxy/containers/alpine/manifests/latest",
        "/v2/a/../dependency_proxy/containers/alpine/manifests/latest",
        "/v2/-/dependency_proxy/containers/alpine/manifests/latest",
        "/v2/a%FF/dependency_proxy/containers/alpine/manifests/latest",
    ],
)
def test_a_group_is_a_name_of_the_grammar(path: str) -> None:
    with pytest.raises(NameInvalid):
        parse_registry_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2",
        "/v2/",
        "/v2/_catalog",
        "/v2/alpine",
        "/v2/alpine/manifests",
        "/v2/tags/list",
        "/v2/alpine/tags",
        "/v2/alpine/tags/list/",
        "/v2/manifests/x",
        "/x/a/manifests/b",
    ],
)
def test_a_path_that_asks_for_nothing_has_no_kind(path: str) -> None:
    assert resource_kind(path) is None
    with pytest.raises(NameInvalid):
        parse_registry_path(path)


@given(st.text() | st.lists(st.sampled_from([*"a%/.F2", "/v2/", PREFIX, "/blobs/"])).map("".join))
def test_any_path_is_taken_apart_or_invalid(path: str) -> None:
    for candidate in (path, f"/v2/{path}/manifests/x", f"{PREFIX}/{path}/blobs/x"):
        try:
            parse_registry_path(candidate)
        except InvalidRequest:
            continue
        assert resource_kind(candidate) is not None


@pytest.mark.parametrize(
    ("name", "group", "image"),
    [
        ("acme/dependency_proxy/containers/alpine", "acme", "alpine"),
        ("a/b/dependency_proxy/containers/quay.io/c/d", "a/b", "quay.io/c/d"),
        ("a/dependency_proxy/containers/b/manifests/c", "a", "b/manifests/c"),
        (
            "a/dependency_proxy/containers/b/dependency_proxy/containers/c",
            "a",
            "b/dependency_proxy/containers/c",
        ),
        ("alpine", None, "alpine"),
        ("library/alpine", None, "library/alpine"),
        ("acme/dependency_proxy", None, "acme/dependency_proxy"),
    ],
)
def test_a_repositorys_name_names_group_and_image(name: str, group: str | None, image: str) -> None:
    found = parse_repository_name(name)
    assert (found.group, found.image, found.name) == (group, image, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/alpine",
        "alpine/",
        "Alpine",
        "alpine:latest",
        "a b",
        "alp%69ne",
        "library%2Falpine",
        'alpine"',
        "acme/dependency_proxy/containers",
        "acme/dependency_proxy/containers/",
        "acme/dependency_proxy/containers/Alpine",
        "acme%2Fb/dependency_proxy/containers/alpine",
        "Acme/dependency_proxy/containers/alpine",
        "/acme/dependency_proxy/containers/alpine",
        "dependency_proxy/containers/alpine",
        "/dependency_proxy/containers/alpine",
        "acme//dependency_proxy/containers/alpine",
        "dependency_proxy/dependency_proxy/containers/alpine",
    ],
)
def test_a_repositorys_name_is_one_of_the_grammar_and_not_encoded(name: str) -> None:
    with pytest.raises(NameInvalid):
        parse_repository_name(name)


@given(
    st.text() | st.lists(st.sampled_from([*"ab/._", "/dependency_proxy/containers/"])).map("".join)
)
def test_a_repository_is_the_same_by_its_name_and_by_its_path(name: str) -> None:
    """Else a token would be good for another repository than the one it was asked for."""
    try:
        found = parse_repository_name(name)
    except InvalidRequest:
        return
    by_path = parse_registry_path(f"/v2/{name}/manifests/latest")
    assert (by_path.group, by_path.image) == (found.group, found.image)
    assert by_path.name == found.name == name
