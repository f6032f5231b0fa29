"""`registry copy` with a URL on either side: copy images from or to a registry that is reached over the network."""

import asyncio
import hashlib
import re
import socket
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from config.errors import ConfigError
from config.loader import RemoteAccess, side_access
from config.logging import configure_logging
from config.settings import LogSettings
from config.variables import Side
from core.errors import UnsupportedError, UpstreamAbsentError
from core.model.globs import Globs
from core.model.names import RepositoryName
from core.ports.registry_target import RegistryTarget
from core.ports.upstream import Upstream
from core.transfer.image_copy import CopyOptions, ImageCopy, RepositoryCopyRequest
from core.transfer.mirror_rules import MirrorRules, ReferrerCopies, TagRules
from core.transfer.store_source import StoreSource
from core.transfer.store_target import StoreTarget
from core.transfer.tally import Tally, TransferProgress
from entrypoints.commands.copy_passes import CopyPasses
from entrypoints.commands.opening import OPERATOR
from entrypoints.commands.registry_urls import RegistryUrl, is_registry_url, parse_registry_url
from entrypoints.opening import opened, require_content

if TYPE_CHECKING:
    from config.container import RegistryApplication

_WILDCARD: Final = re.compile(r"[*?]")

LoadSide = Callable[[Side], "RegistryApplication"]
"""Builds the registry of a side that is a configuration file."""


class ImageCopies(CopyPasses):
    """Runs the passes of a copy between registries.

    Args:
        arguments: the arguments of `registry copy`.
        load: builds the registry of a side that is a configuration file.

    Raises:
        ConfigError: a URL or a combination of arguments is invalid.
    """

    def __init__(self, arguments: Namespace, load: LoadSide) -> None:
        super().__init__(arguments)
        self._urls = {side: _url(arguments, side) for side in Side}
        self._selection = _Selection(arguments, self._urls[Side.FROM], self._urls[Side.TO])
        self._stores = {side: load(side) for side in Side if self._urls[side] is None}
        self._transfer_id = _transfer_id(arguments)
        self._access = {side: _access(arguments, side) for side, url in self._urls.items() if url is not None}
        self._sides: tuple[Upstream, RegistryTarget] | None = None

    @override
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for side, store in self._stores.items():
                is_read = side is Side.FROM or self.arguments.dry_run
                only = store.storage_and_catalog if is_read else None
                await stack.enter_async_context(opened(store, only=only))
                if side is Side.FROM:
                    # A wrong path would look like a registry whose images were all deleted.
                    await require_content(store)
            source, target = self._source(), self._target()
            self._sides = (await stack.enter_async_context(source), await stack.enter_async_context(target))
            yield

    @override
    async def copy(self) -> TransferProgress:
        if self._sides is None:
            raise RuntimeError("the sides are not open")
        source, target = self._sides
        for store in self._stores.values():
            # Blobs that servers found damaged count as missing.
            await store.damage.poll()
        tally = Tally(observe=self.observe, report=self.report)
        images = ImageCopy(
            source, target, options=_options(self.arguments), tally=tally, budget=self.budget, sleep=asyncio.sleep
        )
        for request in await self._selection.requests(images):
            self._require_local(request)
            await images.run(request)
        if Side.TO in self._stores and not self.arguments.dry_run:
            await self._stores[Side.TO].registry.catalog.flush_pending()
        return tally.progress

    def _require_local(self, request: RepositoryCopyRequest) -> None:
        """Refuse repositories whose content comes from an upstream of the pull-through cache."""
        names = {Side.FROM: RepositoryName.parse(request.origin), Side.TO: request.name}
        for side, store in self._stores.items():
            if (name := names[side]) is not None and store.origins.is_cached(name):
                raise UnsupportedError(f"--{side}: {name} belongs to the pull-through cache; copy it from its upstream")

    def _source(self) -> Upstream:
        from config.container import open_upstream  # noqa: PLC0415 - loads the client only where it is used

        url = self._urls[Side.FROM]
        if url is None:
            return StoreSource(self._stores[Side.FROM].registry)
        return open_upstream(url.root, url.host, self._access[Side.FROM])

    def _target(self) -> RegistryTarget:
        from config.container import open_target  # noqa: PLC0415 - as above

        url = self._urls[Side.TO]
        if url is None:
            registry = self._stores[Side.TO].registry
            return StoreTarget(registry, by=OPERATOR, transfer_id=self._transfer_id)
        # Only a copy that may have to continue remembers its uploads.
        transfer_id = None if self.arguments.dry_run else self._transfer_id
        return open_target(url.root, url.host, self._access[Side.TO], transfer_id=transfer_id)


