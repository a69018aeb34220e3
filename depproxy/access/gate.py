"""Who comes in: the one place that knows visitors, and what each may do in which group."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from depproxy.access.admin import AdminToken
from depproxy.access.rights import is_public, may_purge, may_read
from depproxy.access.tokens import IssuedToken, Tokens
from depproxy.access.users import Users
from depproxy.access.visitor import ADMIN, ANONYMOUS, Bearer, Password, Visitor
from depproxy.config import GroupConfig
from depproxy.errors import GroupUnknown, NoMirror, NotPermitted, Unauthenticated
from depproxy.oci.names import GroupName


@dataclass(frozen=True, slots=True)
class Scope:
    """A repository to pull from, by the name that clients have for it; ``group`` is None on mirror
    paths."""

    group: GroupName | None
    name: str


class Gate:
    """Access to all groups. Without ``users`` every group is open, and only the admin token
    purges."""

    def __init__(
        self,
        groups: Mapping[str, GroupConfig],
        mirror: GroupName | None,
        admin: AdminToken,
        tokens: Tokens,
        users: Users | None,
    ) -> None:
        self._groups = groups
        self._mirror = mirror
        self._admin = admin
        self._tokens = tokens
        self._users = users

    @property
    def has_users(self) -> bool:
        """Whether there is a file of users, if an empty one."""
        return self._users is not None

    def is_open(self, name: GroupName | None) -> bool:
        """Whether everybody may pull from a group (None: the mirror's), so that nobody has to be
        asked who he is."""
        if self._users is None:
            return True
        group = self._group(name)
        return is_public(group) if group else name is None

    async def visitor(self, presented: Password | Bearer | None, address: str) -> Visitor:
        """Who presents this. Wrong credentials make an anonymous visitor.

        ``address`` is where it came from. Raises `TooManyAttempts`.
        """
        match presented:
            case Password(user, password):
                is_user = self._users and await self._users.is_right(user, password, address)
                return Visitor(user, is_vouched=True) if is_user else ANONYMOUS
            case Bearer(token):
                return self._bearer(token)
        return ANONYMOUS

    def admin(self, presented: str | None) -> Visitor | None:
        """The holder of the admin token, if this is it."""
        return ADMIN if self._admin.is_right(presented) else None

    def _bearer(self, token: str) -> Visitor:
        """A token is as good as what it rests on: its user must still have the same password."""
        claims = self._tokens.read(token)
        if claims is None:
            return Visitor(is_doubtful=True)
        if claims.user:
            stored = self._users.stored_hash(claims.user) if self._users else None
            if stored is None or claims.password != self._tokens.password_mark(claims.user, stored):
                return Visitor(is_doubtful=True)
        return Visitor(claims.user, repositories=claims.repositories, is_vouched=True)

    def check_pull(self, scope: Scope, visitor: Visitor) -> None:
        """Raises `Unauthenticated` and `GroupUnknown`."""
        if self.is_open(scope.group):
            return
        self._readable(scope.group, visitor)
        if visitor.repositories is not None and scope.name not in visitor.repositories:
            raise Unauthenticated(
                f"the token is not for {scope.name}: ask for a new one", "insufficient_scope"
            )

    def check_read(self, name: GroupName, visitor: Visitor) -> GroupConfig:
        """The group, if the visitor may see what is in it. Raises `Unauthenticated` and
        `GroupUnknown`."""
        return self._readable(name, visitor)

    def check_purge(self, name: GroupName, visitor: Visitor) -> GroupConfig:
        """The group, if the visitor may clear it. Raises `Unauthenticated`, `GroupUnknown`, and
        `NotPermitted` for who may only read."""
        if not visitor.is_admin and not visitor.user:
            raise Unauthenticated("clearing a cache needs an owner's password or the admin token")
        group = self._readable(name, visitor)
        if not may_purge(group, visitor):
            raise NotPermitted(f"{visitor.user} may read {name}, and not clear it")
        return group

    def may_purge(self, group: GroupConfig, visitor: Visitor) -> bool:
        """As `check_purge`, for who only wants to know."""
        return (visitor.is_admin or bool(visitor.user)) and may_purge(group, visitor)

    def readable(self, visitor: Visitor) -> list[GroupConfig]:
        """The groups that the visitor may know of, by name."""
        known = sorted(self._groups.values(), key=lambda group: group.name)
        return [group for group in known if self._users is None or may_read(group, visitor)]

    async def sign_in(self, password: Password | None, address: str) -> str:
        """The user whose password this is; empty where none came. Raises `Unauthenticated` and
        `TooManyAttempts`."""
        if password is None:
            return ""
        visitor = await self.visitor(password, address)
        if not visitor.user:
            raise Unauthenticated(
                "the user or the password is wrong: sign in again, as by 'docker login'"
            )
        return visitor.user

    def is_mirror_only(self, scopes: Collection[Scope | None]) -> bool:
        """Whether all that is asked for is what everybody gets by mirror paths: dockerd sends its
        user's password for Docker Hub along, which is none of ours."""
        group = self._groups.get(self._mirror) if self._mirror else None
        if not scopes or group is None or not is_public(group):
            return False
        return all(scope and scope.group is None for scope in scopes)

    def issue(self, user: str, scopes: Collection[Scope | None]) -> IssuedToken:
        """A token for those of the scopes that the user may have; None stands for what names
        nothing here."""
        stored = self._users.stored_hash(user) if self._users and user else None
        visitor = Visitor(user if stored else "")
        names = [asked.name for asked in scopes if asked and self._may_pull(asked, visitor)]
        return self._tokens.issue(visitor.user, stored or "", dict.fromkeys(names))

    def _may_pull(self, scope: Scope, visitor: Visitor) -> bool:
        group = self._group(scope.group)
        return group is not None and may_read(group, visitor)

    def _readable(self, name: GroupName | None, visitor: Visitor) -> GroupConfig:
        group = self._group(name)
        if group and (self._users is None or may_read(group, visitor)):
            return group
        if self._users and not visitor.user and not visitor.is_admin:
            raise Unauthenticated(
                "sign in, as by 'docker login': the group is private, or does not exist",
                "invalid_token" if visitor.is_doubtful else None,
            )
        raise NoMirror if name is None else GroupUnknown(name)

    def _group(self, name: GroupName | None) -> GroupConfig | None:
        wanted = self._mirror if name is None else name
        return self._groups.get(wanted) if wanted else None
