"""Requests that are built, signed and parsed here: botocore's client takes most of a millisecond for each."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

import aiohttp
from typing_extensions import override

from adapters.blob_storage.s3.answers import ERROR_BYTES_MAX, SmallRequest
from adapters.blob_storage.s3.body import Body
from adapters.blob_storage.s3.connections import SmallConnections
from adapters.blob_storage.s3.dialect import Dialect, md5_base64
from adapters.blob_storage.s3.direct.address import bucket_url
from adapters.blob_storage.s3.direct.documents import ANSWER_BYTES_MAX
from adapters.blob_storage.s3.direct.http_pool import HttpPool, proxies_of_environment
from adapters.blob_storage.s3.direct.operations import (
    OPERATIONS,
    Operation,
    answer_of,
    headers_of,
    query_of,
    read_answer,
)
from adapters.blob_storage.s3.errors import AnswerError, InvalidAnswerError, NotSentError
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.requests import Credentials, CredentialsSource, RedirectedError, Requests, in_memory
from adapters.blob_storage.s3.signing import Signer, canonical_query, split
from core.model.secret import reveal

DEFAULT_REGION: Final = "us-east-1"
_REGION: Final = re.compile(r"[A-Za-z0-9-]{1,63}")
_USER_AGENT: Final = "sohu-registry"
_BODY_BYTES_MAX: Final = 64 * 1024
"""Maximum size of a body that is sent in one piece with its head."""
_FOREIGN_REGION_CODES: Final = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)
"""Error codes of a request whose signature names another region than the bucket's."""
_FOREIGN_REGION_STATUSES: Final = frozenset({HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.BAD_REQUEST})
"""Statuses of a `HEAD` of this kind, whose answer has no code."""


class Pool(Protocol):
    """Connections on which bodies of any size are sent and received."""

    async def request(self, method: str, url: str, *, headers: dict[str, str], data: Any) -> aiohttp.ClientResponse:
        """Send a signed request."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where and in whose name requests are sent."""

    url: str
    """The URL of the bucket; with a slash at its end if the signature contains that."""
    redirect_url: str
    """The URL of the bucket in presigned URLs."""
    region: str
    user_agent: str = _USER_AGENT


