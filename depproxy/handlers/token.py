"""``/jwt/auth``: what ``docker login``, ``podman login`` and containerd ask for tokens.

Distribution's token specification (``GET``) and its OAuth 2 form (``POST``):
https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/
"""

import json
import time
from collections.abc import Collection

from tornado.web import HTTPError

from depproxy.access.gate import Gate, Scope
from depproxy.access.visitor import Password
from depproxy.errors import NameInvalid
from depproxy.handlers.answers import oci_envelope
from depproxy.handlers.base import BaseHandler
from depproxy.handlers.forms import FormHandler
from depproxy.handlers.identity import presented_password
from depproxy.handlers.paths import parse_repository_name

_MAX_SCOPES = 50
"""Scopes of one token, which has to fit into a header; clients ask for two or three."""


class OciErrors(BaseHandler):
    """What registries' clients ask beside ``/v2/``: the version header, and errors in the OCI
    envelope."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Docker-Distribution-Api-Version", "registry/2.0")

    def render_error(self, status: int, code: str, message: str) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(oci_envelope(code, message))


class TokenHandler(OciErrors, FormHandler):
    """A token for whoever asks: a user by his password, or everybody for public groups."""

    VERBS = ("GET", "POST")
    kind = "token"

    def initialize(self, gate: Gate) -> None:
        self._gate = gate

    async def get(self) -> None:
        arguments = self.request.query_arguments
        scopes = [value.decode("utf-8", "replace") for value in arguments.get("scope", [])]
        await self._answer(presented_password(self.request.headers), scopes)

    async def post(self) -> None:
        """``grant_type=password``; without a user in the form, as `get`."""
        form = self.form()
        first = {name: values[0] for name, values in form.items()}
        if first.get("grant_type", "password") != "password":
            raise HTTPError(400, "the only grant_type here is password")
        if "username" in first or "password" in first:
            password = Password(first.get("username", ""), first.get("password", ""))
            await self._answer(password, form.get("scope", []))
        else:
            await self._answer(presented_password(self.request.headers), form.get("scope", []))

    async def _answer(self, password: Password | None, asked: Collection[str]) -> None:
        scopes = [_parsed(scope) for value in asked for scope in value.split()]
        if self._gate.is_mirror_only(scopes):
            password = None
        user = await self._gate.sign_in(password, self.request.remote_ip or "")
        self.access.user = user
        issued = self._gate.issue(user, scopes[:_MAX_SCOPES])
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(
            json.dumps(
                {
                    "token": issued.text,
                    "access_token": issued.text,
                    "expires_in": issued.expires_in,
                    "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(issued.issued_at)),
                }
            )
        )


def _parsed(scope: str) -> Scope | None:
    """``repository:<name>:<actions>``; only pulling is ever granted. None: nothing that is here."""
    kind, _, rest = scope.partition(":")
    name, colon, actions = rest.rpartition(":")
    if kind != "repository" or not colon or not {"pull", "*"} & set(actions.split(",")):
        return None
    try:
        return Scope(parse_repository_name(name).group, name)
    except NameInvalid:
        return None
