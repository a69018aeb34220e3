"""Where pages are, and where a visitor may be sent. Pure."""

from urllib.parse import quote, urlencode, urlsplit

HOME = "/"
SIGN_IN = "/-/sign_in"
SIGN_OUT = "/-/sign_out"

_CONTROLS = frozenset(map(chr, (*range(0x20), 0x7F)))


def group_page(group: str) -> str:
    """A group's page; ``group`` need not be a name that exists, nor one that could."""
    return f"/groups/{quote(group, safe='/')}/-/dependency_proxy"


def clear_page(group: str, image: str = "", reference: str = "") -> str:
    """Where one is asked whether to clear a reference, an image, or the group."""
    query = {name: value for name, value in (("image", image), ("reference", reference)) if value}
    path = f"{group_page(group)}/clear"
    return f"{path}?{urlencode(query)}" if query else path


def sign_in_page(following: str) -> str:
    """The form that leads to ``following`` afterwards."""
    return f"{SIGN_IN}?{urlencode({'next': following})}" if following != HOME else SIGN_IN


def safe(following: str) -> str:
    """A path of this server, or the first page. Browsers take ``//host``, ``/\\\\host`` and control
    characters between the two for another server's address."""
    if not following.startswith("/") or following[1:2] in ("/", "\\"):
        return HOME
    if _CONTROLS & set(following) or "\\" in following:
        return HOME
    try:
        parts = urlsplit(following)
    except ValueError:
        return HOME
    return HOME if parts.scheme or parts.netloc else following
