"""The only mapping from domain errors to HTTP responses.

A response body is OCI's envelope: `{"errors": [{"code", "message", "detail"}]}` (OCI distribution-spec 1.1, "Error
Codes"). Errors that the client did not cause are logged, unexpected ones with their traceback; the response reveals
none of their text.
"""

import http
import json
import logging
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from core import errors
from entrypoints.http.keys import ERROR_CODE, UPLOAD_LOCATION

_logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS: Final = 5
"""Seconds after which a client should retry when the store has failed."""

TABLE: Final[dict[type[Exception], tuple[str, int]]] = {
    errors.NameInvalidError: ("NAME_INVALID", 400),
    # OCI defines no code for a malformed tag in a URL; this is distribution's.
    errors.TagInvalidError: ("TAG_INVALID", 400),
    errors.DigestInvalidError: ("DIGEST_INVALID", 400),
    errors.ManifestInvalidError: ("MANIFEST_INVALID", 400),
    errors.ManifestTooLargeError: ("MANIFEST_INVALID", 413),
    errors.PaginationInvalidError: ("PAGINATION_NUMBER_INVALID", 400),
    errors.RangeInvalidError: ("RANGE_INVALID", 416),
    errors.InvalidInputError: ("UNSUPPORTED", 400),
    errors.NameUnknownError: ("NAME_UNKNOWN", 404),
    errors.ManifestUnknownError: ("MANIFEST_UNKNOWN", 404),
    errors.BlobUnknownError: ("BLOB_UNKNOWN", 404),
    errors.UploadUnknownError: ("BLOB_UPLOAD_UNKNOWN", 404),
    errors.UnknownError: ("NAME_UNKNOWN", 404),
    errors.DigestMismatchError: ("DIGEST_INVALID", 400),
    errors.SizeMismatchError: ("SIZE_INVALID", 400),
    errors.BlobTooLargeError: ("SIZE_INVALID", 413),
    errors.UploadRangeError: ("BLOB_UPLOAD_INVALID", 416),
    # 404 as in distribution: clients treat the session as lost and begin a new one.
    errors.UploadInvalidError: ("BLOB_UPLOAD_INVALID", 404),
    errors.ManifestBlobUnknownError: ("MANIFEST_BLOB_UNKNOWN", 400),
    errors.ContentError: ("BLOB_UPLOAD_INVALID", 400),
    errors.UnsupportedError: ("UNSUPPORTED", 405),
    errors.ReadOnlyError: ("UNSUPPORTED", 405),
    errors.CachedRepositoryError: ("UNSUPPORTED", 405),
    errors.DeniedError: ("DENIED", 403),
    errors.UnauthenticatedError: ("UNAUTHORIZED", 401),
    errors.TooManyRequestsError: ("TOOMANYREQUESTS", 429),
    errors.BusyError: ("DENIED", 409),
    errors.PolicyError: ("DENIED", 403),
    errors.CatalogUnavailableError: ("UNAVAILABLE", 503),
    errors.StorageUnavailableError: ("UNAVAILABLE", 503),
    errors.StorageFullError: ("UNAVAILABLE", 507),
    errors.StorageCorruptError: ("DATA_DAMAGED", 500),
    errors.AuditUnavailableError: ("UNAVAILABLE", 503),
    errors.UpstreamAbsentError: ("NAME_UNKNOWN", 404),
    errors.UpstreamError: ("UNAVAILABLE", 502),
    errors.UpstreamUnavailableError: ("UNAVAILABLE", 502),
    errors.UpstreamTimeoutError: ("UNAVAILABLE", 504),
    errors.UpstreamBusyError: ("TOOMANYREQUESTS", 429),
    errors.IssuerUnavailableError: ("UNAVAILABLE", 503),
}

_HTTP_CODES: Final = {404: "NAME_UNKNOWN", 405: "UNSUPPORTED", 413: "SIZE_INVALID"}


def envelope(code: str, message: str, detail: object = None) -> dict[str, object]:
    """Return one entry of the list of errors."""
    entry: dict[str, object] = {"code": code, "message": message}
    if detail is not None:
        entry["detail"] = detail
    return entry


def respond(status: int, entries: Sequence[dict[str, object]], headers: dict[str, str] | None = None) -> web.Response:
    """Return a response with these errors."""
    return web.Response(
        status=status,
        body=json.dumps({"errors": list(entries)}).encode() + b"\n",
        content_type="application/json",
        headers=headers,
    )


