"""Checks of the clocks of the store and of the public address against the local clock."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from core.diagnosis import Diagnosis
from core.errors import StorageError
from core.store import layout
from entrypoints.doctor.client import UnreachableError
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.findings import failure, ok, skipped, warning

_NOTABLE_SECONDS: Final = 30.0
_BAD_SECONDS: Final = 300.0
"""Stores reject signatures that are 15 minutes off, and tokens live for five minutes."""
_REMEDY: Final = "synchronize both clocks by NTP (chrony, systemd-timesyncd): signatures and tokens depend on them"


async def check_clock(doctor: DoctorContext) -> AsyncIterator[Diagnosis]:
    """Compare the times that the store and the public address report with the local time."""
    yield await _store(doctor)
    if doctor.public is not None:
        yield await _public(doctor)


async def _store(doctor: DoctorContext) -> Diagnosis:
    check = "clock: the store"
    storage, key = doctor.application.storage, f"{layout.doctor(doctor.scratch_id)}/clock"
    try:
        before = doctor.application.now()
        await storage.write(key, b"")
        reported = (await storage.stat(key)).modified_at
        after = doctor.application.now()
        await storage.delete_tree(layout.doctor(doctor.scratch_id))
    except StorageError as error:
        return skipped(check, str(error))
    return compare_clocks(check, reported, before, after)


async def _public(doctor: DoctorContext) -> Diagnosis:
    check = "clock: the public address"
    if doctor.public is None:
        return skipped(check, "no --url was given")
    before = doctor.application.now()
    try:
        answer = await doctor.public.request("GET", "v2/")
        reported = parsedate_to_datetime(answer.headers["Date"])
    except (UnreachableError, KeyError, ValueError) as error:
        return skipped(check, f"no usable Date header: {error}")
    reported = reported if reported.tzinfo else reported.replace(tzinfo=UTC)
    return compare_clocks(check, reported, before, doctor.application.now())


def compare_clocks(check: str, reported: datetime, before: datetime, after: datetime) -> Diagnosis:
    """Judge the difference between a reported time and the local times before and after the report."""
    # The Date header has a resolution of one second.
    early, late = (before - reported).total_seconds() - 1, (reported - after).total_seconds() - 1
    skew = max(early, late, 0.0)
    detail = f"{skew:.0f} seconds {'behind' if early > late else 'ahead of'} this machine"
    if skew >= _BAD_SECONDS:
        return failure(check, detail, _REMEDY)
    if skew >= _NOTABLE_SECONDS:
        return warning(check, detail, _REMEDY)
    return ok(check)
