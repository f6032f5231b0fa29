"""Leases, schedules and budgets of the jobs that one of all replicas does."""

import asyncio
import time
from datetime import timedelta
from typing import Final

from config.container.surroundings import boot_clock, owner_id
from config.settings import (
    VerificationSettings,
)
from core import layout
from core.budget import Budget, Rates
from core.collection.guard import TOUCH_SECONDS
from core.lease import Lease
from core.ports.blob_storage import BlobStorage
from core.schedule import SharedSchedule
from core.verification.verifier import VerificationOptions

LEASE_SECONDS: Final = 30.0
"""How long the job of a replica that died stays undone, about."""


COLLECTION_LEASE_SECONDS: Final = 12.0
"""The same for collection, which another replica takes over within half a minute."""


TRASH_INTERVAL_SECONDS: Final = 3600.0
"""How often expired trash is looked for, at most."""


PURGE_REQUESTS_PER_SECOND: Final = 20.0
"""What looking for abandoned uploads may ask of the store."""


def make_lease(job: str, *, storage: BlobStorage, ttl: float = LEASE_SECONDS) -> Lease:
    """Make this process's claim on a job."""
    return Lease(storage, layout.lease(job), owner_id=owner_id(), ttl=ttl, clock=boot_clock, sleep=asyncio.sleep)


def make_schedule(job: str, *, storage: BlobStorage, interval_seconds: float) -> SharedSchedule:
    """Make what tells whether a job is due, and whether this process is the one to do it."""
    interval = timedelta(seconds=interval_seconds)
    return SharedSchedule(storage, make_lease(job, storage=storage), key=layout.job(job), interval=interval)


def make_verification_schedule(
    options: VerificationOptions, *, storage: BlobStorage, interval_seconds: float
) -> SharedSchedule:
    """Make the schedule of verifications; the command takes the same lease."""
    return make_schedule(options.job, storage=storage, interval_seconds=interval_seconds)


def make_verification_budget(settings: VerificationSettings) -> Budget:
    """Return what verifying beside requests may ask of the store."""
    rates = Rates(requests_per_second=settings.requests_per_second, bytes_per_second=settings.bytes_per_second)
    return Budget(rates, clock=time.monotonic, sleep=asyncio.sleep)


def make_budget(requests_per_second: float) -> Budget:
    """Return so many requests a second."""
    return Budget(Rates(requests_per_second=requests_per_second), clock=time.monotonic, sleep=asyncio.sleep)


def touch_seconds(grace_seconds: float) -> float:
    """Return for how long something is spoken up for that a client was told to be there."""
    # Whoever wants space back sooner also has pushes that take less time.
    return min(TOUCH_SECONDS, grace_seconds)


def seconds_between_expiries(keep_seconds: float) -> float:
    """Return how often expired trash is looked for."""
    # A short time to keep is looked after as often; without any there is still what a killed collection left.
    return min(keep_seconds or TRASH_INTERVAL_SECONDS, TRASH_INTERVAL_SECONDS)
