"""The page of an image, an index or an artifact, by its tag or its digest."""

import asyncio
import shlex
from collections.abc import Mapping
from typing import Any, Final

from core.errors import ManifestUnknownError
from core.inspection.referrers import ReferrerTrees
from core.inspection.service import Inspector, Shape
from core.inspection.sharing import find_shared
from core.model.access import Action
from core.model.artifact_types import kind_of
from core.model.digest import Digest
from core.model.manifest import StoredManifest
from core.model.names import RepositoryName, Tag
from core.summaries.service import RepositoryView
from entrypoints.http.routes import Right
from entrypoints.http.site import SiteParts
from entrypoints.web.locations import Page
from entrypoints.web.pull_commands import pull_commands
from entrypoints.web.visits import Answer, Shown, View, Visit

_TAGS_SHOWN: Final = 50
"""Maximum number of tags of the same manifest that a page lists."""


class ImageViews:
    """Shows one manifest."""

    def __init__(self, parts: SiteParts) -> None:
        self._registry = parts.registry
        self._urls = parts.urls
        self._origins = parts.origins
        self._flags = parts.flags
        self._trees = ReferrerTrees(parts.registry.referrers.page, parts.registry.summaries.holds)
        self._inspector = Inspector(parts.registry.summaries, self._manifest, offload=asyncio.to_thread)

    def views(self) -> Mapping[tuple[Page, str], View]:
        """Return the view of each page and method."""
        return {(Page.TAG, "GET"): self.show_tag, (Page.MANIFEST, "GET"): self.show_manifest}

    async def show_tag(self, visit: Visit) -> Answer:
        """Show the manifest that a tag points at. Requests: those of `show_manifest`.

        Raises:
            ManifestUnknownError: the tag does not exist.
        """
        name, tag = visit.require_pull(), Tag(visit.location.reference)
        view = await self._registry.summaries.view(name)
        if tag not in view.tags:
            raise ManifestUnknownError("no such tag", detail={"name": name, "tag": tag})
        return await self._show(visit, view, view.tags[tag].digest, tag)

    async def show_manifest(self, visit: Visit) -> Answer:
        """Show a manifest.

        A view of the repository, at most one listing of pulls, and the requests of `Inspector.inspect`,
        `ReferrerTrees.tree` and `find_shared`.
        """
        name, digest = visit.require_pull(), Digest(visit.location.reference)
        return await self._show(visit, await self._registry.summaries.view(name), digest, None)

    async def _show(self, visit: Visit, view: RepositoryView, digest: Digest, tag: Tag | None) -> Answer:
        name = view.name
        found = await self._inspector.inspect(name, digest)
        pulls = await self._registry.summaries.last_pulls(name)
        tags = [each for each, state in view.tags.items() if state.digest == digest]
        origin = self._origins.find(name)
        layers = [layer.digest for layer in found.layers] if found.shape is Shape.IMAGE else []
        shared = await find_shared(self._registry.summaries, view, digest, layers)
        tree = await self._trees.tree(view, digest, is_cached=origin is not None)
        values: dict[str, Any] = {
            "name": name,
            "tag": tag,
            "state": view.tags[tag] if tag else None,
            "is_immutable": self._is_immutable(name, tag),
            "may_delete": self._may_delete(visit, name, tag),
            "tags": tags[:_TAGS_SHOWN],
            "more_tags": max(len(tags) - _TAGS_SHOWN, 0),
            "image": found,
            "referrers": tree,
            "shared": shared,
            "kind_of": kind_of,
            "quoted": shlex.join,
            "pulled_at": pulls.get(digest),
            "upstream": f"{origin.upstream.name}/{origin.name}" if origin else "",
            "pull": pull_commands(visit.request, self._urls, name, digest, tag),
            "manifest_url": self._urls.manifest(visit.request, name, digest),
        }
        if found.config_blob is not None and found.raw_config is not None:
            values["config_url"] = self._urls.blob(visit.request, name, Digest(found.config_blob.digest))
        return Shown(template="image.html", values=values)

    def _is_immutable(self, name: RepositoryName, tag: Tag | None) -> bool:
        return tag is not None and self._registry.tag_lists.is_immutable(name, tag)

    def _may_delete(self, visit: Visit, name: RepositoryName, tag: Tag | None) -> bool:
        """Whether the visitor may delete the tag of the page."""
        if tag is None or self._is_immutable(name, tag) or self._origins.is_cached(name):
            return False
        return self._flags.allows(Right.DELETE) and visit.may(Action.DELETE, name)

    async def _manifest(self, name: RepositoryName, digest: Digest) -> StoredManifest:
        """Return a manifest; of a cached repository only if it is held, because looking must not fetch it."""
        if self._origins.is_cached(name) and not await self._registry.summaries.holds(name, digest):
            raise ManifestUnknownError("the cache does not hold this manifest", detail={"digest": digest})
        return await self._registry.manifests.get(name, digest)
