"""Replicas with certificates from an authority in memory, on one store and in simulated time."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.certificates.memory import InMemoryAuthority
from core.certificates.records import CertificateRecords
from core.certificates.service import JOB, Certificates
from core.coordination.lease import Lease
from core.ports.blob_storage import BlobStorage
from core.store import layout
from tests.support.simulated_time import SimulatedTime

HOST = "registry.example.com"


def seal(key: str, content: bytes) -> bytes:
    """Bind the content to its key; encryption is the business of the adapter."""
    return key.encode() + b"\n" + content


def unseal(key: str, sealed: bytes) -> bytes | None:
    """Return the content, if it was sealed for the key."""
    found, _, content = sealed.partition(b"\n")
    return content if found == key.encode() else None


def make_records(storage: BlobStorage, scope: str = "scope") -> CertificateRecords:
    """Return the records of one account."""
    return CertificateRecords(storage, scope=scope, seal=seal, unseal=unseal)


class Replica:
    """One process of a registry."""

    def __init__(
        self,
        storage: BlobStorage,
        authority: InMemoryAuthority,
        time: SimulatedTime,
        *,
        name: str,
        hosts: Sequence[str],
    ) -> None:
        self._time = time
        lease = Lease(storage, layout.lease(JOB), owner_id=lambda: name, ttl=30, clock=time.clock, sleep=time.sleep)
        self.outcomes: list[bool] = []
        self.certificates = Certificates(
            make_records(storage),
            authority,
            lease,
            hosts=hosts,
            now=time.now,
            clock=time.clock,
            sleep=time.sleep,
        )

    async def look(self) -> None:
        """Do one run of the job of a process that orders."""
        await self.certificates.refresh()
        await self.certificates.order_due(self.outcomes.append)

    async def run(self, seconds: float) -> None:
        """Run the job once a second, for some simulated seconds."""
        await run_together([self], self._time, seconds)

    async def repeat(self) -> None:
        """Run the job once a second."""
        while True:
            await self.look()
            await self._time.sleep(1)


async def run_together(replicas: Sequence[Replica], time: SimulatedTime, seconds: float) -> None:
    """Run the jobs of several replicas for some simulated seconds."""
    jobs = [asyncio.create_task(each.repeat()) for each in replicas]
    try:
        await time.advance(seconds)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)


@pytest.fixture
def authority(time: SimulatedTime) -> InMemoryAuthority:
    return InMemoryAuthority(now=time.now)


@pytest.fixture
def replica(storage: InMemoryBlobStorage, authority: InMemoryAuthority, time: SimulatedTime) -> Callable[..., Replica]:
    """Make replicas of one registry."""

    default = authority

    def make(
        name: str = "a",
        *,
        hosts: Sequence[str] = (HOST,),
        store: BlobStorage | None = None,
        authority: InMemoryAuthority | None = None,
    ) -> Replica:
        return Replica(store or storage, authority or default, time, name=name, hosts=hosts)

    return make
