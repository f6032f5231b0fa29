"""Suspects about images: re-checked, reported with image names, and repaired as far as the store allows."""

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet

from core.errors import DigestInvalidError, ManifestInvalidError
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import stored_media_type
from core.model.schema1 import is_schema1
from core.store import layout
from core.verification.context import Context, RepositoryView
from core.verification.findings import Finding, Kind, Outcome, Recheck, Repair, Suspect

_Detail = Callable[[], Awaitable[str | None]]
"""Returns a description of the current defect, or None if there is none."""


class ImageSuspects:
    """Creates suspects among the manifests of one repository.

    Args:
        context: the verification.
        view: the state of the repository.
        above: the indexes that contain each manifest in question, directly or through other indexes.
    """

    def __init__(self, context: Context, view: RepositoryView, above: Mapping[Digest, AbstractSet[Digest]]) -> None:
        self._context = context
        self._view = view
        self._above = above

    def suspect(self, kind: Kind, manifest: Digest, subject: Descriptor | None) -> Suspect:
        """Return a manifest as a suspect or, if `subject` is given, the manifest's reference to it."""
        if subject is None:
            if kind is Kind.MANIFEST_UNREADABLE:
                return Suspect(self._recheck_for(kind, manifest, None, lambda: self._unreadable(manifest)))
            recheck = self._recheck_for(kind, manifest, None, lambda: self._lost(manifest))
            return Suspect(recheck, self._manifest_repair(manifest))
        return self._suspect_reference(kind, manifest, subject)

    def suspect_whole(self, manifest: Digest) -> Suspect:
        """Return a manifest that was set aside and may be complete again."""
        name, reader = self._view.name, self._context.reader
        key = layout.incomplete_link(name, manifest)

        async def recheck() -> Finding | None:
            if not (await reader.link(key)).is_there:
                return None
            return Finding(
                kind=Kind.WHOLE_AGAIN,
                key=key,
                repository=name,
                digest=manifest,
                detail="was set aside as incomplete, and is complete again",
            )

        async def repair() -> Outcome | None:
            return await self._context.repairer.return_manifest(name, manifest)

        return Suspect(recheck, repair)

    def _suspect_reference(self, kind: Kind, manifest: Digest, named: Descriptor) -> Suspect:
        details: dict[Kind, _Detail] = {
            Kind.BLOB_LOST: lambda: self._blob_lost(named),
            Kind.BLOB_UNLINKED: lambda: self._blob_unlinked(named),
            Kind.WRONG_SIZE: lambda: self._wrong_size(named),
            Kind.WRONG_MEDIA_TYPE: lambda: self._wrong_media_type(named),
            Kind.CHILD_MISSING: lambda: self._child_missing(named),
            Kind.REFERRER_UNLISTED: lambda: self._unlisted(manifest, named),
        }
        repairs: dict[Kind, Repair] = {
            Kind.BLOB_LOST: self._image_repair(manifest, named),
            Kind.BLOB_UNLINKED: self._link_repair(layout.layer_link(self._view.name, named.digest), named.digest),
            Kind.REFERRER_UNLISTED: self._link_repair(
                layout.referrer_link(self._view.name, named.digest, manifest), manifest
            ),
        }
        recheck = self._recheck_for(kind, manifest, named.digest, details[kind])
        outcome = Outcome.NEEDS_PUSH if kind is Kind.CHILD_MISSING else Outcome.FOUND
        return Suspect(recheck, repairs.get(kind), otherwise=outcome)

    def _recheck_for(self, kind: Kind, manifest: Digest, named: Digest | None, detail: _Detail) -> Recheck:
        name = self._view.name

        async def recheck() -> Finding | None:
            text = await detail()
            # Check the link last: a delete removes links first, and a deleted manifest has no defect.
            if text is None or not await self._is_held(manifest):
                return None
            harmless = kind is Kind.REFERRER_UNLISTED
            return Finding(
                kind=kind,
                key=layout.revision_link(name, manifest),
                repository=name,
                digest=named or manifest,
                images=() if harmless else self._images(manifest),
                detail=text,
            )

        return recheck

    def _images(self, manifest: Digest) -> tuple[str, ...]:
        name = self._view.name
        names = []
        for digest in (manifest, *sorted(self._above.get(manifest, ()))):
            names += [f"{name}:{tag}" for tag in self._view.tags_of(digest)] + [f"{name}@{digest}"]
        return tuple(names)

    def _is_named(self, manifest: Digest) -> bool:
        """Whether a tag or an index refers to a manifest."""
        return bool(self._above.get(manifest) or self._view.tags_of(manifest))

    async def _is_held(self, manifest: Digest) -> bool:
        """Whether the repository holds a manifest, or has set it aside."""
        name, reader = self._view.name, self._context.reader
        if (await reader.link(layout.revision_link(name, manifest))).is_there:
            return True
        return (await reader.link(layout.incomplete_link(name, manifest))).is_there

    async def _lost(self, manifest: Digest) -> str | None:
        if manifest in self._context.damaged:
            return "manifest data is damaged"
        state = await self._context.reader.data(layout.blob_data(manifest), manifest.algorithm)
        if state is None:
            return "manifest data is missing"
        return None if state.digest == manifest else "manifest data is damaged"

    async def _unreadable(self, manifest: Digest) -> str | None:
        found = await self._context.reader.manifest(manifest)
        if found.is_absent or is_schema1(found.content):
            return None
        try:
            stored_media_type(found.content)
        except (ManifestInvalidError, DigestInvalidError) as error:
            return f"cannot be served: {error}"
        return None

    async def _blob_lost(self, named: Descriptor) -> str | None:
        if named.digest in self._context.damaged:
            return f"blob {named.digest} is damaged"
        return None if await self._data_size(named) is not None else f"blob {named.digest} is missing"

    async def _blob_unlinked(self, named: Descriptor) -> str | None:
        link = await self._context.reader.link(layout.layer_link(self._view.name, named.digest))
        return None if link.target is not None else f"blob {named.digest} is not linked by the repository"

    async def _wrong_size(self, named: Descriptor) -> str | None:
        size = await self._data_size(named)
        if size in {None, named.size}:
            return None
        return f"states a size of {named.size} bytes for {named.digest}, which has {size}"

    async def _wrong_media_type(self, named: Descriptor) -> str | None:
        manifest = (await self._context.reader.manifest(named.digest)).manifest
        actual = manifest.media_type if manifest else None
        if actual in {None, named.media_type}:
            return None
        return f"states {named.media_type or 'no media type'} for {named.digest}, which is {actual}"

    async def _child_missing(self, named: Descriptor) -> str | None:
        link = await self._context.reader.link(layout.revision_link(self._view.name, named.digest))
        return None if link.is_there else f"the repository does not hold the manifest {named.digest}"

    async def _unlisted(self, manifest: Digest, named: Descriptor) -> str | None:
        key = layout.referrer_link(self._view.name, named.digest, manifest)
        return (
            None if (await self._context.reader.link(key)).is_there else f"missing from the referrers of {named.digest}"
        )

    async def _data_size(self, named: Descriptor) -> int | None:
        link = await self._context.reader.link(layout.layer_link(self._view.name, named.digest))
        return await self._context.size_now(link.target or named.digest)

    def _manifest_repair(self, manifest: Digest) -> Repair:
        name, repairer = self._view.name, self._context.repairer

        async def is_there() -> bool:
            return await self._context.size_now(manifest) is not None

        async def repair() -> Outcome | None:
            if manifest in self._context.damaged:
                return Outcome.FOUND
            if await repairer.restore(manifest):
                return Outcome.RESTORED
            # In a cached repository, the next pull fetches the manifest again.
            if self._is_named(manifest) and not self._context.rules.is_cached(name):
                return await repairer.set_manifest_aside(name, manifest, is_whole=is_there)
            if manifest in self._view.set_aside:
                await repairer.remove_link(layout.incomplete_link(name, manifest), manifest)
            removed = await repairer.remove_link(layout.revision_link(name, manifest), manifest, is_wanted=is_there)
            return None if removed is None else Outcome.LOST

        return repair

    def _image_repair(self, manifest: Digest, named: Descriptor) -> Repair:
        async def is_whole() -> bool:
            return await self._data_size(named) is not None

        async def repair() -> Outcome | None:
            if named.digest in self._context.damaged:
                # The data cannot be read and stays in its place.
                return Outcome.FOUND
            if await self._context.repairer.restore(named.digest):
                return Outcome.RESTORED
            record = self._view.set_aside.get(manifest)
            if record is not None and not self._is_named(manifest) and self._context.is_given_up(record):
                # Its tags were deleted, so a push of this manifest is unlikely.
                await self._context.repairer.remove_link(layout.incomplete_link(self._view.name, manifest), manifest)
                return Outcome.LOST
            return await self._context.repairer.set_manifest_aside(self._view.name, manifest, is_whole=is_whole)

        return repair

    def _link_repair(self, key: str, target: Digest) -> Repair:
        async def repair() -> Outcome | None:
            return await self._context.repairer.rebuild_link(key, target)

        return repair
