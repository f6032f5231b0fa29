"""Several methods of `auth` at once."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AsyncExitStack

from typing_extensions import override

from adapters.auth.basic import split_header
from core.model.access import Access, Principal
from core.ports.authenticator import Accounts, Asked, Authenticator, Fault


class RecognizingAuthenticator(Authenticator):
    """An authenticator that finds out cheaply whether credentials belong to it."""

    @abstractmethod
    def recognizes(self, authorization: str | None) -> bool:
        """Whether the credentials belong to this method; nothing is verified."""


class CombinedAuthenticator(Authenticator):
    """Verifies credentials by the method that they belong to.

    A token of a configured issuer of workloads goes to `workloads`, another bearer token to `tokens`, and all else to
    `passwords`.

    Args:
        passwords: verifies passwords; asks for credentials.
        tokens: verifies the bearer tokens of a token server.
        workloads: verifies the tokens of workloads.
    """

    def __init__(
        self,
        passwords: Authenticator,
        *,
        tokens: Authenticator | None = None,
        workloads: RecognizingAuthenticator | None = None,
    ) -> None:
        self._passwords = passwords
        self._tokens = tokens
        self._workloads = workloads
        self._parts = [each for each in (passwords, tokens, workloads) if each is not None]
        self.name = " and ".join(each.name for each in self._parts)
        self._stack = AsyncExitStack()

    @property
    def accounts(self) -> Accounts | None:
        """The users whose passwords are verified; None if there are none."""
        return self._passwords if isinstance(self._passwords, Accounts) else None

    @override
    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            for each in self._parts:
                await stack.enter_async_context(each)
            self._stack = stack.pop_all()

    @override
    async def stop(self) -> None:
        await self._stack.aclose()

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        return await self._part_for(authorization).authenticate(authorization)

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        return self._passwords.challenge(accesses, asked, fault)

    @override
    async def reload(self) -> None:
        for each in self._parts:
            await each.reload()

    def _part_for(self, authorization: str | None) -> Authenticator:
        if self._workloads is not None and self._workloads.recognizes(authorization):
            return self._workloads
        is_bearer = authorization is not None and split_header(authorization)[0] == "bearer"
        return self._tokens if is_bearer and self._tokens is not None else self._passwords
