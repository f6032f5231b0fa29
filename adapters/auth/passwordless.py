"""The place of `auth.htpasswd` in a registry that has other methods only: no password is right."""

from collections.abc import Sequence

from typing_extensions import override

from adapters.auth.basic import format_challenge, parse_basic
from core.model.access import ANONYMOUS, Access, Principal
from core.ports.authenticator import Asked, Authenticator, CredentialsInvalidError, Fault


class PasswordlessAuthenticator(Authenticator):
    """Refuses all credentials, and asks for a password: clients send a key or a token of another method as one."""

    name = "passwordless"

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        # As with `auth.htpasswd`: containers/image sends empty credentials when it is challenged and has none.
        if not authorization or parse_basic(authorization) == ("", ""):
            return ANONYMOUS
        raise CredentialsInvalidError("no method of `auth` accepts these credentials")

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        return format_challenge("Basic", [("realm", "registry")])
