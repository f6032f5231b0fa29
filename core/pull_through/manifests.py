"""Manifests of cached repositories: which of them are served, and when the upstream is asked."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from core.errors import (
    DeniedError,
    ManifestUnknownError,
    ReadOnlyError,
    StorageCorruptError,
    StorageUnavailableError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
)
from core.model.digest import Digest
from core.model.freshness import CacheOutcome, Freshness
from core.model.manifest import StoredManifest
from core.model.names import Reference, RepositoryName, Tag
from core.ports.upstream import UpstreamTag
from core.pull_through.absences import Absences
from core.pull_through.claiming import Claim, Claimant
from core.pull_through.failures import UnusableContentError
from core.pull_through.flights import Flights
from core.pull_through.keeping import ManifestKeeper
from core.pull_through.origins import Origin, Origins
from core.pull_through.pauses import Pauses
from core.pull_through.tag_state import TagState, TagStates
from core.pull_through.turns import Turn, Turns
from core.registry.manifests import ManifestService
from core.registry.parts import ManifestParts
from core.store import layout
from core.store.objects import find
from core.typing import override

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_OK: Final = 200
_NOT_MODIFIED: Final = 304
_TOO_MANY_REQUESTS: Final = 429


class CachedManifests(ManifestService):
    """Serves local repositories as its base does, and cached ones from the store or from their upstream.

    A digest is asked for only if it is not stored. A tag is checked at most once per `recheck` and process: one `HEAD`,
    then a `GET` by digest if the digest is new here. This holds for a `HEAD` by a client too: its answer needs the
    size, which only the manifest gives reliably, and the `GET` that a pulling client sends next is then answered from
    the store. So an image costs one pull at Docker Hub, whether or not the client begins with `HEAD`, and a client that
    only watches a tag costs one for each new image.

    If the upstream does not have a tag, the answer is `ManifestUnknownError`, also for a tag that is stored. The stored
    content stays: should the tag come back, it costs no pull. If the upstream fails, a stored tag is served as stale
    for `stale`; otherwise the error is that of the upstream, never an absence.

    Args:
        parts: see the base.
        origins: finds the upstreams.
        states: the records of tags.
        absences, pauses: what the upstreams do not have, and their recent failures.
        now: the current time, UTC-aware; compared with times that other replicas recorded.
        claim: called with the blobs of each manifest that is served.
        turns: lets one worker process ask for all.
        require_writable: raises `ReadOnlyError` while the registry is read-only; cached content is then not stored.
        admits: whether the cache has room for a number of bytes.
        announce: called after a manifest was stored in a repository that the catalog lists.
        moved: called after a tag moved.
    """

    def __init__(
        self,
        parts: ManifestParts,
        *,
        origins: Origins,
        states: TagStates,
        absences: Absences,
        pauses: Pauses,
        now: Callable[[], datetime],
        claim: Claim,
        turns: Turns,
        require_writable: Callable[[], Awaitable[None]],
        admits: Callable[[int], Awaitable[bool]],
        announce: Callable[[RepositoryName], Awaitable[None]],
        moved: Callable[[RepositoryName, Tag, Digest], Awaitable[None]],
    ) -> None:
        super().__init__(parts)
        self._origins = origins
        self._states = states
        self._absences = absences
        self._pauses = pauses
        self._now = now
        self._claimant = Claimant(self._contents, claim)
        self._require_writable = require_writable
        self._turns = turns
        self._announce = announce
        self._moved = moved
        self._keeper = ManifestKeeper(
            parts.storage,
            self._contents,
            guard=parts.guard,
            damage=parts.damage,
            require_writable=require_writable,
            admits=admits,
        )
        self._flights: Flights[tuple[RepositoryName, Reference], StoredManifest] = Flights()

    async def close(self) -> None:
        """Cancel the questions in progress. For the end of the process, before the store is closed."""
        await self._flights.close()

    @override
    async def get(self, name: RepositoryName, reference: Reference) -> StoredManifest:
        """Return a manifest with its exact bytes.

        A stored digest, and a tag that was checked recently, cost what they cost in a local repository. A tag that is
        due costs three to five storage requests and one question.

        Raises:
            ManifestUnknownError: the upstream does not have the manifest.
            DeniedError: the rules do not allow pulls from this repository of the upstream.
            UpstreamError: the upstream failed, and nothing stored may be served in its place.
        """
        origin = self._origins.find(name)
        if origin is None:
            return await super().get(name, reference)
        if not origin.is_allowed:
            raise DeniedError("pulls from this repository are not allowed here", detail={"name": name})
        manifest = await self._fresh(origin, name, reference)
        if manifest is None:
            if self._absences.has(name, reference):
                raise _unknown(name, reference)
            manifest = await self._flights.run((name, reference), lambda: self._ask_for(origin, name, reference))
        await self._claimant.claim(name, manifest)
        return manifest

    @override
    async def describe(self, name: RepositoryName, reference: Reference) -> StoredManifest:
        """Return a manifest for a `HEAD` request; see `get`, and the base for local repositories.

        Damaged blobs do not matter in a cached repository: nobody pushes there, and they are fetched again.
        """
        return await (self.get if self._origins.is_cached(name) else super().describe)(name, reference)

    @override
    async def delete(self, name: RepositoryName, reference: Reference, *, by: str = "") -> Mapping[Tag, Digest | None]:
        """Delete a tag or a manifest, and the records of the deleted tags; see the base."""
        removed = await super().delete(name, reference, by=by)
        await self._forget(name, list(removed))
        return removed

    @override
    async def delete_tags(
        self, name: RepositoryName, tags: Mapping[Tag, Digest], *, by: str = "", reason: str = ""
    ) -> str | None:
        """Delete several tags with their records; see the base."""
        entry = await super().delete_tags(name, tags, by=by, reason=reason)
        await self._forget(name, list(tags))
        return entry

    async def _forget(self, name: RepositoryName, tags: Sequence[Tag]) -> None:
        if self._origins.is_cached(name):
            await self._states.remove(name, tags)

    async def _fresh(self, origin: Origin, name: RepositoryName, reference: Reference) -> StoredManifest | None:
        """Return what may be served without a question, as far as this process knows without reading a record."""
        if isinstance(reference, Digest):
            manifest = await self._stored(name, reference)
            return manifest and replace(manifest, freshness=Freshness(outcome=CacheOutcome.HIT))
        state = self._states.recall(name, reference)
        return None if state is None else await self._if_fresh(origin, name, reference, state)

    async def _if_fresh(
        self, origin: Origin, name: RepositoryName, tag: Tag, state: TagState | None
    ) -> StoredManifest | None:
        seconds = origin.rules.recheck_seconds
        if state is None or state.is_absent or not state.is_fresh(self._now(), seconds):
            return None
        manifest = await self._stored(name, tag)
        ttl = seconds - state.age(self._now())
        return manifest and replace(manifest, freshness=Freshness(outcome=CacheOutcome.HIT, ttl_seconds=ttl))

    async def _stored(self, name: RepositoryName, reference: Reference) -> StoredManifest | None:
        """Return a manifest from the store, or None if it is not stored there, or damaged and to be fetched again."""
        try:
            return await super().get(name, reference)
        except (ManifestUnknownError, StorageCorruptError):
            return None

    async def _ask_for(self, origin: Origin, name: RepositoryName, reference: Reference) -> StoredManifest:
        if isinstance(reference, Digest):
            return await self._fetch(origin, name, reference)
        async with self._turns.take(name, reference) as turn:
            return await self._check(origin, name, reference, turn)

    async def _check(self, origin: Origin, name: RepositoryName, tag: Tag, turn: Turn) -> StoredManifest:
        """Ask for the target of a tag, unless another process did just now, and serve what the answer allows."""
        state = await self._states.read(name, tag)
        if (manifest := await self._if_fresh(origin, name, tag, state)) is not None:
            return manifest
        if state is not None and state.is_absent and state.is_fresh(self._now(), origin.rules.absent_seconds):
            raise _unknown(name, tag)
        held = await self._held(name, tag, state)
        try:
            found = await self._resolve(origin, name, tag, held, turn)
            return await self._follow(origin, name, tag, held, found)
        except UpstreamAbsentError:
            await self._note_absence(origin, name, tag, held)
            raise _unknown(name, tag) from None
        except UpstreamError as error:
            turn.own_failure = error
            return await self._stale(origin, name, held, error)

    async def _held(self, name: RepositoryName, tag: Tag, state: TagState | None) -> TagState | None:
        """Return the stored tag: its record, or the time of its link if no record describes its target."""
        current = await self._tags.resolve(name, tag)
        if current is None or (state is not None and state.digest == current):
            return state if current is not None else None
        link = await find(self._storage, layout.tag_current_link(name, tag))
        return None if link is None else TagState(digest=current, checked_at=link.modified_at)

    async def _resolve(
        self, origin: Origin, name: RepositoryName, tag: Tag, held: TagState | None, turn: Turn
    ) -> UpstreamTag | None:
        pauses, upstream = self._pauses, origin.upstream
        is_servable = held is not None and not held.is_absent
        paused = pauses.failure_of(upstream.name, (name, tag))
        if paused is None and is_servable:
            paused = pauses.any_failure(upstream.name)
        if paused is not None:
            raise paused
        etag = held.etag if held else None
        return await self._ask(origin, name, tag, turn, lambda: upstream.resolve(origin.name, tag, etag=etag))

    async def _follow(
        self, origin: Origin, name: RepositoryName, tag: Tag, held: TagState | None, found: UpstreamTag | None
    ) -> StoredManifest:
        """Serve the target of a tag according to the upstream, and point the tag at it."""
        checked_at, ttl = self._now(), origin.rules.recheck_seconds
        if found is None:
            if held is None:
                raise UnusableContentError(f"{origin.upstream.name} calls {tag} unchanged without a reason")
            state = replace(held, checked_at=checked_at, is_absent=False)
        else:
            state = TagState(digest=found.digest, checked_at=checked_at, etag=found.etag, media_type=found.media_type)
        manifest = await self._stored(name, state.digest)
        status = _OK if found else _NOT_MODIFIED
        freshness = Freshness(outcome=CacheOutcome.REVALIDATED, ttl_seconds=ttl, status=status)
        if manifest is None:
            manifest = await self._fetch_target(origin, name, tag, state.digest)
            freshness = replace(freshness, outcome=CacheOutcome.MISS, status=_OK)
        await self._remember(name, tag, held, state)
        return replace(manifest, freshness=freshness)

    async def _fetch_target(self, origin: Origin, name: RepositoryName, tag: Tag, digest: Digest) -> StoredManifest:
        upstream = origin.upstream.name
        # The tag is newer than the memory of an absence.
        self._absences.forget(name, digest)
        try:
            return await self._flights.run((name, digest), lambda: self._fetch(origin, name, digest))
        except ManifestUnknownError:
            error: UpstreamError = UnusableContentError(f"{upstream} points {tag} at {digest}, but does not have it")
        except UpstreamError as failure:
            error = failure
        self._pauses.note(upstream, (name, tag), error, seconds=origin.rules.recheck_seconds)
        raise error

    async def _remember(self, name: RepositoryName, tag: Tag, held: TagState | None, state: TagState) -> None:
        """Point the tag at its target and record the check, if the target is stored."""
        self._absences.forget(name, tag)
        if not await self._links.stands(layout.revision_link(name, state.digest), state.digest):
            # The manifest was passed on without being stored.
            return
        await self._record(name, tag, state, moves=held is None or held.digest != state.digest)

    async def _note_absence(self, origin: Origin, name: RepositoryName, tag: Tag, held: TagState | None) -> None:
        self._absences.add(name, tag, seconds=origin.rules.absent_seconds)
        if held is not None:
            # The content stays, and the upstream may have refused access only for a time.
            absent = replace(held, checked_at=self._now(), is_absent=True)
            await self._record(name, tag, absent, moves=False)

    async def _record(self, name: RepositoryName, tag: Tag, state: TagState, *, moves: bool) -> None:
        try:
            await self._require_writable()
            if moves:
                await self._tags.point(name, tag, state.digest)
            await self._states.write(name, tag, state)
            if moves:
                await self._moved(name, tag, state.digest)
        except (ReadOnlyError, StorageUnavailableError) as error:
            # The pull succeeds all the same; the next one may have to ask again.
            _logger.info("check of a cached tag not recorded: %s", error, extra={"repository": name, "tag": tag})
            if not moves:
                self._states.remember(name, tag, state)

    async def _stale(
        self, origin: Origin, name: RepositoryName, held: TagState | None, error: UpstreamError
    ) -> StoredManifest:
        """Serve a stored tag because the upstream failed.

        Raises:
            UpstreamError: the tag is not stored, or was checked too long ago.
        """
        if held is None or held.is_absent or held.age(self._now()) > origin.rules.stale_seconds:
            raise error
        manifest = await self._stored(name, held.digest)
        if manifest is None:
            raise error
        status = _TOO_MANY_REQUESTS if isinstance(error, UpstreamBusyError) else None
        ttl = origin.rules.recheck_seconds - held.age(self._now())
        return replace(
            manifest, freshness=Freshness(outcome=CacheOutcome.STALE, ttl_seconds=min(ttl, 0.0), status=status)
        )

    async def _fetch(self, origin: Origin, name: RepositoryName, digest: Digest) -> StoredManifest:
        """Fetch a manifest by digest, and store it."""
        async with self._turns.take(name, digest) as turn:
            manifest = await self._fetch_in_turn(origin, name, digest, turn)
        return replace(manifest, freshness=Freshness(outcome=CacheOutcome.MISS, status=_OK))

    async def _fetch_in_turn(self, origin: Origin, name: RepositoryName, digest: Digest, turn: Turn) -> StoredManifest:
        if turn.has_waited and (stored := await self._stored(name, digest)) is not None:
            return stored
        if (paused := self._pauses.failure_of(origin.upstream.name, (name, digest))) is not None:
            raise paused
        try:
            manifest = await self._ask(origin, name, digest, turn, lambda: self._fetch_and_keep(origin, name, digest))
        except UpstreamAbsentError:
            self._absences.add(name, digest, seconds=origin.rules.absent_seconds)
            raise _unknown(name, digest) from None
        self._absences.forget(name, digest)
        return manifest

    async def _fetch_and_keep(self, origin: Origin, name: RepositoryName, digest: Digest) -> StoredManifest:
        found = await origin.upstream.manifest(origin.name, digest)
        manifest, is_kept = await self._keeper.keep(name, replace(found, digest=digest))
        if is_kept:
            self._memory.put(manifest)
            if origin.rules.catalog:
                await self._announce(name)
        return manifest

    async def _ask(
        self,
        origin: Origin,
        name: RepositoryName,
        reference: Reference,
        turn: Turn,
        question: Callable[[], Awaitable[T]],
    ) -> T:
        """Ask the upstream, unless another process asked just now in vain; note whether it answered."""
        upstream = origin.upstream.name
        try:
            if turn.failure is not None:
                raise turn.failure
            answer = await question()
        except UpstreamAbsentError as error:
            self._pauses.note_answer(upstream)
            turn.own_failure = error
            raise
        except UpstreamError as error:
            self._pauses.note(upstream, (name, reference), error, seconds=origin.rules.recheck_seconds)
            turn.own_failure = error
            # The decorator of the upstream warns once for the whole outage.
            _logger.info("upstream failed: %s", error, extra={"repository": name, "reference": reference})
            raise
        self._pauses.note_answer(upstream)
        return answer


def _unknown(name: RepositoryName, reference: Reference) -> ManifestUnknownError:
    return ManifestUnknownError("manifest unknown", detail={"name": name, "reference": reference})
