"""Copies between registries in memory, and the images that they copy."""

import json
from collections.abc import Sequence
from typing import Any

from adapters.upstream.memory import InMemoryUpstream
from core.coordination.budget import Budget, Rates
from core.model import media_types
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.registry_target import RegistryTarget
from core.transfer.image_copy import CopyOptions, ImageCopy, RepositoryCopyRequest
from core.transfer.mirror_rules import TagRules
from core.transfer.tally import Tally, TransferProblem, TransferProgress
from tests.support.content import descriptor, image_index, image_manifest

ORIGIN, NAME = "library/app", RepositoryName("mirror/app")


class CopyPasses:
    """Passes of a copy from an upstream in memory, with a clock that sleeps no time."""

    def __init__(self, target: RegistryTarget, upstream: InMemoryUpstream | None = None) -> None:
        self.upstream = upstream or InMemoryUpstream()
        self.target = target
        self.slept: list[float] = []
        self.problems: list[TransferProblem] = []
        self.progress = TransferProgress()

    async def run(self, *, rules: TagRules | None = None, tag: str = "", digest: str = "", **options: Any) -> str:
        """Run one pass, and return the problems it reported as text."""
        self.problems.clear()
        self.upstream.asked.clear()
        tally = Tally(observe=self._observe, report=self.problems.append)
        copy = self.copy(tally, **options)
        request = RepositoryCopyRequest(
            origin=ORIGIN,
            name=NAME,
            rules=rules or TagRules(),
            tag=Tag(tag) if tag else None,
            digest=Digest(digest) if digest else None,
        )
        await copy.run(request)
        return "\n".join(f"{problem.trouble} {problem.line()}" for problem in self.problems)

    def copy(self, tally: Tally | None = None, **options: Any) -> ImageCopy:
        """Return a copy from the upstream to the target."""
        return ImageCopy(
            self.upstream,
            self.target,
            options=CopyOptions(**options),
            tally=tally or Tally(observe=self._observe, report=self.problems.append),
            budget=Budget(Rates(), clock=lambda: 0.0, sleep=self.sleep),
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        """Record a pause."""
        self.slept.append(seconds)

    def _observe(self, progress: TransferProgress) -> None:
        self.progress = progress

    def add_image(self, *tags: str, layers: Sequence[bytes] = (b"layer",), **members: Any) -> Digest:
        """Add an image to the upstream; return its digest."""
        for content in (b"{}", *layers):
            self.upstream.add_blob(ORIGIN, content)
        manifest = image_manifest(b"{}", list(layers), **members)
        return self.upstream.add_manifest(ORIGIN, manifest, media_types.OCI_MANIFEST, *tags)

    def add_index(self, *tags: str, platforms: Sequence[str] = ("linux/amd64", "linux/arm64")) -> Digest:
        """Add an index with one image for each platform; return its digest."""
        manifests = []
        for platform in platforms:
            layer = f"layer of {platform}".encode()
            manifest = image_manifest(b"{}", [layer])
            self.add_image(layers=[layer])
            system, architecture = platform.split("/")
            described = descriptor(manifest, media_types.OCI_MANIFEST)
            manifests.append({**described, "platform": {"os": system, "architecture": architecture}})
        document = json.loads(image_index([])) | {"manifests": manifests}
        return self.upstream.add_manifest(ORIGIN, json.dumps(document).encode(), media_types.OCI_INDEX, *tags)

    def add_referrer(self, subject: Digest, kind: str = "application/vnd.example.signature") -> Digest:
        """Add a referrer of a manifest to the upstream; return its digest."""
        content = f"signature of {subject}".encode()
        about = {"mediaType": media_types.OCI_MANIFEST, "digest": subject, "size": 2}
        return self.add_image(layers=[content], subject=about, artifactType=kind)
