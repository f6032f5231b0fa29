"""Errors of a remote registry, translated from its answers."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from core.errors import (
    DeniedError,
    DigestMismatchError,
    ManifestBlobUnknownError,
    ManifestInvalidError,
    ManifestTooLargeError,
    RegistryError,
    UnsupportedError,
    UpstreamBusyError,
    UpstreamUnavailableError,
)
from core.json_text import load_json
from core.model.manifest import PUSHED_MANIFEST_BYTES_MAX

_RETRY_SECONDS: Final = 60
"""The pause after 429 without `Retry-After`."""
_TEXT_LENGTH_MAX: Final = 300
_NOT_ALLOWED: Final = 405
_TOO_LARGE: Final = 413
_NOT_SATISFIABLE: Final = 416
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


class UploadLostError(DeniedError):
    """The registry does not know an upload, or does not continue it at the offset that it confirmed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer to a request."""

    status: int
    headers: Mapping[str, str]
    """With names that match in any case."""
    body: bytes = b""

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors in the body (OCI distribution-spec, "Error Codes"); empty if there are none."""
        try:
            listed = load_json(self.body)["errors"]
            return [each for each in listed if isinstance(each, dict)]
        except (ValueError, TypeError, KeyError):
            return []


def raise_unexpected(registry: str, what: str, answer: Answer) -> NoReturn:
    """Raise the error that an answer means.

    Args:
        registry: the name of the registry.
        what: the action that failed, such as `storing the manifest sha256:…`.
        answer: an answer that is not the expected one.
    """
    text = f"{registry}: {what} failed: {_reason(answer)}"
    if answer.status == _TOO_MANY:
        raise UpstreamBusyError(text, retry_after=_retry_after(answer))
    if answer.status >= _SERVER_ERROR:
        raise UpstreamUnavailableError(text)
    raise _refusal(answer, text)


def _refusal(answer: Answer, text: str) -> RegistryError:
    codes = {str(error.get("code")): error for error in answer.errors}
    missing = [error for error in answer.errors if error.get("code") in {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}]
    if missing:
        return ManifestBlobUnknownError([str(error.get("detail"))[:_TEXT_LENGTH_MAX] for error in missing])
    if answer.status == _TOO_LARGE:
        return ManifestTooLargeError(PUSHED_MANIFEST_BYTES_MAX)
    return _kind(answer.status, codes.keys())(text)


def _kind(status: int, codes: AbstractSet[str]) -> type[RegistryError]:
    if "DIGEST_INVALID" in codes:
        return DigestMismatchError
    if status == _NOT_SATISFIABLE or codes & {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"}:
        return UploadLostError
    if "MANIFEST_INVALID" in codes:
        return ManifestInvalidError
    return UnsupportedError if status == _NOT_ALLOWED or "UNSUPPORTED" in codes else DeniedError


def _reason(answer: Answer) -> str:
    said = "; ".join(f"{error.get('code')}: {error.get('message')}" for error in answer.errors)
    return f"{answer.status} {said}".strip()[:_TEXT_LENGTH_MAX]


def _retry_after(answer: Answer) -> int:
    text = answer.headers.get("Retry-After", "")
    return int(text) if text.isdecimal() and len(text) < len("999999") else _RETRY_SECONDS
