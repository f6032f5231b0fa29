"""The port for an upstream registry, from which the pull-through cache, mirrors and copies read.

Names are those at the upstream (`library/alpine`). An adapter tries the addresses of its registry in order, signs in as
each of them asks, and follows redirects without credentials. It caches no content; the rules of freshness are those of
the callers. Every call takes bounded time without progress.

Every method may raise an `UpstreamError`:

- `UpstreamAbsentError`: every address answered that the repository, tag, manifest or blob does not exist, or refused
  access after the sign-in. A private registry answers both alike.
- `UpstreamBusyError`: the upstream asked to wait (429). The adapter sends no further request to that address until the
  time has passed, and raises this error instead.
- `UpstreamTimeoutError`, `UpstreamUnavailableError`: no address gave a usable answer.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import Reference, Tag
from core.ports.blob_storage import BlobReader
from core.ports.resource import Resource

UPSTREAM_MANIFEST_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest manifest that is read from an upstream; larger ones count as an unusable answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTag:
    """The target of a tag at the upstream."""

    digest: Digest
    media_type: str
    etag: str | None = None
    """The validator of the answer, for the next question; None if there was none, or it is the digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamManifest:
    """A manifest as the upstream sent it."""

    content: bytes
    """The exact bytes. They match `digest`."""
    media_type: str
    digest: Digest
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamQuota:
    """The pulls that the upstream still allows (Docker Hub's `ratelimit-limit` and `ratelimit-remaining`)."""

    limit: int
    remaining: int
    window_seconds: int


class Upstream(Resource):
    """Reads one registry. One per registry and process, opened as a context manager; safe for concurrent tasks.

    Opening sends no request.
    """

    name: str
    """A short name for logs, metrics and errors, such as `docker.io`; never a URL with credentials."""
    quota: UpstreamQuota | None = None
    """The quota according to the last answer that gave one."""

    @abstractmethod
    async def resolve(self, name: str, tag: Tag, *, etag: str | None = None) -> UpstreamTag | None:
        """Return the target of a tag. One `HEAD`, which costs no pull at Docker Hub.

        An upstream that gives no digest with `HEAD` costs a `GET` in addition.

        Args:
            name: the repository.
            tag: the tag.
            etag: the validator of an earlier answer.

        Returns:
            None if the upstream answered that the target is unchanged since `etag`.
        """

    @abstractmethod
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        """Return a manifest. One `GET`.

        The content is hashed, whatever digest the upstream claims. A manifest that does not match the digest that was
        asked for is an unusable answer: the next address is tried.
        """

    @abstractmethod
    def open_blob(
        self, name: str, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[BlobReader]:
        """Open a blob for streaming, from `offset`, `length` bytes at most. One `GET`, and no `HEAD`.

        Errors are raised on entering the block, or by the iteration if the connection breaks or stalls. The content is
        not verified. `size` of the reader is the size of the whole blob. If the upstream ignores the range, the adapter
        reads and drops the bytes before `offset`. An address may answer with a redirect; each call follows it anew,
        since such URLs expire.

        Raises:
            RangeInvalidError: `offset` is greater than the size.
        """

    @abstractmethod
    def tags(self, name: str, *, after: str = "") -> AsyncIterator[Tag]:
        """Yield the tags greater than `after`, in the upstream's order, which is mostly ascending. One `GET` per page.

        Names that are not tags are left out.
        """

    @abstractmethod
    def referrers(self, name: str, subject: Digest, *, artifact_type: str | None = None) -> AsyncIterator[Descriptor]:
        """Yield the referrers of a manifest; of any type, or of `artifact_type` only. One `GET` per page.

        At an upstream without this API (404), the index under the fallback tag is read instead, for one more `GET`.
        Nothing is yielded for an unknown subject.
        """

    @abstractmethod
    def repositories(self, *, after: str = "") -> AsyncIterator[str]:
        """Yield the names of the repositories greater than `after`, in the upstream's order. One `GET` per page.

        Only registries with a catalog list their repositories; public ones mostly refuse.

        Raises:
            UpstreamAbsentError: the upstream has no catalog, or does not show it.
        """

    @abstractmethod
    async def check(self) -> None:
        """Ask for the root of the API, and sign in. One to three requests, to the first address that answers.

        Raises:
            UpstreamError: no address answered, or the credentials were refused.
        """
