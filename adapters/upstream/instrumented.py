"""A decorator that makes any upstream observable: its answers, its bytes, and its outages."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import Final, Protocol, TypeVar

from typing_extensions import override

from core.concurrency import closing
from core.errors import (
    RangeInvalidError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
)
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import Reference, Tag
from core.ports.blob_storage import BlobReader
from core.ports.upstream import Upstream, UpstreamManifest, UpstreamTag

WARNING_SECONDS: Final = 60.0
"""Least time between two warnings about one upstream that fails and answers in turn."""
_CLASSES: Final = (
    (UpstreamAbsentError, "absent"),
    (UpstreamBusyError, "busy"),
    (UpstreamTimeoutError, "timeout"),
    (UpstreamError, "unavailable"),
)

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class UpstreamObserver(Protocol):
    """Receives the events of one upstream."""

    def answered(self, operation: str, kind: str) -> None:
        """Record a question: the port's method, and `ok`, `absent`, `busy`, `timeout` or `unavailable`."""

    def received(self, kind: str, size: int) -> None:
        """Record bytes of a `manifest` or a `blob`."""

    def fetching(self, change: int) -> None:
        """Record that a blob began (1) or ended (-1) to arrive."""


class InstrumentedUpstream(Upstream):
    """Reports each question to `inner`, and logs an outage once.

    Args:
        inner: opened and closed with this upstream.
        observer: receives the events.
        clock: monotonic seconds.
    """

    def __init__(self, inner: Upstream, *, observer: UpstreamObserver, clock: Callable[[], float]) -> None:
        self.name = inner.name
        self.quota = inner.quota
        self._inner = inner
        self._observer = observer
        self._clock = clock
        self._is_failing = False
        self._warned_at: float | None = None

    @override
    async def start(self) -> None:
        await self._inner.start()

    @override
    async def stop(self) -> None:
        await self._inner.stop()

    @override
    async def resolve(self, name: str, tag: Tag, *, etag: str | None = None) -> UpstreamTag | None:
        with self._asking("resolve"):
            return await self._inner.resolve(name, tag, etag=etag)

    @override
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        with self._asking("manifest"):
            manifest = await self._inner.manifest(name, reference)
        self._observer.received("manifest", len(manifest.content))
        return manifest

    @override
    @asynccontextmanager
    async def open_blob(
        self, name: str, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[BlobReader]:
        async with AsyncExitStack() as stack:
            with self._asking("open_blob"):
                opening = self._inner.open_blob(name, digest, offset=offset, length=length)
                reader = await stack.enter_async_context(opening)
            self._observer.fetching(1)
            stack.callback(self._observer.fetching, -1)
            yield _CountedReader(reader, self._observer)

    @override
    async def tags(self, name: str, *, after: str = "") -> AsyncIterator[Tag]:
        async with aclosing(self._listed("tags", self._inner.tags(name, after=after))) as tags:
            async for tag in tags:
                yield tag

    @override
    async def referrers(
        self, name: str, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        found = self._inner.referrers(name, subject, artifact_type=artifact_type)
        async with aclosing(self._listed("referrers", found)) as descriptors:
            async for descriptor in descriptors:
                yield descriptor

    @override
    async def repositories(self, *, after: str = "") -> AsyncIterator[str]:
        async with aclosing(self._listed("repositories", self._inner.repositories(after=after))) as names:
            async for name in names:
                yield name

    @override
    async def check(self) -> None:
        with self._asking("check"):
            await self._inner.check()

    async def _listed(self, operation: str, items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
        with self._asking(operation):
            async with closing(items) as found:
                async for item in found:
                    yield item

    @contextmanager
    def _asking(self, operation: str) -> Iterator[None]:
        """Report the question that the block asks, unless it is cancelled."""
        try:
            yield
        except UpstreamError as error:
            self._report(operation, error)
            raise
        except (RangeInvalidError, GeneratorExit):
            # The upstream answered.
            self._report(operation, None)
            raise
        self._report(operation, None)

    def _report(self, operation: str, error: UpstreamError | None) -> None:
        self.quota = self._inner.quota
        self._observer.answered(operation, _class_of(error))
        if error is None or isinstance(error, UpstreamAbsentError):
            if self._is_failing:
                self._is_failing = False
                _logger.info("upstream %s answers again", self.name)
        elif not self._is_failing:
            self._is_failing = True
            now = self._clock()
            if self._warned_at is None or now - self._warned_at >= WARNING_SECONDS:
                self._warned_at = now
                _logger.warning("upstream %s fails, stored content is still served: %s", self.name, error)


class _CountedReader(BlobReader):
    def __init__(self, inner: BlobReader, observer: UpstreamObserver) -> None:
        self.size = inner.size
        self.length = inner.length
        self.offset = inner.offset
        self._inner = inner
        self._observer = observer

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with closing(self._inner.__aiter__()) as pieces:
            async for piece in pieces:
                self._observer.received("blob", len(piece))
                yield piece


def _class_of(error: UpstreamError | None) -> str:
    if error is None:
        return "ok"
    return next(name for kind, name in _CLASSES if isinstance(error, kind))
