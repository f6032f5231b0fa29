"""Publication of events for the effects of requests."""

from collections.abc import Sequence
from dataclasses import replace

from aiohttp import BasicAuth, web

from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.events import EventAction, Occurrence, Origin
from core.model.manifest import StoredManifest
from core.model.media_types import OCTET_STREAM
from core.model.names import Reference, RepositoryName, Tag
from core.notifications.envelope import references_of
from core.ports.event_sink import EventSink
from core.registry.manifests import PushedManifest
from entrypoints.http.keys import CALLER, CLIENT, REQUEST_ID
from entrypoints.http.urls import UrlBuilder


class RequestEvents:
    """Publishes the same events as distribution for each request; one per application.

    Handlers call these methods after the request has taken effect and before the response is sent. Methods for pulls
    never fail.
    """

    def __init__(self, events: EventSink, urls: UrlBuilder) -> None:
        self._events = events
        self._urls = urls

    def wants_blob(self, action: EventAction) -> bool:
        """Whether any endpoint receives events with this action for blobs."""
        return self._events.wants(action, OCTET_STREAM)

    async def manifest_pulled(
        self, request: web.Request, name: RepositoryName, reference: Reference, manifest: StoredManifest
    ) -> None:
        """Publish an event for a manifest that was sent, or described in response to `HEAD`."""
        if self._events.wants(EventAction.PULL, manifest.media_type):
            tag = None if isinstance(reference, Digest) else reference
            told = self._manifest(request, EventAction.PULL, name, manifest)
            await self._emit(request, [replace(told, tag=tag)])

    async def manifest_pushed(
        self, request: web.Request, name: RepositoryName, pushed: PushedManifest, content: bytes
    ) -> None:
        """Publish events for a stored manifest, one for each tag that points at it.

        Raises:
            StorageUnavailableError: see `EventSink.emit`.
        """
        if self._events.wants(EventAction.PUSH, pushed.media_type):
            manifest = StoredManifest(content=content, media_type=pushed.media_type, digest=pushed.digest)
            told = self._manifest(request, EventAction.PUSH, name, manifest)
            tags: Sequence[Tag | None] = pushed.tags or [None]
            await self._emit(request, [replace(told, tag=tag) for tag in tags])

    async def manifest_deleted(
        self, request: web.Request, name: RepositoryName, reference: Reference, tags: Sequence[Tag]
    ) -> None:
        """Publish events for the deletion of a tag, or of a manifest and its tags: one event for each.

        Raises:
            StorageUnavailableError: see `EventSink.emit`.
        """
        gone = [Occurrence(action=EventAction.DELETE, repository=name, tag=tag) for tag in tags]
        if isinstance(reference, Digest):
            gone.insert(0, Occurrence(action=EventAction.DELETE, repository=name, digest=reference))
        await self._emit(request, gone)

    async def blob(
        self,
        request: web.Request,
        action: EventAction,
        name: RepositoryName,
        blob: Descriptor,
        *,
        source: str | None = None,
    ) -> None:
        """Publish an event for a blob that was pulled, pushed, or mounted from `source`.

        Raises:
            StorageUnavailableError: see `EventSink.emit`.
        """
        if self.wants_blob(action):
            told = Occurrence(
                action=action,
                repository=name,
                digest=blob.digest,
                media_type=OCTET_STREAM,
                size=blob.size,
                from_repository=source,
                url=self._urls.blob(request, name, blob.digest),
            )
            await self._emit(request, [told])

    async def blob_deleted(self, request: web.Request, name: RepositoryName, digest: Digest) -> None:
        """Publish an event for the removal of a blob from a repository.

        Raises:
            StorageUnavailableError: see `EventSink.emit`.
        """
        await self._emit(request, [Occurrence(action=EventAction.DELETE, repository=name, digest=digest)])

    async def repository_deleted(self, request: web.Request, name: RepositoryName) -> None:
        """Publish one event for the deletion of a whole repository, as distribution does.

        Raises:
            StorageUnavailableError: see `EventSink.emit`.
        """
        await self._emit(request, [Occurrence(action=EventAction.DELETE, repository=name)])

    def _manifest(
        self, request: web.Request, action: EventAction, name: RepositoryName, manifest: StoredManifest
    ) -> Occurrence:
        return Occurrence(
            action=action,
            repository=name,
            digest=manifest.digest,
            media_type=manifest.media_type,
            size=len(manifest.content),
            url=self._urls.manifest(request, name, manifest.digest),
            references=references_of(manifest.content) if self._events.wants_references else (),
        )

    async def _emit(self, request: web.Request, occurrences: Sequence[Occurrence]) -> None:
        if occurrences and self._events.wants(occurrences[0].action, occurrences[0].media_type):
            await self._events.emit(occurrences, _origin(request))


def _origin(request: web.Request) -> Origin:
    return Origin(
        request_id=request[REQUEST_ID],
        address=_address(request),
        host=request.host,
        method=request.method,
        user_agent=request.headers.get("User-Agent", ""),
        actor=request[CALLER].principal.name or _basic_user(request.headers.get("Authorization", "")),
    )


def _address(request: web.Request) -> str:
    """Return the client's address as distribution formats it: with the port, unless the address comes from a proxy."""
    address = request[CLIENT].address
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    if not isinstance(peer, tuple) or peer[0] != address:
        return address
    return f"[{address}]:{peer[1]}" if ":" in address else f"{address}:{peer[1]}"


def _basic_user(authorization: str) -> str:
    # Without authentication, report the name that the client claims, as distribution does.
    try:
        login: str = BasicAuth.decode(authorization).login
    except ValueError:
        return ""
    return login
