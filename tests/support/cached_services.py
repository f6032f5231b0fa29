"""The services of a registry with pull-through caches, on in-memory adapters and simulated time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.upstream.memory import InMemoryUpstream
from core.model import media_types
from core.model.names import RepositoryName
from core.ports.spool import Spool
from core.ports.staging import StagingStorage
from core.pull_through.absences import Absences
from core.pull_through.manifests import CachedManifests
from core.pull_through.origins import Origins
from core.pull_through.pauses import Pauses
from core.pull_through.referrers import CachedReferrers
from core.pull_through.repositories import CachedRepositories
from core.pull_through.rules import UpstreamRules
from core.pull_through.tag_state import TagStates
from core.pull_through.tags import CachedTags
from core.pull_through.turns import Turns
from core.store.manifest_cache import ManifestCache
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices
from tests.support.simulated_time import SimulatedTime

REMOTE = "library/alpine"
NAME = RepositoryName(f"docker.io/{REMOTE}")
HUB = UpstreamRules(prefix="docker.io", default_namespace="library")


async def allow() -> None:
    """Allow every write."""


async def admit(_size: int) -> bool:
    """Admit all content."""
    return True


async def ignore(_name: RepositoryName, *_others: object) -> None:
    """Do nothing."""


class CachedServices(CoreServices):
    """One process of a registry with one upstream, `docker.io`."""

    def __init__(
        self,
        time: SimulatedTime,
        upstream: InMemoryUpstream,
        *,
        storage: StagingStorage | None = None,
        rules: UpstreamRules = HUB,
        core: Mapping[str, Any] | None = None,
        spool: Spool | None = None,
        **wiring: Any,
    ) -> None:
        self.core = core or {}
        """Arguments of the base, for processes on the same store too."""
        super().__init__(
            storage=storage or InMemoryBlobStorage(now=time.now),
            clock=time.clock,
            memory=ManifestCache(),
            **self.core,
        )
        self.time = time
        self.upstream = upstream
        self.origins = Origins([(rules, upstream)])
        self.absences = Absences(clock=time.clock)
        self.pauses = Pauses(clock=time.clock)
        self.states = TagStates(self.storage)
        self.claimed: list[tuple[str, str, int]] = []
        self.plain_manifests = self.manifests
        self.manifests: CachedManifests = CachedManifests(
            replace(self.manifest_parts, guard=wiring.pop("guard", self.guard)),
            origins=self.origins,
            states=self.states,
            absences=self.absences,
            pauses=self.pauses,
            turns=Turns(spool),
            now=time.now,
            claim=lambda name, blobs: self.claimed.extend((name, blob.digest, blob.size) for blob in blobs),
            **{"require_writable": allow, "admits": admit, "announce": ignore, "moved": ignore, **wiring},
        )
        self.tags: CachedTags = CachedTags(
            self.storage, self.tag_links, page_size_max=1000, origins=self.origins, pauses=self.pauses, clock=time.clock
        )
        self.referrers: CachedReferrers = CachedReferrers(
            self.storage, self.links, self.tag_links, origins=self.origins, pauses=self.pauses, clock=time.clock
        )
        self.repositories: CachedRepositories = CachedRepositories(
            self.storage,
            self.links,
            self.tag_links,
            self.trash,
            guard=self.guard,
            is_immutable=self.policy.is_immutable,
            origins=self.origins,
            states=self.states,
        )

    def restarted(self, **wiring: Any) -> "CachedServices":
        """Return the services of another process on the same store and upstream."""
        rules, _ = self.origins.upstreams[0]
        return CachedServices(self.time, self.upstream, storage=self.storage, rules=rules, core=self.core, **wiring)


def add_image(
    upstream: InMemoryUpstream, *tags: str, layer: bytes = b"layer", config: bytes = b"{}", **members: Any
) -> bytes:
    """Add an image with one layer to the upstream; return its manifest."""
    content = image_manifest(config, [layer], **members)
    upstream.add_blob(REMOTE, config)
    upstream.add_blob(REMOTE, layer)
    upstream.add_manifest(REMOTE, content, media_types.OCI_MANIFEST, *tags)
    return content
