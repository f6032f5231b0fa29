"""A remote registry to copy to, by the OCI distribution API."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from typing_extensions import override
from yarl import URL

from adapters.registry_target.errors import Answer, UploadLostError, raise_unexpected
from adapters.registry_target.sending import Sender
from adapters.registry_target.uploads import UnfinishedUploads
from core.concurrency import closing
from core.errors import TagInvalidError, UnsupportedError, UpstreamError, UpstreamUnavailableError
from core.json_text import load_json
from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.manifest import read_if_manifest
from core.model.media_types import MANIFESTS
from core.model.names import Reference, RepositoryName, Tag
from core.ports.registry_target import NewManifest, ReadFrom, RegistryTarget

_OK: Final = 200
_CREATED: Final = 201
_ACCEPTED: Final = 202
_NO_CONTENT: Final = 204
_NOT_FOUND: Final = 404
_ABSENT: Final = frozenset({_NOT_FOUND, 410})
_SERVER_ERROR: Final = 500
_NOT_DELETABLE: Final = frozenset({400, 405, 501})
"""Answers of registries that delete manifests but no tags."""
_SETTLE_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
"""Pauses before a registry is asked again how much it received before a connection broke."""
_TAGS_PER_PAGE: Final = 1_000
_PAGES_MAX: Final = 10_000
_NEXT: Final = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')
_RECEIVED: Final = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS: Final = "application/octet-stream"


class HttpRegistryTarget(RegistryTarget):
    """Writes one registry over HTTP.

    A blob is sent in one request, which is continued at the offset that the registry confirms when the connection
    breaks. While each connection makes progress, there is no limit to their number.

    Args:
        name: the host, for logs and errors.
        sender: sends requests, signed in as the registry asks.
        uploads: the unfinished uploads of earlier processes.
        sleep: suspends for a number of seconds.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        *,
        uploads: UnfinishedUploads | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._sleep = sleep
        self._sender = sender
        self._uploads = uploads or UnfinishedUploads()
        self._sending: dict[tuple[RepositoryName, Digest], asyncio.Lock] = {}

    @override
    async def start(self) -> None:
        await self._sender.start()

    @override
    async def stop(self) -> None:
        await self._sender.stop()

    @override
    async def resolve(self, name: RepositoryName, reference: Reference) -> Digest | None:
        answer = await self._send("HEAD", name, f"manifests/{reference}", headers={"Accept": _accept()})
        if answer.status in _ABSENT:
            return None
        self._expect(answer, f"asking for {name}:{reference}", _OK)
        if isinstance(reference, Digest):
            return reference
        if digest := answer.headers.get("Docker-Content-Digest"):
            return Digest(digest)
        found = await self.read_manifest(name, reference)
        return found.digest if found else None

    @override
    async def has_blob(self, name: RepositoryName, digest: Digest) -> bool:
        answer = await self._send("HEAD", name, f"blobs/{digest}")
        if answer.status in _ABSENT:
            return False
        # Some registries answer with the URL of a storage service.
        self._expect(answer, f"asking for {digest} in {name}", _OK, 302, 307)
        return True

    @override
    async def mount(self, name: RepositoryName, digest: Digest, *, source: RepositoryName | None) -> bool:
        if source is None or source == name:
            return False
        url = self._url(name, "blobs/uploads/").update_query({"mount": digest, "from": source})
        answer = await self._sender.send("POST", url, name=name)
        if answer.status == _CREATED:
            return True
        if answer.status == _ACCEPTED:
            # The registry began an upload instead.
            self._uploads.put(name, digest, str(self._location(url, answer)))
        return False

    @override
    async def put_blob(self, name: RepositoryName, blob: Descriptor, read_from: ReadFrom) -> None:
        async with self._sending.setdefault((name, blob.digest), asyncio.Lock()):
            try:
                url = await self._send_content(name, blob, read_from)
                await self._finish(name, blob, url)
            finally:
                self._sending.pop((name, blob.digest), None)

    @override
    async def put_manifest(self, name: RepositoryName, manifest: NewManifest, tags: Sequence[Tag] = ()) -> bool:
        references: Sequence[Reference] = tags or [manifest.digest]
        lists_referrer = True
        for reference in references:
            answer = await self._send(
                "PUT",
                name,
                f"manifests/{reference}",
                headers={"Content-Type": manifest.media_type},
                body=manifest.content,
            )
            self._expect(answer, f"storing {name}:{reference}", _CREATED, _OK, _ACCEPTED)
            lists_referrer = "OCI-Subject" in answer.headers
        read = read_if_manifest(manifest.content)
        return lists_referrer or read is None or read.subject is None

    @override
    async def read_manifest(self, name: RepositoryName, reference: Reference) -> NewManifest | None:
        answer = await self._send("GET", name, f"manifests/{reference}", headers={"Accept": _accept()})
        if answer.status in _ABSENT:
            return None
        self._expect(answer, f"reading {name}:{reference}", _OK)
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
        return NewManifest(content=answer.body, media_type=media_type, digest=Digest.of(answer.body, algorithm))

    @override
    async def tags(self, name: RepositoryName) -> AsyncIterator[Tag]:
        url: URL | None = self._url(name, "tags/list").update_query({"n": str(_TAGS_PER_PAGE)})
        for _ in range(_PAGES_MAX):
            if url is None:
                return
            answer = await self._sender.send("GET", url, name=name)
            if answer.status in _ABSENT:
                return
            self._expect(answer, f"listing the tags of {name}", _OK)
            for tag in _tags(answer, self.name):
                yield tag
            url = _next(url, answer)

    @override
    async def delete_tag(self, name: RepositoryName, tag: Tag) -> None:
        answer = await self._send("DELETE", name, f"manifests/{tag}")
        if answer.status in _ABSENT:
            return
        if answer.status in _NOT_DELETABLE:
            raise UnsupportedError(f"{self.name} deletes no single tags")
        self._expect(answer, f"deleting {name}:{tag}", _OK, _ACCEPTED, _NO_CONTENT)

    async def _send_content(self, name: RepositoryName, blob: Descriptor, read_from: ReadFrom) -> URL:
        """Send what an upload lacks of a blob; return the upload's URL.

        A registry may refuse to continue an upload that it still knows: distribution does while it writes the bytes of
        an interrupted request. Another upload is then begun, once.
        """
        is_continued = self._uploads.get(name, blob.digest) is not None
        may_begin_again = True
        url, offset = await self._upload(name, blob)
        while offset < blob.size:
            try:
                url, offset = await self._append(name, blob, url, offset, read_from)
                is_continued = True
            except UploadLostError:
                if not (is_continued and may_begin_again):
                    raise
                may_begin_again = False
                url, offset = await self._upload(name, blob)
        return url

    async def _upload(self, name: RepositoryName, blob: Descriptor) -> tuple[URL, int]:
        """Return the URL of an upload, and the number of bytes that the registry has received for it."""
        if known := self._uploads.get(name, blob.digest):
            url = URL(known, encoded=True)
            # A host that an earlier process was sent to may no longer exist.
            is_own = url.origin() == self._sender.root.origin()
            found = await self._received(name, url) if is_own else None
            if found is not None and found[1] <= blob.size:
                return found
            self._uploads.pop(name, blob.digest)
        url = self._url(name, "blobs/uploads/")
        answer = await self._sender.send("POST", url, name=name)
        self._expect(answer, f"starting the upload of {blob.digest}", _ACCEPTED)
        location = self._location(url, answer)
        self._uploads.put(name, blob.digest, str(location))
        return location, 0

    async def _received(self, name: RepositoryName, url: URL) -> tuple[URL, int] | None:
        """Return the current URL and offset of an upload; None if the registry does not know it."""
        answer = await self._sender.send("GET", url, name=name)
        if answer.status != _NO_CONTENT:
            return None
        match = _RECEIVED.fullmatch(answer.headers.get("Range", "0-0"))
        if match is None:
            return None
        last = int(match[1])
        # "0-0" stands for no bytes and for one byte. No bytes is safe for both: the registry then asks for the offset.
        return self._location(url, answer), last + 1 if last else 0

    async def _append(
        self, name: RepositoryName, blob: Descriptor, url: URL, offset: int, read_from: ReadFrom
    ) -> tuple[URL, int]:
        """Send the rest of a blob; return the new URL and offset, also if the connection broke on the way."""
        source = _Source(read_from, offset)
        headers = {
            "Content-Type": _OCTETS,
            "Content-Length": str(blob.size - offset),
            "Content-Range": f"{offset}-{blob.size - 1}",
        }
        try:
            answer = await self._sender.send("PATCH", url, name=name, headers=headers, body=source)
            if source.error is not None:
                raise source.error
            if answer.status == _ACCEPTED:
                url = self._location(url, answer)
                self._uploads.put(name, blob.digest, str(url))
                return url, blob.size
            failure: UpstreamError | None = None
        except UpstreamError as error:
            if source.error is not None:
                raise source.error from None
            answer, failure = Answer(0, {}), error
        found = await self._progress(name, url, offset)
        if found is not None and found[1] <= blob.size:
            self._uploads.put(name, blob.digest, str(found[0]))
            return found
        if failure is not None:
            raise failure
        self._uploads.pop(name, blob.digest)
        self._expect(answer, f"sending {blob.digest}", _ACCEPTED)
        return url, offset

    async def _progress(self, name: RepositoryName, url: URL, offset: int) -> tuple[URL, int] | None:
        """Return the current URL and offset of an upload whose connection broke; None if there was no progress."""
        for pause in _SETTLE_SECONDS:
            found = await self._received(name, url)
            if found is None or found[1] > offset:
                return found
            # The registry may still be writing what it received.
            await self._sleep(pause)
        return None

    async def _finish(self, name: RepositoryName, blob: Descriptor, url: URL) -> None:
        url = url.update_query({"digest": blob.digest})
        answer = await self._sender.send("PUT", url, name=name)
        if answer.status != _CREATED and answer.status < _SERVER_ERROR:
            # Whatever is wrong with the upload, another attempt must not continue it.
            self._uploads.pop(name, blob.digest)
            await self._sender.send("DELETE", url, name=name)
        self._expect(answer, f"storing {blob.digest}", _CREATED)
        self._uploads.pop(name, blob.digest)

    async def _send(
        self,
        method: str,
        name: RepositoryName,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        return await self._sender.send(method, self._url(name, path), name=name, headers=headers or {}, body=body)

    def _url(self, name: RepositoryName, path: str) -> URL:
        return URL(f"{self._sender.root}/v2/{name}/{path}".replace("//v2/", "/v2/"), encoded=True)

    def _location(self, url: URL, answer: Answer) -> URL:
        location = answer.headers.get("Location")
        if not location:
            raise UpstreamUnavailableError(f"{self.name} answered without the location of the upload")
        return url.join(URL(location, encoded=True))

    def _expect(self, answer: Answer, what: str, *statuses: int) -> None:
        if answer.status not in statuses:
            raise_unexpected(self.name, what, answer)


class _Source:
    """The bytes to send. Keeps the error of their source apart from those of the connection that they are sent on."""

    def __init__(self, read_from: ReadFrom, offset: int) -> None:
        self.error: Exception | None = None
        self._read_from = read_from
        self._offset = offset

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with closing(self._read_from(self._offset)) as pieces:
            try:
                async for piece in pieces:
                    yield piece
            except Exception as error:
                self.error = error
                raise


def _accept() -> str:
    return ", ".join(sorted(MANIFESTS))


def _tags(answer: Answer, registry: str) -> list[Tag]:
    try:
        listed = load_json(answer.body).get("tags") or []
        names = [str(name) for name in listed]
    except (ValueError, AttributeError, TypeError):
        raise UpstreamUnavailableError(f"{registry} answered with a malformed list of tags") from None
    return [tag for name in names if (tag := _tag(name)) is not None]


def _tag(name: str) -> Tag | None:
    try:
        return Tag(name)
    except TagInvalidError:
        return None


def _next(url: URL, answer: Answer) -> URL | None:
    match = _NEXT.search(answer.headers.get("Link", ""))
    following = url.join(URL(match[1], encoded=True)) if match else None
    # A list must not lead to another host.
    return following if following is not None and following.origin() == url.origin() else None
