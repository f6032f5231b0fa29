"""Users in a file beside the tokens of another issuer."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from typing_extensions import override

from adapters.auth.basic import split_header
from adapters.auth.htpasswd import HtpasswdAuthenticator
from core.model.access import Access, Principal
from core.ports.authenticator import Asked, Authenticator, Fault


class CombinedAuthenticator(Authenticator):
    """Accepts passwords of users, and bearer tokens of another issuer.

    Args:
        users: verifies passwords.
        tokens: verifies tokens.
    """

    name = "htpasswd and token"

    def __init__(self, users: HtpasswdAuthenticator, tokens: Authenticator) -> None:
        self.users = users
        self.tokens = tokens

    @override
    async def __aenter__(self) -> Self:
        await self.users.__aenter__()
        await self.tokens.__aenter__()
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.tokens.__aexit__(kind, error, trace)
        await self.users.__aexit__(kind, error, trace)

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        is_token = authorization is not None and split_header(authorization)[0] == "bearer"
        return await (self.tokens if is_token else self.users).authenticate(authorization)

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        return self.users.challenge(accesses, asked, fault)

    @override
    async def reload(self) -> None:
        await self.users.reload()
        await self.tokens.reload()
