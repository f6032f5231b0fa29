"""Leases, schedules and budgets of the jobs that run on one replica at a time."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from config.container.surroundings import boot_clock, owner_id
from config.settings import Settings, VerificationSettings
from core.collection.guard import TOUCH_SECONDS
from core.coordination.budget import Budget, Rates
from core.coordination.lease import Lease
from core.coordination.schedule import SharedSchedule
from core.ports.blob_storage import BlobStorage
from core.pull_through.limits import PrefetchRule
from core.store import layout
from core.verification.rules import VerificationOptions

LEASE_SECONDS: Final = 30.0
"""Approximately how long a job stays interrupted after its replica has died."""


COLLECTION_LEASE_SECONDS: Final = 12.0
"""The same for garbage collection, which another replica takes over within half a minute."""


TRASH_INTERVAL_SECONDS: Final = 3600.0
"""The longest interval between searches for expired trash."""


EVICTION_INTERVAL_SECONDS: Final = 600.0
"""The interval between two checks of the limits of the cache, unless space is needed earlier."""
_JOB_HASH_LENGTH: Final = 16


PURGE_REQUESTS_PER_SECOND: Final = 20.0
"""The rate limit of the search for abandoned uploads."""


def make_lease(job: str, *, storage: BlobStorage, ttl: float = LEASE_SECONDS) -> Lease:
    """Return this process's lease on a job."""
    return Lease(storage, layout.lease(job), owner_id=owner_id, ttl=ttl, clock=boot_clock, sleep=asyncio.sleep)


def make_schedule(job: str, *, storage: BlobStorage, interval_seconds: float) -> SharedSchedule:
    """Return the schedule that decides whether a job is due, and whether this process runs it."""
    interval = timedelta(seconds=interval_seconds)
    return SharedSchedule(storage, make_lease(job, storage=storage), key=layout.job(job), interval=interval)


def make_prefetch_schedules(settings: Settings, *, storage: BlobStorage) -> Sequence[SharedSchedule]:
    """Return the schedule of each rule for prefetching, in the order of the rules."""
    rules = () if settings.proxy is None else settings.proxy.prefetch
    return [make_schedule(prefetch_job(rule), storage=storage, interval_seconds=rule.every_seconds) for rule in rules]


def prefetch_job(rule: PrefetchRule) -> str:
    """Return the name of the job that fetches the images of a rule; rules for the same content share a name."""
    content = "\n".join([rule.image, *rule.tags, "", *rule.platforms])
    return f"prefetch-{hashlib.sha256(content.encode()).hexdigest()[:_JOB_HASH_LENGTH]}"


def make_verification_schedule(
    options: VerificationOptions, *, storage: BlobStorage, interval_seconds: float
) -> SharedSchedule:
    """Return the schedule of verifications; the command takes the same lease."""
    return make_schedule(options.job, storage=storage, interval_seconds=interval_seconds)


def make_verification_budget(settings: VerificationSettings) -> Budget:
    """Return the budget of requests and bytes for verification by a running server."""
    rates = Rates(requests_per_second=settings.requests_per_second, bytes_per_second=settings.bytes_per_second)
    return Budget(rates, clock=time.monotonic, sleep=asyncio.sleep)


def make_budget(requests_per_second: float) -> Budget:
    """Return a budget of this many requests per second."""
    return Budget(Rates(requests_per_second=requests_per_second), clock=time.monotonic, sleep=asyncio.sleep)


def touch_seconds(grace_seconds: float) -> float:
    """Return how long content is protected after a client was answered that the content exists."""
    # A shorter grace period implies that pushes take less time.
    return min(TOUCH_SECONDS, grace_seconds)


def seconds_between_expiries(keep_seconds: float) -> float:
    """Return the interval between searches for expired trash."""
    # With a short lifetime, search at that interval. With 0, still remove the leftovers of killed collections.
    return min(keep_seconds or TRASH_INTERVAL_SECONDS, TRASH_INTERVAL_SECONDS)
