"""`auth.workloads`: tokens of CI systems and clusters, as bearer tokens and as the password of any user name."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from typing_extensions import override

from adapters.auth.basic import password_or_token
from adapters.auth.combined import RecognizingAuthenticator
from adapters.auth.issuer_options import IssuerOptions
from adapters.auth.issuers import LEEWAY_SECONDS, Issuer, TokenExpiredError, read_unverified_claims
from adapters.auth.passwordless import PasswordlessAuthenticator
from core.model.access import Access, Principal
from core.model.claims import ClaimsRefusedError
from core.model.workloads import WorkloadRule
from core.ports.authenticator import Asked, CredentialsExpiredError, CredentialsInvalidError, Fault

METHOD: Final = "workload"
"""The method of a principal that sent a token of a workload."""
_LONGEST: Final = timedelta(days=1)
"""Times further away need no exact representation: what the registry issues ends before."""


@dataclass(frozen=True, slots=True)
class TrustedWorkloads:
    """The tokens of an issuer that one rule accepts."""

    issuer: IssuerOptions
    rule: WorkloadRule


class WorkloadAuthenticator(RecognizingAuthenticator):
    """Accepts the tokens that a rule accepts; the first rule that matches names the user.

    The issuer in an unverified token only selects among the configured issuers, which alone are contacted.

    Args:
        trusted: issuers and rules, in order.
        now: the current time, UTC-aware.
        clock: monotonic seconds.
    """

    name = "workloads"

    def __init__(
        self, trusted: Sequence[TrustedWorkloads], *, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._issuers = {each.issuer.url: Issuer(each.issuer, now=now, clock=clock) for each in trusted}
        self._rules: dict[str, list[WorkloadRule]] = {}
        for each in trusted:
            self._rules.setdefault(each.issuer.url, []).append(each.rule)
        self._now = now
        self._others = PasswordlessAuthenticator()
        self._stack = AsyncExitStack()

    @override
    async def start(self) -> None:
        async with AsyncExitStack() as stack:
            for issuer in self._issuers.values():
                await stack.enter_async_context(issuer)
            self._stack = stack.pop_all()

    @override
    async def stop(self) -> None:
        await self._stack.aclose()

    @override
    def recognizes(self, authorization: str | None) -> bool:
        return self._issuer_of(password_or_token(authorization)) is not None

    @override
    async def authenticate(self, authorization: str | None) -> Principal:
        token = password_or_token(authorization)
        issuer = self._issuer_of(token)
        if issuer is None:
            return await self._others.authenticate(authorization)
        rules = self._rules[issuer.url]
        audiences = list(dict.fromkeys(each for rule in rules for each in rule.audiences))
        try:
            return self._principal(rules, await issuer.verify(token, audiences=audiences))
        except TokenExpiredError as error:
            principal = self._principal(rules, error.claims)
            raise CredentialsExpiredError(principal, self._time_of(error.claims["exp"])) from None

    @override
    def challenge(self, accesses: Sequence[Access], asked: Asked, fault: Fault | None) -> str:
        return self._others.challenge(accesses, asked, fault)

    @override
    async def reload(self) -> None:
        for issuer in self._issuers.values():
            await issuer.reload()

    def _issuer_of(self, token: str) -> Issuer | None:
        try:
            name = read_unverified_claims(token).get("iss")
        except CredentialsInvalidError:
            return None
        return self._issuers.get(name) if isinstance(name, str) else None

    def _principal(self, rules: Sequence[WorkloadRule], claims: Mapping[str, Any]) -> Principal:
        found = next((rule for rule in rules if rule.accepts(claims)), None)
        if found is None:
            raise CredentialsInvalidError("no entry of auth.workloads accepts the claims of the token")
        try:
            workload = found.identify(claims)
        except ClaimsRefusedError as error:
            raise CredentialsInvalidError(f"the token is refused: {error}") from None
        return Principal(
            name=workload.user,
            groups=workload.groups,
            has_credentials=True,
            method=METHOD,
            # The moment from which the token itself is refused.
            expires_at=self._time_of(claims["exp"]) + timedelta(seconds=LEEWAY_SECONDS),
        )

    def _time_of(self, seconds: float) -> datetime:
        now = self._now()
        earliest, latest = now - _LONGEST, now + _LONGEST
        return datetime.fromtimestamp(max(earliest.timestamp(), min(seconds, latest.timestamp())), UTC)