class _Selection:
    """The repositories and tags to copy, and the names at the target."""

    def __init__(self, arguments: Namespace, source: RegistryUrl | None, target: RegistryUrl | None) -> None:
        self._source = source
        self._rules = TagRules(
            glob=tuple(arguments.tags) or ("*",), semver=arguments.semver or "", latest=arguments.latest
        )
        named = source.repository if source is not None else None
        if named is not None and arguments.repository:
            raise ConfigError(["--repository: the URL of --from names a repository already"])
        patterns: list[str] = [named] if named is not None else arguments.repository
        if target is not None and (target.tag or target.digest):
            raise ConfigError(["--to: must not name a tag or a digest; the tags of the source are copied"])
        self._to = target.repository if target is not None else None
        if arguments.to_repository is not None:
            if self._to is not None:
                raise ConfigError(["--to-repository: the URL of --to names a repository already"])
            self._to = RepositoryName(arguments.to_repository)
        self._one = patterns[0] if len(patterns) == 1 and _WILDCARD.search(patterns[0]) is None else None
        self._globs = Globs(tuple(patterns) or ("**",))

    async def requests(self, images: ImageCopy) -> list[RepositoryCopyRequest]:
        """Return what to copy; lists the repositories of the source if no repository is named."""
        if self._one is not None:
            return [self._request(self._one, self._to or RepositoryName(self._one))]
        try:
            origins = await images.repositories(self._globs.match)
        except UpstreamAbsentError as error:
            raise UpstreamAbsentError(
                f"{error}: the source does not list its repositories, so name one: https://HOST/REPOSITORY"
            ) from error
        # With several repositories, the name at the target is a prefix.
        return [
            self._request(origin, RepositoryName(f"{self._to}/{origin}" if self._to else origin)) for origin in origins
        ]

    def _request(self, origin: str, name: RepositoryName) -> RepositoryCopyRequest:
        url = self._source
        return RepositoryCopyRequest(
            origin=origin,
            name=name,
            rules=self._rules,
            tag=url.tag if url else None,
            digest=url.digest if url else None,
        )


def _url(arguments: Namespace, side: Side) -> RegistryUrl | None:
    text = getattr(arguments, f"{side}_file")
    if not is_registry_url(text):
        return None
    try:
        return parse_registry_url(text)
    except ConfigError as error:
        raise ConfigError([f"--{side}: {problem}" for problem in error.problems]) from None


def _access(arguments: Namespace, side: Side) -> RemoteAccess:
    return side_access(
        side,
        credentials_file=getattr(arguments, f"{side}_credentials"),
        ca=getattr(arguments, f"{side}_ca"),
    )


def _options(arguments: Namespace) -> CopyOptions:
    platforms = MirrorRules(platforms=tuple(arguments.platform))
    return CopyOptions(
        wants_platform=platforms.wants_platform,
        referrers=ReferrerCopies(arguments.referrers),
        follows_deletions=arguments.delete,
        rechecks=arguments.verify_target,
        is_dry=arguments.dry_run,
        blobs_at_once=arguments.blobs_at_once,
    )


def _transfer_id(arguments: Namespace) -> str:
    """Return an id for the copy: stable across restarts, different for other machines, registries or repositories."""
    parts = (socket.gethostname(), arguments.from_file, arguments.to_file, *sorted(arguments.repository))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def copy_registries(arguments: Namespace, load: LoadSide) -> int:
    """Run `registry copy` with a URL on either side.

    Raises:
        ConfigError: a URL or a combination of arguments is invalid.
    """
    if is_registry_url(arguments.from_file) and is_registry_url(arguments.to_file):
        configure_logging(LogSettings())
    return asyncio.run(ImageCopies(arguments, load).run())
