"""The server: routes, counting, and the sending of blobs."""

import asyncio
import gzip
import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from tests.support.certificates import Pair
from tests.support.oci import OCI_INDEX
from tests.support.ports import free_port
from tests.support.upstream_server.content import Repository, UpstreamContent
from tests.support.upstream_server.faults import UpstreamFaults
from tests.support.upstream_server.sign_in import SignIn

_PIECE_BYTES: Final = 64 * 1024
_ROUTE: Final = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>[^/]+)")
_KINDS: Final = {"manifests": "manifest", "blobs": "blob", "tags": "tags", "referrers": "referrers"}
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_WAIT_SECONDS: Final = 30.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """A request, recorded on arrival."""

    kind: str
    """`manifest HEAD`, or `blob`, `tags`, `referrers`, `catalog`, `root`, `token`, `storage` with a method."""
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    peer: tuple[str, int] = ("", 0)
    """Address and port of the client: one connection."""
    status: int = 0
    """The status of the response; 0 before it."""

    @property
    def is_signed_in(self) -> bool:
        """Whether the request had an `Authorization` header."""
        return "Authorization" in self.headers


class UpstreamServer:
    """Runs within its block, sync or async; any thread may change content, faults and users.

    Args:
        pair: the certificate of the registry, which then speaks TLS; storage and token server do not.
        client_authority: PEM file of the authority whose certificates clients must have.
    """

    def __init__(self, *, pair: Pair | None = None, client_authority: str | None = None) -> None:
        self.content = UpstreamContent()
        self.faults = UpstreamFaults()
        self.sign_in = SignIn()
        self.seen: list[Seen] = []
        self.bytes_sent = 0
        """Bytes of blobs sent by GET."""
        self.port, self.storage_port, self.token_port = free_port(), free_port(), free_port()
        self.sign_in.realm = self.token_url()
        self._tls = pair is not None
        self._context = _context(pair, client_authority)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runners: list[web.AppRunner] = []
        self._free_at = 0.0
        self.faults.run_in(self._loop)

    @property
    def host(self) -> str:
        """`host:port` of the registry."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the registry, without a final slash."""
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def token_url(self, host: str = "127.0.0.1") -> str:
        """Return the realm on the port of the token server; `localhost` is another host than the registry's."""
        return f"http://{host}:{self.token_port}/token"

    def count(self, *kinds: str) -> int:
        """Return the number of requests of a kind (`blob GET`), or of all methods (`blob`), or of several kinds."""
        return sum(each.kind in kinds or each.kind.partition(" ")[0] in kinds for each in list(self.seen))

    @property
    def counts(self) -> Counter[str]:
        """The number of requests by kind."""
        return Counter(each.kind for each in list(self.seen))

    def requests(self, kind: str) -> Sequence[Seen]:
        """Return the requests of a kind, in order."""
        return [each for each in list(self.seen) if each.kind == kind or each.kind.partition(" ")[0] == kind]

    def forget(self) -> None:
        """Forget all requests counted so far."""
        self.seen.clear()
        self.bytes_sent = 0

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait in an asyncio test until a condition holds, such as `lambda: upstream.count("blob GET") == 1`."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while not condition():  # noqa: ASYNC110 - another thread changes the state
                await asyncio.sleep(0.01)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait in a test without asyncio until a condition holds."""
        ends_at = time.monotonic() + _WAIT_SECONDS
        while not condition():
            if time.monotonic() > ends_at:
                raise TimeoutError(f"the condition did not become true; requests: {self.counts}")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def open(self) -> None:
        """Start listening, on the same ports as before."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(60)

    def close(self) -> None:
        """Stop listening, and close all connections. Idempotent."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)

    async def _open(self) -> None:
        for port, handler, context in (
            (self.port, self._serve_registry, self._context),
            (self.storage_port, self._serve_storage, None),
            (self.token_port, self._serve_tokens, None),
        ):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, auto_decompress=False)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True, ssl_context=context).start()
            self._runners.append(runner)

    async def _close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        # The loop closes aborted connections a little later.
        await asyncio.sleep(0.1)

    async def _serve_registry(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return await self._serve_tokens(request)
        match = _ROUTE.fullmatch(request.path)
        kind, name = (_KINDS[match["kind"]], match["name"]) if match else ("root", None)
        kind = "catalog" if request.path == "/v2/_catalog" else kind
        seen = self._record(request, kind)
        refused = self._refusal(request, seen) or self.sign_in.refusal(request, name)
        if refused is not None:
            seen.status = refused.status
            return refused
        response: web.StreamResponse = web.json_response({})
        if match:
            repository = self.content.repositories.get(match["name"], Repository())
            serve = {"manifest": self._manifest, "blob": self._blob, "tags": self._tags, "referrers": self._referrers}[
                kind
            ]
            response = await serve(request, seen, repository, match["rest"])
        elif kind == "catalog":
            response = self._catalog(request)
        elif request.path != "/v2/":
            response = _unknown("NAME_UNKNOWN")
        seen.status = response.status
        return response

    async def _serve_tokens(self, request: web.Request) -> web.StreamResponse:
        seen = self._record(request, "token")
        response = self._refusal(request, seen) or self._maybe_gzip(await self.sign_in.answer_token(request))
        seen.status = response.status
        return response

    async def _serve_storage(self, request: web.Request) -> web.StreamResponse:
        seen = self._record(request, "storage")
        hops, _, rest = request.path.removeprefix("/").partition("/")
        if int(hops) > 1:
            response: web.StreamResponse = self._redirect(int(hops) - 1, rest)
        elif (refused := self._refusal(request, seen)) is not None:
            response = refused
        else:
            name, _, digest = rest.rpartition("/")
            content = self.content.repositories[name].blobs[digest]
            response = await self._send(request, seen, content, {})
        seen.status = response.status
        return response

    def _record(self, request: web.Request, kind: str) -> Seen:
        peer = request.get_extra_info("peername")
        seen = Seen(f"{kind} {request.method}", request.path, request.query, request.headers, peer)
        self.seen.append(seen)
        return seen

    def _refusal(self, request: web.Request, seen: Seen) -> web.Response | None:
        refusal = self.faults.refusal(seen.kind)
        if refusal is None:
            return None
        if not refusal.status and request.transport is not None:
            request.transport.abort()
        return web.Response(
            status=refusal.status or 500,
            body=refusal.body,
            headers={"Content-Type": "application/json", **refusal.headers},
        )

    async def _manifest(
        self, request: web.Request, _seen: Seen, repository: Repository, reference: str
    ) -> web.StreamResponse:
        found = repository.manifest(reference)
        if found is None:
            return _unknown("MANIFEST_UNKNOWN")
        digest, media_type, content = found
        headers = {"Content-Type": media_type}
        if not self.faults.omits_digest:
            headers["Docker-Content-Digest"] = self.faults.wrong_digest or digest
        if not self.faults.omits_etag:
            headers["ETag"] = f'"{digest}"'
        if (quota := self.faults.quota) is not None:
            if request.method == "GET" and quota <= 0:
                return web.Response(status=429, headers={"Retry-After": str(self.faults.retry_after)})
            self.faults.quota = quota = quota - (request.method == "GET")
            headers["ratelimit-limit"] = f"{self.faults.quota_limit};w=21600"
            headers["ratelimit-remaining"] = f"{quota};w=21600"
        if not self.faults.omits_etag and request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        response = web.Response(body=content, headers=headers)
        if self.faults.omits_length:
            response.enable_chunked_encoding()
        return self._maybe_gzip(response)

    async def _blob(self, request: web.Request, seen: Seen, repository: Repository, digest: str) -> web.StreamResponse:
        content = repository.blobs.get(digest)
        if content is None:
            return _unknown("BLOB_UNKNOWN")
        if self.faults.redirects:
            name = _ROUTE.fullmatch(request.path)
            return self._redirect(self.faults.redirects, f"{name['name'] if name else ''}/{digest}")
        return await self._send(request, seen, content, {"Docker-Content-Digest": digest})

    def _redirect(self, hops: int, rest: str) -> web.Response:
        location = f"http://127.0.0.1:{self.storage_port}/{hops}/{rest}?signature=secret"
        return web.Response(status=307, headers={"Location": location})

    async def _send(
        self, request: web.Request, seen: Seen, content: bytes, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        start, end, status = 0, len(content), 200
        match = _RANGE.fullmatch(request.headers.get("Range", ""))
        if match and not self.faults.ignores_ranges:
            start, status = int(match[1]), 206
            end = min(end, int(match[2]) + 1) if match[2] else end
            if start >= len(content):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/octet-stream", **headers})
        response.headers["Accept-Ranges"] = "bytes"
        if status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        if not self.faults.omits_length:
            response.content_length = end - start
        seen.status = status
        await response.prepare(request)
        if request.method == "GET":
            await self._write(request, response, memoryview(content)[start:end])
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, content: memoryview) -> None:
        cut, hold, sent = self.faults.next_cut(), self.faults.hold(), 0
        ends = sorted({end for end in (cut, hold[0] if hold else None) if end is not None and end < len(content)})
        while sent < len(content):
            if hold and sent == hold[0]:
                await hold[1].wait()
            if sent == cut and request.transport is not None:
                request.transport.close()
                return
            rate = self.faults.bytes_per_second
            size = min(_PIECE_BYTES, max(1, int(rate / 20))) if rate else _PIECE_BYTES
            end = min([sent + size, len(content), *(each for each in ends if each > sent)])
            await self._pace(end - sent)
            await response.write(content[sent:end])
            self.bytes_sent += end - sent
            sent = end

    async def _pace(self, size: int) -> None:
        if rate := self.faults.bytes_per_second:
            await asyncio.sleep(size / rate)
        if bandwidth := self.faults.bandwidth:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + size / bandwidth
            await asyncio.sleep(self._free_at - now)

    async def _tags(self, request: web.Request, _seen: Seen, repository: Repository, _rest: str) -> web.StreamResponse:
        if not repository.tags:
            return _unknown("NAME_UNKNOWN")
        tags = sorted(tag for tag in repository.tags if tag > request.query.get("last", ""))
        return self._page(request, tags, lambda page: {"name": "", "tags": page}, lambda page: page[-1])

    def _catalog(self, request: web.Request) -> web.Response:
        names = sorted(name for name in self.content.repositories if name > request.query.get("last", ""))
        return self._page(request, names, lambda page: {"repositories": page}, lambda page: page[-1])

    async def _referrers(
        self, request: web.Request, _seen: Seen, repository: Repository, subject: str
    ) -> web.StreamResponse:
        if not self.faults.has_referrers:
            return web.Response(status=404, text="404 page not found")
        entries = sorted(repository.referrers(subject), key=lambda entry: str(entry["digest"]))
        wanted = request.query.get("artifactType")
        if wanted and self.faults.filters_referrers:
            entries = [entry for entry in entries if entry["artifactType"] == wanted]
        entries = [entry for entry in entries if entry["digest"] > request.query.get("last", "")]
        response = self._page(
            request,
            entries,
            lambda page: {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page},
            lambda page: page[-1]["digest"],
        )
        # The exact type: clients take an index with a charset for an answer without this API.
        response.headers["Content-Type"] = OCI_INDEX
        return response

    def _page(
        self,
        request: web.Request,
        entries: list[Any],
        document: Callable[[list[Any]], object],
        last: Callable[[list[Any]], str],
    ) -> web.Response:
        size = min(int(request.query.get("n", self.faults.page_size)), self.faults.page_size)
        response = web.json_response(document(entries[:size]))
        if entries[size:]:
            query = {**request.query, "n": str(size), "last": last(entries[:size])}
            response.headers["Link"] = f'<{request.rel_url.with_query(query)}>; rel="next"'
        return self._maybe_gzip(response)

    def _maybe_gzip(self, response: web.Response) -> web.Response:
        if self.faults.gzips_json and isinstance(response.body, bytes) and response.status == 200:
            response.body = gzip.compress(response.body)
            response.headers["Content-Encoding"] = "gzip"
        return response


def _unknown(code: str) -> web.Response:
    body = json.dumps({"errors": [{"code": code, "message": "unknown"}]})
    return web.Response(status=404, text=body, content_type="application/json")


def _context(pair: Pair | None, client_authority: str | None) -> ssl.SSLContext | None:
    if pair is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
