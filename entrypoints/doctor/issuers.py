"""Checks of the issuers of tokens: whether their keys can be fetched, and whether their clocks agree with this one."""

from collections.abc import AsyncIterator
from datetime import UTC
from email.utils import parsedate_to_datetime

from config.container import IssuerState, probe_issuers
from core.diagnosis import Diagnosis
from entrypoints.doctor.clock import compare_clocks
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok


async def check_issuers(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Fetch the keys of each issuer, and compare the time of its answer with the local time."""
    now = doctor.application.now
    before = now()
    async for state in probe_issuers(doctor.loaded.settings.auth, now=now):
        yield _judge_keys(state)
        if state.date:
            reported = parsedate_to_datetime(state.date)
            reported = reported if reported.tzinfo else reported.replace(tzinfo=UTC)
            yield compare_clocks(f"issuer {state.url}: clock", reported, before, now())
        before = now()


def _judge_keys(state: IssuerState) -> Diagnosis:
    check = f"issuer {state.url}: keys"
    if state.problem:
        return failure(
            check,
            state.problem,
            "check issuer, jwks, ca and tokenfile of auth.workloads or auth.oidc, and the way to the issuer",
        )
    return ok(check, f"{state.keys} usable")
