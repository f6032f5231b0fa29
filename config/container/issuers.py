"""The state of the configured issuers of tokens, for a diagnosis."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from config.settings import AuthSettings
from core.errors import IssuerUnavailableError
from core.ports.authenticator import CredentialSourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerState:
    """The result of a request for the keys of an issuer."""

    url: str
    keys: int = 0
    date: str = ""
    """The header `Date` of the answer; empty for keys of a file."""
    problem: str = ""
    """Why the keys are not usable; empty if they are."""


async def probe_issuers(settings: AuthSettings, *, now: Callable[[], datetime]) -> AsyncIterator[IssuerState]:
    """Fetch the keys of each issuer once."""
    # Imported only when needed, like the rest of the web client: it takes time and memory.
    from adapters.auth.issuers import Issuer  # noqa: PLC0415

    provider = [settings.oidc.connection] if settings.has_provider else []
    for options in dict.fromkeys([*(each.connection for each in settings.workloads), *provider]):
        try:
            async with Issuer(options, now=now, clock=time.monotonic) as issuer:
                found = await issuer.probe()
        except (IssuerUnavailableError, CredentialSourceError) as error:
            yield IssuerState(url=options.url, problem=str(error))
        else:
            yield IssuerState(url=options.url, keys=found.keys, date=found.date)