def render(request: web.BaseRequest, error: Exception) -> web.Response:
    """Return the response for any exception."""
    if isinstance(error, web.HTTPException):
        return _render_http(error)
    code, status = _look_up(error)
    request[ERROR_CODE] = code
    if status == http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return _render_failure(request, code, error)
    if isinstance(error, errors.StorageUnavailableError | errors.AuditUnavailableError | errors.IssuerUnavailableError):
        return _render_outage(code, status, error)
    return respond(status, _entries(code, error), _headers(request, error))


def _render_outage(code: str, status: int, error: errors.StorageError) -> web.Response:
    if isinstance(error, errors.StorageFullError):
        _logger.error("storage full: %s", error)
        # A full storage does not recover by itself, so there is no Retry-After.
        return respond(status, [envelope(code, "the storage is full; an operator must free space")])
    if isinstance(error, errors.StorageUnavailableError):
        part = "catalog" if isinstance(error, errors.CatalogUnavailableError) else "storage"
        _logger.error("%s unavailable: %s", part, error)
        message = f"the {part} is unavailable; try again later"
    elif isinstance(error, errors.IssuerUnavailableError):
        _logger.error("credentials cannot be checked: %s", error)
        message = "the identity provider is unavailable; try again later"
    else:
        _logger.error("write request rejected: %s", error)
        message = "the audit log is unavailable and write requests are rejected; try again later"
    return respond(status, [envelope(code, message)], {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _render_failure(request: web.BaseRequest, code: str, error: Exception) -> web.Response:
    if not isinstance(error, errors.StorageCorruptError):
        _logger.error("request failed", exc_info=error)
        return respond(500, [envelope(code, "unknown error")])
    _logger.error("stored data is damaged: %s", error)
    if not isinstance(error, errors.ContentDamagedError):
        return respond(500, [envelope(code, "data stored by the registry for this request is damaged")])
    # Clients send HEAD before a push and upload only missing content; 404 makes them upload this content again.
    status = 404 if request.method == "HEAD" else 500
    return respond(status, [envelope(code, "the stored content is damaged; push it again", error.digest)])


def _look_up(error: Exception) -> tuple[str, int]:
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return "UNKNOWN", 500


def _entries(code: str, error: Exception) -> list[dict[str, object]]:
    if isinstance(error, errors.ManifestBlobUnknownError):
        return [envelope(code, "blob unknown to registry", digest) for digest in error.digests]
    entry = envelope(code, str(error), getattr(error, "detail", None))
    if isinstance(error, errors.UnauthenticatedError):
        # distribution includes `detail` here even if it is null.
        entry["detail"] = error.detail
    return [entry]


def _headers(request: web.BaseRequest, error: Exception) -> dict[str, str]:
    headers = {}
    match error:
        case errors.UploadRangeError(offset=offset):
            headers = {"Range": format_upload_range(offset), "Location": request.get(UPLOAD_LOCATION, request.path)}
        case errors.RangeInvalidError(size=size):
            headers = {"Content-Range": f"bytes */{size}"}
        case errors.UnauthenticatedError(challenge=challenge):
            headers = {"WWW-Authenticate": challenge}
        case errors.TooManyRequestsError(retry_after=seconds) | errors.UpstreamBusyError(retry_after=seconds):
            headers = {"Retry-After": str(seconds)}
        case errors.ReadOnlyError(retry_after=seconds):
            # The methods that distribution allows in read-only mode.
            headers = {"Allow": "GET, HEAD"} | ({} if seconds is None else {"Retry-After": str(seconds)})
        case errors.CachedRepositoryError():
            headers = {"Allow": "GET, HEAD"}
        case _:
            pass
    return headers


def format_upload_range(offset: int) -> str:
    """Return the `Range` of an upload session: no unit, and `0-0` both for zero bytes and for one byte (end-13)."""
    return f"0-{max(offset - 1, 0)}"


def _render_http(error: web.HTTPException) -> web.Response:
    # aiohttp raises these for requests that reach no handler.
    code = _HTTP_CODES.get(error.status, "UNSUPPORTED")
    allow = error.headers.get("Allow")
    return respond(error.status, [envelope(code, error.reason.lower())], {"Allow": allow} if allow else None)
