"""API keys as passwords, in front of an authenticator with users."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from typing_extensions import override

from adapters.auth.basic import password_or_token
from core.access_keys.key import PREFIX, AccessKey, Token
from core.access_keys.service import AccessKeys
from core.model.access import Access, Principal
from core.ports.authenticator import Account, Accounts, Asked, Authenticator, CredentialsInvalidError, Fault

METHOD: Final = "key"
"""The method of a principal that sent an API key."""


class AccessKeyAuthenticator(Authenticator, Accounts):
    """Accepts an API key as the password of any user name or as a bearer token, and all credentials of `inner`.

    A key has the rights of its owner within its limits, and ends with its owner.

    Args:
        inner: verifies all other credentials; opened and closed with this authenticator.
        keys: the API keys.
        accounts: the owners of keys, which are users of `inner`.
    """

    def __init__(self, inner: Authenticator, keys: AccessKeys, *, accounts: Accounts) -> None:
        self.name = inner.name
        self._inner = inner
        self._keys = keys
        self._accounts = accounts

    @override
    async def start(self) -> None:
        await self._inner.start()

    @override
    async def stop(self) -> None:
        await self._inner.stop()

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        token = _token_in(authorization)
        if token is not None and (key := await self._keys.verify(token)) is not None:
            account = await self._account_of(key)
            if account is None:
                raise CredentialsInvalidError("the owner of the API key no longer exists")
            return account.principal
        try:
            # A password may begin like a key.
            return await self._inner.authenticate(authorization)
        except CredentialsInvalidError:
            if token is None:
                raise
            raise CredentialsInvalidError(_refusal(token)) from None

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        return self._inner.challenge(accesses, asked, fault)

    @override
    async def account(self, name: str, *, key: str = "") -> Account | None:
        if not key:
            return await self._accounts.account(name)
        found = await self._keys.find(key)
        return await self._account_of(found) if found is not None and found.owner == name else None

    @override
    async def reload(self) -> None:
        await self._inner.reload()

    async def _account_of(self, key: AccessKey) -> Account | None:
        account = await self._accounts.account(key.owner)
        if account is None:
            return None
        owner = account.principal
        limited = replace(owner, method=METHOD, key=key.id, limit=key.limit)
        return Account(principal=limited, stamp=key.id)


def _refusal(text: str) -> str:
    token = Token.parse(text)
    if token is None:
        return "the password begins like an API key, but the checksum is wrong"
    return f"the API key {token.id} is unknown, revoked or expired"


def _token_in(authorization: str | None) -> str | None:
    """Return the credentials that may be an API key; None if they cannot be one."""
    token = password_or_token(authorization)
    return token if token.startswith(PREFIX) else None
