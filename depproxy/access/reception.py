"""Who comes to the pages: signing in and out, and what a session is still worth."""

import asyncio
import secrets

from depproxy.access.admin import AdminToken
from depproxy.access.attempts import Attempts
from depproxy.access.gate import Gate
from depproxy.access.sessions import Sessions
from depproxy.access.users import Users
from depproxy.access.visitor import ADMIN, ANONYMOUS, Password, Visitor
from depproxy.errors import Unauthenticated


class Reception:
    """The pages' own door. What a visitor may do behind it is the gate's matter, as ever."""

    def __init__(
        self,
        gate: Gate,
        sessions: Sessions,
        users: Users | None,
        admin: AdminToken,
        attempts: Attempts,
    ) -> None:
        """``attempts`` are those to sign in as the holder of the admin token."""
        self._gate = gate
        self._sessions = sessions
        self._users = users
        self._admin = admin
        self._attempts = attempts

    @property
    def has_users(self) -> bool:
        """Whether anybody but the holder of the admin token can sign in."""
        return self._users is not None

    async def sign_in(self, password: Password, address: str) -> str:
        """The cookie of a new session. Raises `Unauthenticated` and `TooManyAttempts`."""
        user = await self._gate.sign_in(password, address)
        return self._sessions.begin(user, self._credential(user) or "")

    async def sign_in_as_admin(self, token: str, address: str) -> str:
        """As `sign_in`, for who holds the admin token; wrong ones are slowed as passwords are."""
        await asyncio.sleep(self._attempts.take_turn(address))
        if not self._admin.is_right(token):
            self._attempts.failed(address)
            raise Unauthenticated("this is not the admin token")
        return self._sessions.begin("", self._admin.fingerprint())

    def visitor(self, cookie: str) -> Visitor:
        """Who has this session. It is as good as what it rests on: the user must still have the
        same password, the admin token must be the same."""
        session = self._sessions.read(cookie) if cookie else None
        if session is None:
            return ANONYMOUS
        credential = self._credential(session.user)
        if credential is None or session.mark != self._sessions.mark(session.user, credential):
            return ANONYMOUS
        return Visitor(session.user, is_vouched=True) if session.user else ADMIN

    def sign_out(self, cookie: str) -> None:
        """End a session, wherever else its cookie may lie."""
        self._sessions.end(cookie)

    def new_seed(self) -> str:
        """For the forms of a browser that has no session yet."""
        return secrets.token_urlsafe(16)

    def form_word(self, seed: str) -> str:
        """See `Sessions.form_word`."""
        return self._sessions.form_word(seed)

    def is_form_word(self, seed: str, presented: str) -> bool:
        """See `Sessions.is_form_word`; who has no seed was given no form."""
        return bool(seed) and self._sessions.is_form_word(seed, presented)

    def _credential(self, user: str) -> str | None:
        """What a session of this user rests on; None where nobody is called so."""
        if not user:
            return self._admin.fingerprint()
        return self._users.stored_hash(user) if self._users else None
