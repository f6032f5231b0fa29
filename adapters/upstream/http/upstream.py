"""`HttpUpstream`: the port for upstream registries, over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import Any, Final
from urllib.parse import quote

from aiohttp import ClientResponse
from typing_extensions import override

from adapters.upstream.http.addresses import Address, Addresses
from adapters.upstream.http.answers import (
    digest_of,
    etag_of,
    media_type_of,
    quota_of,
    read_body,
    read_json,
)
from adapters.upstream.http.blobs import PARTIAL, RANGE_REFUSED, HttpBlobReader, range_header
from adapters.upstream.http.credentials import Credentials, CredentialSource, FixedCredentials, PasswordFile
from adapters.upstream.http.helpers import CredentialHelper, DockerConfig
from adapters.upstream.http.listing import (
    PAGE_BYTES_MAX,
    PAGES_MAX,
    fallback_tag,
    next_query,
    referrers_of,
    repositories_of,
    tags_of,
)
from adapters.upstream.http.tokens import AnonymousRefusedError
from adapters.upstream.http.transport import Transport
from adapters.upstream.options import UpstreamOptions
from core.errors import (
    DigestInvalidError,
    ManifestInvalidError,
    UpstreamAbsentError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.model import media_types
from core.model.descriptor import Descriptor
from core.model.digest import CANONICAL, Digest
from core.model.manifest import stored_media_type
from core.model.names import Reference, RepositoryName, Tag
from core.ports.blob_storage import BlobReader
from core.ports.upstream import UPSTREAM_MANIFEST_BYTES_MAX, Upstream, UpstreamManifest, UpstreamTag

_OK: Final = 200
_UNCHANGED: Final = 304
_WITHOUT_HEAD: Final = frozenset({405, 501})
_WITHOUT_LIST: Final = frozenset({400, 405, 501})
_WITHOUT_REFERRERS: Final = frozenset({400, 404, 405, 406, 501})
_REFUSED: Final = frozenset({401, 403})
_ACCEPT: Final = ", ".join(
    (
        media_types.OCI_INDEX,
        media_types.OCI_MANIFEST,
        media_types.DOCKER_MANIFEST_LIST,
        media_types.DOCKER_MANIFEST,
        media_types.DOCKER_SCHEMA1_SIGNED,
        f"{media_types.DOCKER_SCHEMA1};q=0.5",
        "*/*;q=0.1",
    )
)
_SNIFFED_BYTES_MAX: Final = 4 * 1024 * 1024
_HASHED_IN_LOOP_BYTES: Final = 1024 * 1024
_PAGE_SIZE: Final = 1000
_CATALOG: Final = "registry:catalog:*"


class HttpUpstream(Upstream):
    """One registry with its mirrors.

    Args:
        name: the name for logs, metrics and errors.
        options: addresses, credentials and limits.
        now: a monotonic clock.
        sleep: waits for a number of seconds.

    Raises:
        ValueError: a certificate or key cannot be read, or the command of a helper is unusable.
    """

    def __init__(
        self,
        name: str,
        options: UpstreamOptions,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._idle_seconds = options.idle_seconds
        self._transport = Transport(name, options, now=now, sleep=sleep)
        self._source = credential_source(options, now)
        self._addresses = Addresses(self._transport, options, self._source, now=now)
        # Some connections stay free of blobs, so that a question about a tag need not wait for the end of a blob.
        self._blob_slots = asyncio.Semaphore(max(1, options.connections - max(1, options.connections // 4)))

    @override
    async def start(self) -> None:
        await self._transport.start()

    @override
    async def stop(self) -> None:
        await self._addresses.close()
        await self._transport.stop()

    @override
    async def resolve(self, name: str, tag: Tag, *, etag: str | None = None) -> UpstreamTag | None:
        path = f"{self._path(name)}/manifests/{tag}"
        headers = {"Accept": _ACCEPT} | ({"If-None-Match": etag} if etag else {})
        accepted = {_OK, *_WITHOUT_HEAD} | ({_UNCHANGED} if etag else set())

        async def ask(address: Address) -> UpstreamTag | None:
            response = await address.ask("HEAD", path, scope=_pull(name), headers=headers, accepted=accepted)
            await self._transport.discard(response)
            self._note_quota(response)
            if response.status == _UNCHANGED:
                return None
            digest, media_type = digest_of(response.headers), media_type_of(response.headers)
            if response.status == _OK and digest is not None and media_types.looks_like_manifest(media_type or "-"):
                return UpstreamTag(digest=digest, media_type=media_type, etag=etag_of(response.headers, digest))
            manifest = await self._manifest(address, name, tag)
            return UpstreamTag(digest=manifest.digest, media_type=manifest.media_type, etag=manifest.etag)

        return await self._addresses.first(ask)

    @override
    async def manifest(self, name: str, reference: Reference) -> UpstreamManifest:
        self._path(name)
        return await self._addresses.first(lambda address: self._manifest(address, name, reference))

    @override
    @asynccontextmanager
    async def open_blob(
        self, name: str, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[BlobReader]:
        path = f"{self._path(name)}/blobs/{digest}"
        headers = range_header(offset, length)
        accepted = {_OK, PARTIAL, RANGE_REFUSED} if headers else {_OK}

        async with AsyncExitStack() as stack:

            async def ask(address: Address) -> BlobReader:
                response = await address.ask("GET", path, scope=_pull(name), headers=headers, accepted=accepted)
                try:
                    reader = HttpBlobReader(self._transport, response, offset, length)
                except BaseException:
                    response.close()
                    raise
                # Closes the connection unless the body was read to its end.
                stack.callback(response.close)
                return reader

            await self._take_slot()
            stack.callback(self._blob_slots.release)
            yield await self._addresses.first(ask)

    @override
    async def tags(self, name: str, *, after: str = "") -> AsyncIterator[Tag]:
        path = f"{self._path(name)}/tags/list"

        async def ask(address: Address) -> tuple[Address, ClientResponse]:
            return address, await address.ask("GET", path, scope=_pull(name), query=_page_query(after))

        address, response = await self._addresses.first(ask)
        async for document in self._pages(address, path, _pull(name), response):
            for tag in tags_of(document):
                if tag > after:
                    yield tag

    @override
    async def referrers(
        self, name: str, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        path = f"{self._path(name)}/referrers/{subject}"
        query = f"artifactType={quote(artifact_type, safe='')}" if artifact_type else ""

        async def ask(address: Address) -> tuple[Address, ClientResponse | None, dict[str, Any]]:
            accepted = {_OK, *_WITHOUT_REFERRERS}
            headers = {"Accept": media_types.OCI_INDEX}
            response = await address.ask(
                "GET", path, scope=_pull(name), query=query, headers=headers, accepted=accepted
            )
            if response.status == _OK and media_type_of(response.headers) == media_types.OCI_INDEX:
                return address, response, {}
            await self._transport.discard(response)
            return address, None, await self._fallback(address, name, subject)

        address, response, document = await self._addresses.first(ask)
        pages = self._pages(address, path, _pull(name), response) if response is not None else _only(document)
        async for page in pages:
            for descriptor in referrers_of(page):
                if artifact_type in {None, descriptor.artifact_type}:
                    yield descriptor

    @override
    async def repositories(self, *, after: str = "") -> AsyncIterator[str]:
        async def ask(address: Address) -> tuple[Address, ClientResponse]:
            query = _page_query(after)
            response = await address.ask("GET", "_catalog", scope=_CATALOG, query=query, accepted={_OK, *_WITHOUT_LIST})
            if response.status != _OK:
                await self._transport.discard(response)
                raise UpstreamAbsentError(f"{self.name}: {address.url.authority} has no catalog")
            return address, response

        address, response = await self._addresses.first(ask)
        async for document in self._pages(address, "_catalog", _CATALOG, response):
            for name in repositories_of(document):
                if name > after:
                    yield name

    @override
    async def check(self) -> None:
        async def ask(address: Address) -> None:
            is_anonymous = await self._source.current(address.url.authority) is None
            # Many registries serve public images to anonymous clients, but not their root.
            accepted = {_OK, *_REFUSED} if is_anonymous else {_OK}
            with suppress(AnonymousRefusedError) if is_anonymous else nullcontext():
                await self._transport.discard(await address.ask("GET", "", scope="", accepted=accepted))

        await self._addresses.first(ask)

    async def _manifest(self, address: Address, name: str, reference: Reference) -> UpstreamManifest:
        path = f"{name}/manifests/{reference}"
        response = await address.ask("GET", path, scope=_pull(name), headers={"Accept": _ACCEPT})
        self._note_quota(response)
        content = await read_body(self._transport, response, limit=UPSTREAM_MANIFEST_BYTES_MAX)
        claimed = reference if isinstance(reference, Digest) else digest_of(response.headers)
        digest = await _hash(content, claimed.algorithm if claimed else CANONICAL)
        if isinstance(reference, Digest) and digest != reference:
            raise UpstreamUnavailableError(
                f"{self.name}: {address.url.authority} sent another manifest than {reference}"
            )
        if digest != claimed and digest.algorithm != CANONICAL:
            digest = await _hash(content, CANONICAL)
        media_type = _media_type(media_type_of(response.headers), content)
        if media_type is None:
            raise UpstreamUnavailableError(f"{self.name}: {address.url.authority} sent no manifest for {reference}")
        etag = etag_of(response.headers, digest)
        return UpstreamManifest(content=content, media_type=media_type, digest=digest, etag=etag)

    async def _fallback(self, address: Address, name: str, subject: Digest) -> dict[str, Any]:
        """Return the index of referrers under the fallback tag; an empty one if there is none."""
        headers = {"Accept": media_types.OCI_INDEX}
        path = f"{name}/manifests/{fallback_tag(subject)}"
        try:
            response = await address.ask("GET", path, scope=_pull(name), headers=headers)
        except UpstreamAbsentError:
            return {}
        self._note_quota(response)
        return await read_json(self._transport, response, limit=PAGE_BYTES_MAX)

    async def _pages(
        self, address: Address, path: str, scope: str, response: ClientResponse
    ) -> AsyncIterator[dict[str, Any]]:
        seen: set[str] = set()
        while True:
            yield await read_json(self._transport, response, limit=PAGE_BYTES_MAX)
            query = next_query(response.headers)
            # An upstream that repeats a page must not keep us busy for ever.
            if query is None or query in seen:
                return
            if len(seen) >= PAGES_MAX:
                raise UpstreamUnavailableError(f"{self.name}: {address.url.authority} gives no end of a list")
            seen.add(query)
            response = await address.ask("GET", path, scope=scope, query=query)

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self._blob_slots.acquire()
        except TimeoutError:
            raise UpstreamTimeoutError(f"{self.name}: no connection became free in time") from None

    def _path(self, name: str) -> str:
        if RepositoryName.parse(name) is None:
            raise UpstreamAbsentError(f"{self.name}: there is no repository of this name")
        return name

    def _note_quota(self, response: ClientResponse) -> None:
        self.quota = quota_of(response.headers) or self.quota


def _pull(name: str) -> str:
    return f"repository:{name}:pull"


def _page_query(after: str) -> str:
    return f"n={_PAGE_SIZE}" + (f"&last={quote(after, safe='')}" if after else "")


async def _only(document: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield document


async def _hash(content: bytes, algorithm: str) -> Digest:
    if len(content) <= _HASHED_IN_LOOP_BYTES:
        return Digest.of(content, algorithm)
    return await asyncio.to_thread(Digest.of, content, algorithm)


def _media_type(announced: str, content: bytes) -> str | None:
    """Return the media type of a manifest: as announced, else that of the document; None if it is no manifest."""
    if announced and media_types.looks_like_manifest(announced):
        return announced
    if len(content) > _SNIFFED_BYTES_MAX:
        return None
    try:
        return stored_media_type(content)
    except (ManifestInvalidError, DigestInvalidError):
        return None


def credential_source(options: UpstreamOptions, now: Callable[[], float]) -> CredentialSource:
    """Return the source of credentials that the options name; at most one of them is given."""
    if options.exec is not None:
        return CredentialHelper(options.exec.command, lifetime_seconds=options.exec.lifetime_seconds, now=now)
    if options.docker_config is not None:
        return DockerConfig(options.docker_config, now=now)
    if options.username and options.password_file is not None:
        return PasswordFile(options.username, options.password_file)
    if options.username and options.password is not None:
        return FixedCredentials(Credentials(options.username, options.password))
    return FixedCredentials(None)
