"""Responses of an upstream: bounded bodies, errors by status, and headers."""

import asyncio
import email.utils
import re
import time
import zlib
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from aiohttp import ClientResponse
from yarl import URL

from adapters.upstream.http.transport import Transport
from core.errors import (
    DigestInvalidError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamUnavailableError,
)
from core.json_text import load_json
from core.model.digest import Digest
from core.ports.upstream import UpstreamQuota

_DOCUMENT_SECONDS: Final = 300.0
"""Time limit of a whole document; the idle limit alone allows one byte per minute."""
_RETRY_SECONDS: Final = 30
"""The pause after a 429 without `Retry-After`."""
_RETRY_SECONDS_MAX: Final = 3600
_PARTS_MAX: Final = 300_000
_PARSED_IN_LOOP_BYTES: Final = 256 * 1024
_ETAG_LENGTH_MAX: Final = 256
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
_QUOTA: Final = re.compile(r"\s*(\d{1,12})(?!\d)\s*(?:;\s*w=(\d{1,12}))?")


async def read_body(transport: Transport, response: ClientResponse, *, limit: int) -> bytes:
    """Read a body of at most `limit` bytes, after decompression, and release the response.

    Raises:
        UpstreamError: the body is larger, ends early, or comes too slowly.
    """
    try:
        with transport.errors_of(response.url):
            async with asyncio.timeout(_DOCUMENT_SECONDS):
                return await _read(transport, response, limit)
    except BaseException:
        response.close()
        raise


async def _read(transport: Transport, response: ClientResponse, limit: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
        raise UpstreamUnavailableError(f"{transport.name}: {response.url.authority} compresses in an unknown way")
    if (response.content_length or 0) > limit:
        raise _too_large(transport, response.url, limit)
    decoder = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding not in {"identity", ""} else None
    content = bytearray()
    async for piece in response.content.iter_any():
        try:
            content += piece if decoder is None else decoder.decompress(piece, limit + 1 - len(content))
        except zlib.error:
            raise _broken(transport, response.url) from None
        if len(content) > limit:
            raise _too_large(transport, response.url, limit)
    if decoder is not None and not decoder.eof:
        raise _broken(transport, response.url)
    return bytes(content)


async def read_json(transport: Transport, response: ClientResponse, *, limit: int) -> dict[str, Any]:
    """Read a JSON object of at most `limit` bytes.

    Raises:
        UpstreamError: as of `read_body`, or the body is not a JSON object.
    """
    content = await read_body(transport, response, limit=limit)
    document: object = None
    if content.count(b"[") + content.count(b"{") <= _PARTS_MAX:
        try:
            is_large = len(content) > _PARSED_IN_LOOP_BYTES
            document = await asyncio.to_thread(load_json, content) if is_large else load_json(content)
        except ValueError:
            document = None
    if not isinstance(document, dict):
        raise UpstreamUnavailableError(f"{transport.name}: {response.url.authority} sent no JSON object")
    return document


def failure_of(transport: Transport, response: ClientResponse, *, is_foreign: bool) -> UpstreamError:
    """Return the error for a response that is not the wanted one.

    Args:
        transport: names the upstream.
        response: the response.
        is_foreign: whether a redirect led to another origin, which cannot know the rights of a user.
    """
    what = f"{transport.name}: {response.url.authority} answered {response.status}"
    match response.status:
        case 404 | 410:
            return UpstreamAbsentError(what)
        case 401 | 403 if not is_foreign:
            return UpstreamAbsentError(f"{what}: access is refused")
        case 429:
            return UpstreamBusyError(what, retry_after=retry_after(response.headers))
        case _:
            return UpstreamUnavailableError(what)


def retry_after(headers: Mapping[str, str]) -> int:
    """Return the seconds that `Retry-After` asks for, within bounds."""
    text = headers.get("Retry-After", "").strip()
    seconds = int(text[:9]) if text.isascii() and text.isdigit() else _seconds_until(text)
    return min(max(seconds, 1), _RETRY_SECONDS_MAX)


def _seconds_until(text: str) -> int:
    try:
        date = email.utils.parsedate_to_datetime(text[:64])
    except (ValueError, IndexError, TypeError):
        return _RETRY_SECONDS
    return round((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time())


def digest_of(headers: Mapping[str, str]) -> Digest | None:
    """Return `Docker-Content-Digest`, or None if it is missing or not a supported digest."""
    try:
        return Digest(headers.get("Docker-Content-Digest", "").strip())
    except DigestInvalidError:
        return None


def etag_of(headers: Mapping[str, str], digest: Digest) -> str | None:
    """Return `ETag`, or None if it is missing, unusable, or the digest again."""
    etag = headers.get("ETag", "").strip()
    is_usable = 0 < len(etag) <= _ETAG_LENGTH_MAX and etag.isascii() and etag.isprintable()
    return etag if is_usable and etag.strip('"') != digest else None


def media_type_of(headers: Mapping[str, str]) -> str:
    """Return the media type without parameters, in lower case."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def quota_of(headers: Mapping[str, str]) -> UpstreamQuota | None:
    """Return the quota that Docker Hub reports, or None."""
    limit, remaining = (_QUOTA.match(headers.get(f"ratelimit-{part}", "")) for part in ("limit", "remaining"))
    if limit is None or remaining is None:
        return None
    window = limit[2] or remaining[2] or "0"
    return UpstreamQuota(limit=int(limit[1]), remaining=int(remaining[1]), window_seconds=int(window))


def _too_large(transport: Transport, url: URL, limit: int) -> UpstreamUnavailableError:
    return UpstreamUnavailableError(f"{transport.name}: {url.authority} sent more than {limit} bytes")


def _broken(transport: Transport, url: URL) -> UpstreamUnavailableError:
    return UpstreamUnavailableError(f"{transport.name}: {url.authority} sent broken compressed data")
