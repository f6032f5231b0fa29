"""Cached blobs on in-memory adapters: several processes of one machine, on one store and one spool."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from adapters.spool.memory import InMemorySpool, SpoolMemory
from adapters.upstream.memory import InMemoryUpstream
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.spool import Spool
from core.pull_through.absences import Absences
from core.pull_through.admission import Admission
from core.pull_through.blobs import CachedBlobs
from core.pull_through.claims import Claims
from core.pull_through.fetching import Fetcher
from core.pull_through.filling import FetchEvent, FetchTools
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from core.pull_through.storing import FetchedBlobStore
from tests.support.core_services import CoreServices, in_turn
from tests.support.simulated_time import SimulatedTime

HUB = UpstreamRules(prefix="docker.io", default_namespace="library", deny=("library/secret",))
QUAY = UpstreamRules(prefix="quay.io", absent_seconds=0)


@dataclass(kw_only=True)
class CachingProcess:
    """The parts of one process that serve cached blobs."""

    services: CoreServices
    blobs: CachedBlobs
    fetcher: Fetcher
    spool: Spool
    store: FetchedBlobStore
    tools: FetchTools
    claims: Claims
    absences: Absences

    async def read(self, name: RepositoryName, digest: Digest, *, offset: int = 0, length: int | None = None) -> bytes:
        async with self.blobs.open(name, digest, offset=offset, length=length) as reader:
            return b"".join([piece async for piece in reader])


@dataclass(kw_only=True)
class Machine:
    """A machine with any number of processes, whose store, spool and upstreams the processes share."""

    hub: InMemoryUpstream = field(default_factory=lambda: InMemoryUpstream("docker.io"))
    quay: InMemoryUpstream = field(default_factory=lambda: InMemoryUpstream("quay.io"))
    services: CoreServices = field(default_factory=lambda: CoreServices(offload=in_turn))
    memory: SpoolMemory = field(default_factory=SpoolMemory)
    time: SimulatedTime = field(default_factory=SimulatedTime)
    admission: Admission = field(default_factory=Admission)
    sleep: Callable[[float], Awaitable[None]] | None = None
    idle_seconds: float | None = None
    is_read_only: bool = False
    events: Counter[FetchEvent] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    """Bytes by upstream."""

    @property
    def origins(self) -> Origins:
        return Origins([(HUB, self.hub), (QUAY, self.quay)])

    def observe(self, event: FetchEvent, upstream: str, received: int) -> None:
        self.events[event] += 1
        self.received[upstream] += received

    @asynccontextmanager
    async def process(self, spool: Spool | None = None, **changes: Any) -> AsyncIterator[CachingProcess]:
        """Start a process; `changes` are those of its `CoreServices`."""
        services = self.services
        if changes:
            services = CoreServices(**{"storage": services.storage, "offload": in_turn, **changes})
        spool = spool or InMemorySpool(self.memory)
        claims, absences = Claims(), Absences(clock=self.time.clock)
        store = FetchedBlobStore(
            services.storage,
            services.links,
            guard=services.guard,
            damage=services.damage,
            new_id=services.new_id,
            admission=self.admission,
            is_read_only=lambda: self.is_read_only,
        )
        tools = FetchTools(
            spool=spool,
            store=store,
            new_hasher=services.new_hasher,
            offload=services.offload,
            sleep=self.sleep or self.time.sleep,
            observe=self.observe,
            idle_seconds=self.idle_seconds,
        )
        async with Fetcher(tools) as fetcher:
            blobs = CachedBlobs(
                services.blob_parts,
                origins=self.origins,
                fetcher=fetcher,
                store=store,
                claims=claims,
                absences=absences,
            )
            yield CachingProcess(
                services=services,
                blobs=blobs,
                fetcher=fetcher,
                spool=spool,
                store=store,
                tools=tools,
                claims=claims,
                absences=absences,
            )
