"""The history of a tag: `GET /v2/<name>/_oci/tag-history/<tag>`.

As pull request 606 of the OCI distribution-spec describes it: an index of descriptors, newest first.
"""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from core.model.digest import Digest
from core.model.media_types import OCI_INDEX
from core.model.names import RepositoryName, Tag
from core.model.pagination import parse_page_size
from core.registry.facade import Registry
from core.summaries.changes import ChangeKind
from core.summaries.history import HistoryEntry
from core.summaries.tag_history import HistoryQuery, marker, parse_time
from entrypoints.http.handlers.base import revalidated
from entrypoints.http.keys import NAMESPACE
from entrypoints.http.routes import Target
from entrypoints.http.urls import UrlBuilder

_EVENT: Final = "org.opencontainers.distribution.tag.event"
_TIMESTAMP: Final = "org.opencontainers.distribution.tag.timestamp"
_BY: Final = "com.sohu.registry.tag.by"
"""The user, command or job."""
_SOURCE: Final = "com.sohu.registry.tag.source"
"""`link` if the registry did not record the change."""
_REASON: Final = "com.sohu.registry.tag.reason"
"""`restore` if the tag came from the trash."""
_UNKNOWN_TYPE: Final = "application/octet-stream"
"""Media type of a manifest that is gone and was never described."""


class TagHistoryHandlers:
    """Handlers for histories of tags."""

    def __init__(self, registry: Registry, *, urls: UrlBuilder) -> None:
        self._registry = registry
        self._urls = urls

    async def get(self, request: web.Request, target: Target) -> web.StreamResponse:
        """List the changes of a tag; none for an unknown repository or tag."""
        name, tag = RepositoryName(target.name), Tag(target.reference)
        texts = {key: request.query.get(key, "") for key in ("before", "digest", "n", "since")}
        query = HistoryQuery(
            n=parse_page_size(texts["n"]),
            last=request.query.get("last", ""),
            before=parse_time(texts["before"]),
            since=parse_time(texts["since"]),
            digest=Digest(texts["digest"]) if texts["digest"] else None,
        )
        self._registry.tags.require_listable(name)
        page = await self._registry.history.page(name, tag, query)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_descriptor(entry) for entry in page.items]}
        headers = {}
        if page.has_more:
            same = {key: text for key, text in texts.items() if text}
            headers["Link"] = self._urls.next_page(
                request, last=marker(page.items[-1]), ns=request.get(NAMESPACE), **same
            )
        return revalidated(request, index, headers, content_type=OCI_INDEX)


def _descriptor(entry: HistoryEntry) -> Mapping[str, Any]:
    annotations = {_TIMESTAMP: entry.time, _EVENT: "created" if entry.is_creation else "deleted"}
    if entry.by:
        annotations[_BY] = entry.by
    if entry.kind is ChangeKind.RESTORE:
        annotations[_REASON] = "restore"
    if not entry.is_recorded:
        annotations[_SOURCE] = "link"
    return {
        "mediaType": entry.media_type or _UNKNOWN_TYPE,
        "size": entry.size,
        "digest": entry.digest,
        "annotations": annotations,
    }
