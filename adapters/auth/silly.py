"""`auth: silly`: accepts any credentials; for tests of clients."""

from collections.abc import Sequence
from typing import Final

from typing_extensions import override

from adapters.auth.basic import format_challenge
from core.model.access import ANONYMOUS, Access, Principal
from core.ports.authenticator import Account, Accounts, Asked, Authenticator, Fault

_SILLY: Final = Principal(name="silly", method="silly", has_credentials=True)


class SillyAuthenticator(Authenticator, Accounts):
    """Treats any non-empty `Authorization` header as that of the user `silly`."""

    name = "silly"

    def __init__(self, *, realm: str, service: str) -> None:
        self._realm = realm
        self._service = service

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        if not authorization:
            return ANONYMOUS
        return _SILLY

    @override
    async def account(self, name: str, *, key: str = "") -> Account | None:
        return Account(principal=_SILLY, stamp="") if name == _SILLY.name and not key else None

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        parameters = [("realm", self._realm), ("service", self._service)]
        if accesses:
            # One scope for each action, as in distribution.
            scopes = " ".join(f"{access.kind}:{access.name}:{access.action}" for access in accesses)
            parameters.append(("scope", scopes))
        return format_challenge("Bearer", parameters)
