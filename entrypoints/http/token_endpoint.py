"""The registry's own token endpoint (distribution's token authentication specification), for `docker login`."""

from aiohttp import web

from core.errors import UnauthenticatedError
from core.ports.audit_log import AuditAction
from core.ports.authenticator import CredentialsInvalidError, TokenIssuer
from entrypoints.http.actors import log_refused_login
from entrypoints.http.errors import envelope, respond
from entrypoints.http.handlers.base import json_response
from entrypoints.http.keys import AUDIT_ACTION, SIGNED_IN

_METHODS = ("GET", "HEAD")


class TokenEndpoint:
    """Handler of `GET <prefix>auth/token`: issues a token for a password, or for an anonymous client.

    The parameters `scope`, `service` and `account` are ignored: permissions are checked on each request, not when the
    token is issued.
    """

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request.

        Raises:
            UnauthenticatedError: user name or password is wrong.
        """
        if request.method not in _METHODS:
            # Clients that try OAuth 2 first (POST) fall back to GET after a 405.
            headers = {"Allow": ", ".join(_METHODS)}
            return respond(405, [envelope("UNSUPPORTED", "method not allowed")], headers)
        request[AUDIT_ACTION] = AuditAction.TOKEN_ISSUE
        try:
            issued = await self._issuer.exchange(request.headers.get("Authorization"))
        except CredentialsInvalidError as error:
            log_refused_login(request, error)
            raise UnauthenticatedError('Basic realm="registry"') from None
        request[SIGNED_IN] = issued.principal
        return json_response(
            {
                "token": issued.token,
                "access_token": issued.token,
                "expires_in": issued.lifetime_seconds,
                "issued_at": issued.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            headers={"Cache-Control": "no-store"},
        )