class DirectRequests(Requests):
    """Sends the operations of `OPERATIONS` to one bucket.

    Requests with a small body or none whose answers are read in memory are sent over connections of their own, `small`.
    The others are sent by aiohttp, and so are all if these connections are busy or the store redirects to another host.

    Args:
        bucket: where the requests go.
        dialect: deviations of the store from S3.
        create_signer: creates the signer for a region.
        credentials: returns the credentials that are valid now.
        pool: the connections that aiohttp uses.
        small: connections to the bucket's host; None if only `pool` can reach it.
    """

    def __init__(
        self,
        bucket: Bucket,
        dialect: Dialect,
        create_signer: Callable[[str], Signer],
        credentials: CredentialsSource,
        pool: Pool,
        *,
        small: SmallConnections | None,
    ) -> None:
        self._bucket = bucket
        self._dialect = dialect
        self._create_signer = create_signer
        self._region = bucket.region
        self._signer = create_signer(bucket.region)
        self._credentials = credentials
        self._pool = pool
        self._small = small

    @override
    async def send(
        self,
        operation: str,
        host: str,
        query: tuple[tuple[str, str], ...],
        parameters: Mapping[str, Any],
        *,
        seconds: float,
        bytes_max: int | None,
    ) -> dict[str, Any]:
        known = OPERATIONS[operation]
        url = self._url(known, host, parameters, query)
        headers = self._headers(parameters)
        body = self._body(known, headers, parameters)
        self._signer.sign(known.method, url, headers, await self._credentials())
        if known.flag:
            # A parameter without a value is signed with an equals sign, and sent without one, as by all SDKs.
            url = url.replace(f"{known.flag}=", known.flag)
        # A store must not compress what is stored as it is.
        headers["Accept-Encoding"] = "identity"
        is_small = bytes_max is not None if known.streams else body is None or len(body) <= _BODY_BYTES_MAX
        try:
            if is_small and not host and self._small is not None and not self._small.is_full:
                limit = ANSWER_BYTES_MAX if bytes_max is None else bytes_max
                data = _request_bytes(known.method, url, headers, body)
                request = SmallRequest(data, known.method == "HEAD", limit, seconds, repeats=known.repeats)
                answer = await self._small.exchange(request)
                return read_answer(known, answer.status, answer.headers, answer.content)
            async with asyncio.timeout(seconds):
                return await self._send_by_pool(known, url, headers, body, bytes_max)
        except AnswerError as error:
            if self._adopts_region(known, error):
                raise RedirectedError("") from error
            raise

    async def _send_by_pool(
        self, known: Operation, url: str, headers: dict[str, str], body: Body | bytes | None, bytes_max: int | None
    ) -> dict[str, Any]:
        response = await self._pool.request(known.method, url, headers=headers, data=body)
        names = {name.lower(): value for name, value in response.headers.items()}
        if known.streams and response.status < HTTPStatus.MULTIPLE_CHOICES:
            answer = answer_of(known, response.status, names)
            if "ContentLength" not in answer and ("ContentRange" not in answer or bytes_max is not None):
                response.close()
                raise InvalidAnswerError("the answer has no Content-Length")
            answer["Body"] = response
            return answer if bytes_max is None else await in_memory(answer, bytes_max)
        return read_answer(known, response.status, names, await _read_content(response))

    def _url(
        self, known: Operation, host: str, parameters: Mapping[str, Any], query: tuple[tuple[str, str], ...]
    ) -> str:
        url = self._bucket.url
        if host:
            url = host + "/" + url.partition("://")[2].partition("/")[2]
        if "Key" in parameters:
            url = url.rstrip("/") + self._signer.escape(f"/{parameters['Key']}")
        fields = query_of(known, parameters) | dict(query)
        if "max-keys" in fields and self._dialect.encodes_listings:
            fields["encoding-type"] = "url"
        return f"{url}?{canonical_query(fields)}" if fields else url

    def _headers(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        headers = headers_of(parameters)
        headers["User-Agent"] = self._bucket.user_agent
        if "CopySource" in parameters:
            source = parameters["CopySource"]
            name, value = self._dialect.copy_source(source["Bucket"], source["Key"])
            headers[name] = value
        return headers

    def _body(self, known: Operation, headers: dict[str, str], parameters: Mapping[str, Any]) -> Body | bytes | None:
        """Return the body, and add the header of its checksum if it is a document that needs one."""
        if known.document is None:
            body: Body | bytes | None = parameters.get("Body", b"" if known.method in {"PUT", "POST"} else None)
            return body
        document = known.document(parameters)
        if known.has_md5 and self._dialect.checks_batch_md5:
            # All stores accept it here, and older ones require it and no other checksum.
            headers["Content-MD5"] = md5_base64(hashlib.md5(document, usedforsecurity=False).digest())
        return Body(document)

    def _adopts_region(self, known: Operation, error: AnswerError) -> bool:
        """Whether an error named another region, which signatures name from now on."""
        is_foreign = error.code in _FOREIGN_REGION_CODES or (
            known.method == "HEAD" and error.status in _FOREIGN_REGION_STATUSES
        )
        if not is_foreign or error.region == self._region or not _REGION.fullmatch(error.region):
            return False
        self._region = error.region
        self._signer = self._create_signer(error.region)
        return True

    @property
    def region(self) -> str:
        """The region in signatures."""
        return self._region

    @override
    async def credentials(self) -> Credentials:
        return await self._credentials()

    @override
    async def presign(self, store_key: str, credentials: Credentials, *, seconds: int) -> str:
        url = self._bucket.redirect_url.rstrip("/") + self._signer.escape(f"/{store_key}")
        return self._signer.presign(url, credentials, seconds=seconds)


@asynccontextmanager
async def open_direct(options: S3Options, dialect: Dialect) -> AsyncIterator[DirectRequests]:
    """Open connections to the bucket at the endpoint of the options, and close them at the end of the block.

    Raises:
        ValueError: an endpoint is not a URL.
        NotSentError: bucket or region are not valid.
        OSError: the certificates cannot be read.
    """
    endpoint = options.url(options.region_endpoint) or ""
    in_host = dialect.addressing == "virtual"
    url = bucket_url(endpoint, options.bucket, in_host=in_host)
    redirects = options.url(options.redirect_endpoint)
    region = options.region or DEFAULT_REGION
    if not _REGION.fullmatch(region):
        raise NotSentError("InvalidRegionError")
    bucket = Bucket(
        url + "/" if dialect.signs_slash_of_bucket else url,
        bucket_url(redirects, options.bucket, in_host=in_host) if redirects else url,
        region,
        options.user_agent or _USER_AGENT,
    )
    credentials = Credentials(options.access_key or "", reveal(options.secret_key) or "", reveal(options.session_token))

    async def current() -> Credentials:
        if not credentials.access_key or not credentials.secret_key:
            raise NotSentError("NoCredentialsError")
        return credentials

    pool = HttpPool(options, proxies_of_environment(url))
    try:
        small = pool.small_connections(url, options.small_connections_max, options.retry)
        yield DirectRequests(bucket, dialect, dialect.signer, current, pool, small=small)
    finally:
        await pool.close()


async def _read_content(response: aiohttp.ClientResponse) -> bytes:
    """Return the content of an answer.

    Raises:
        InvalidAnswerError: it is too long.
    """
    limit = ANSWER_BYTES_MAX if response.status < HTTPStatus.MULTIPLE_CHOICES else ERROR_BYTES_MAX
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > limit:
            response.close()
            raise InvalidAnswerError("the answer is too long")
    return bytes(content)


def _request_bytes(method: str, url: str, headers: dict[str, str], body: Body | bytes | None) -> bytes:
    host, path, query = split(url)
    if body is not None:
        headers["Content-Length"] = str(len(body))
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"{method} {path}{query and '?'}{query} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode()
    # One piece, which takes one call of the system and one packet.
    return head + body.read() if isinstance(body, Body) else head + (body or b"")
