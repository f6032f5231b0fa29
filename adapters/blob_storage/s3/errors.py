"""What went wrong at the store, in the port's words. The one place where SDK errors become `StorageError`s.

No message shows a secret: of the store's answer only its error code is used, which cannot hold one.
"""

from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name for it
    HTTPClientError,
)
from botocore.parsers import ResponseParserError

from core.errors import (
    ObjectNotFoundError,
    RangeInvalidError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

SDK_ERRORS: Final = (BotoCoreError, ClientError, ResponseParserError, aiohttp.ClientError, OSError)
"""All that a request to the store can raise."""

_CONNECTION_ERRORS: Final = (HTTPClientError, ConnectionError, ResponseParserError, aiohttp.ClientError, OSError)
TRANSIENT_CODES: Final = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
"""Error codes that pass when the same request is sent again."""

_TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_NOT_OFFERED_STATUSES: Final = frozenset({400, 405, 411, 501})
"""What stores answer to a request that they do not know."""
_REFUSED_STATUSES: Final = frozenset({401, 403, 404}) | _NOT_OFFERED_STATUSES
_NOT_FOUND: Final = 404
_PRECONDITION_FAILED: Final = 412
_RANGE_NOT_SATISFIABLE: Final = 416
_INSUFFICIENT_STORAGE: Final = 507
_FULL_CODES: Final = frozenset({"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"})

_REMEDIES: Final = (
    (
        {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity"},
        "the key is refused ({code}): check storage.{driver}.accesskey and storage.{driver}.secretkey",
    ),
    (
        {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"},
        "there are no credentials: set storage.{driver}.accesskey and storage.{driver}.secretkey",
    ),
    (
        {"ParamValidationError", "NoRegionError", "ProfileNotFound", "ValueError"},
        "what is configured cannot be asked for ({code}): check bucket, region and endpoint of storage.{driver}",
    ),
    (
        {"SSLError"},
        "no secure connection ({code}): check storage.{driver}.secure, and the certificate of the store",
    ),
    (
        {"NoSuchBucket", "InvalidBucketName", "404"},
        "bucket {bucket!r} does not exist ({code}): check storage.{driver}.bucket",
    ),
    (
        {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"},
        "bucket {bucket!r} lies in another region ({code}): check storage.{driver}.region",
    ),
    (
        {"AccessDenied", "AllAccessDisabled", "Forbidden", "403"},
        "access is refused ({code}): check the rights of storage.{driver}.accesskey on bucket {bucket!r}",
    ),
)
"""What to look at in the configuration, by the store's or botocore's name of the error."""


class UploadGoneError(StorageUnavailableError):
    """The store knows no such multipart upload: it was completed, aborted or never begun."""


class AlreadyThereError(StorageUnavailableError):
    """What was to be written only where nothing is met something."""


class RefusedError(StorageUnavailableError):
    """The store answers, and does not do this: it does not offer it, or not to us."""


class ObjectAbsentError(RefusedError):
    """The store has no object at the key of a request that names the bucket's own key."""


class NotOfferedError(RefusedError):
    """The store does not offer this request, or not in this form; its credentials are not the cause."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What can be told of a failed request."""

    code: str
    status: int

    @classmethod
    def of(cls, error: BaseException) -> "Answer":
        """Read the store's error answer; an error before any answer has status 0."""
        if not isinstance(error, ClientError):
            return cls(type(error).__name__, 0)
        response: dict[str, Any] = error.response
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return cls(str(response.get("Error", {}).get("Code", "") or status), status)


def is_transient(error: BaseException, retry_codes: frozenset[str]) -> bool:
    """Tell whether the same request may succeed when it is sent again."""
    if isinstance(error, ClientError):
        answer = Answer.of(error)
        return answer.code in TRANSIENT_CODES | retry_codes or answer.status in _TRANSIENT_STATUSES
    return isinstance(error, _CONNECTION_ERRORS)


def translate(
    error: BaseException, *, driver: str, bucket: str, operation: str, key: str
) -> StorageError | RangeInvalidError:
    """Return what the port raises for an SDK error.

    Args:
        error: what botocore or aiohttp raised.
        driver: the adapter's name, which is also its section in the configuration.
        bucket: where the request went.
        operation: botocore's name of what was asked for.
        key: the port's key that it was about, or empty.
    """
    answer = Answer.of(error)
    message = f"{driver}: {operation}: {_explain(answer, driver=driver, bucket=bucket)}"
    if key and answer.status == _NOT_FOUND and answer.code not in {"NoSuchBucket", "NoSuchUpload"}:
        return ObjectNotFoundError(key)
    if answer.status == _RANGE_NOT_SATISFIABLE:
        return RangeInvalidError(_size_of(error))
    if answer.code == "NoSuchUpload":
        return UploadGoneError(message)
    return _kind_of(answer, is_transient=is_transient(error, frozenset()))(message)


def _kind_of(answer: Answer, *, is_transient: bool) -> type[StorageUnavailableError]:
    if answer.status == _INSUFFICIENT_STORAGE or answer.code in _FULL_CODES:
        return StorageFullError
    if answer.code == "NoSuchKey":
        return ObjectAbsentError
    if answer.status == _PRECONDITION_FAILED:
        return AlreadyThereError
    if is_transient or answer.status not in _REFUSED_STATUSES:
        return StorageUnavailableError
    is_explained = any(answer.code in codes for codes, _ in _REMEDIES)
    return NotOfferedError if answer.status in _NOT_OFFERED_STATUSES and not is_explained else RefusedError


def _explain(answer: Answer, *, driver: str, bucket: str) -> str:
    """Say what is wrong and what to look at, in one line."""
    for codes, remedy in _REMEDIES:
        if answer.code in codes:
            return remedy.format(code=answer.code, driver=driver, bucket=bucket)
    if answer.status == 0:
        return f"the store cannot be reached ({answer.code}): check the region, the endpoint and the network"
    return f"the store answers {answer.status} ({answer.code})"


def _size_of(error: BaseException) -> int:
    """Return the object's size that a 416 answer tells as `bytes */SIZE`, or -1 where it tells none."""
    headers = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    size = str(headers.get("content-range", "")).rpartition("/")[2]
    return int(size) if size.isdigit() else -1
