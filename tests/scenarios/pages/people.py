"""Those who sign in on the pages."""

from tests.browsing import Tab
from tests.running import RunningServer

PASSWORDS = {"reader": "secret of reader", "owner": "secret of owner", "stranger": "of stranger"}


def signed_in(server: RunningServer, user: str) -> Tab:
    tab = Tab(server)
    assert tab.sign_in(user, PASSWORDS[user]).status == 200
    return tab


def administrator(server: RunningServer) -> Tab:
    tab = Tab(server)
    assert tab.sign_in_as_admin().status == 200
    return tab
