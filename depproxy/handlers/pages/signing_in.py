"""``/-/sign_in`` and ``/-/sign_out``: for the pages only."""

from depproxy.access.sessions import SESSION_LIFETIME
from depproxy.access.visitor import Password
from depproxy.errors import TooManyAttempts, Unauthenticated
from depproxy.handlers.pages import places
from depproxy.handlers.pages.page import SESSION, FormPageHandler

_MISSED = {
    "user": "User or password is wrong.",
    "token": "This is not the admin token.",
}


class SignInHandler(FormPageHandler):
    """A user's name and password, or the admin token."""

    def get(self) -> None:
        self._show()

    head = get

    async def post(self) -> None:
        self.check_form()
        way = "token" if "token" in self.fields else "user"
        try:
            cookie = await self._begun(way)
        except Unauthenticated:
            self.set_status(401)
            self._show(_MISSED[way])
        except TooManyAttempts as exc:
            self.set_status(429)
            self.set_header("Retry-After", str(exc.retry_after))
            self._show("Too many wrong attempts came from your address: try again in a moment.")
        else:
            self.keep(SESSION, cookie, same_site="Lax", lifetime=SESSION_LIFETIME)
            self.redirect(self._following, status=303)

    async def _begun(self, way: str) -> str:
        """The cookie of a new session. Raises `Unauthenticated` and `TooManyAttempts`."""
        reception, address = self.site.reception, self.request.remote_ip or ""
        if way == "token":
            return await reception.sign_in_as_admin(self.field("token"), address)
        password = Password(self.field("user"), self.field("password"))
        return await reception.sign_in(password, address)

    @property
    def _following(self) -> str:
        return places.safe(self.asked("next"))

    def _show(self, problem: str = "") -> None:
        self.show(
            "sign_in.html",
            following=self._following,
            problem=problem,
            user=self.field("user"),
            has_users=self.site.reception.has_users,
        )


class SignOutHandler(FormPageHandler):
    """Ends the session, wherever its cookie may lie."""

    VERBS = ("POST",)

    def way_back(self) -> str:
        """Not to here."""
        return places.HOME

    def post(self) -> None:
        self.check_form()
        self.site.reception.sign_out(self.session)
        self.clear_cookie(SESSION)
        self.redirect(places.HOME, status=303)
