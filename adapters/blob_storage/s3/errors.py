"""Errors of the store. This is the one place that translates failures of requests to `StorageError`s.

No message contains a secret: only the error code of the store's answer is used, which cannot contain one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

from core.errors import (
    ObjectNotFoundError,
    RangeInvalidError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)


class RequestError(Exception):
    """A request to the store failed; raised inside of this adapter only."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(text or code)
        self.code = code
        """The reason: the store's error code, or the name of an exception."""


class NotSentError(RequestError):
    """The request was not sent: credentials are missing, or the settings cannot work."""


class NoAnswerError(RequestError):
    """The store did not answer: it cannot be reached, or the connection broke."""


class InvalidAnswerError(RequestError):
    """The answer is not that of the request: its XML is malformed or incomplete, or it exceeds a limit."""

    def __init__(self, problem: str) -> None:
        super().__init__(type(self).__name__, problem)


class AnswerError(RequestError):
    """The store answered with an error."""

    def __init__(self, code: str, status: int, headers: Mapping[str, str], *, region: str = "") -> None:
        super().__init__(code, f"{status} {code}")
        self.status = status
        self.headers = headers
        """By name in lower case."""
        self.region = region
        """The region of the bucket, if the answer names it."""


REQUEST_ERRORS: Final = (RequestError, aiohttp.ClientError, OSError)
"""All exceptions that a request to the store can raise."""

TRANSIENT_CODES: Final = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        # versitygw, while a deletion removes the folders of the key: no key of a registry is a folder of another.
        "ExistingObjectIsDirectory",
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
"""Error codes after which the same request may succeed."""

ABSENT_CODE: Final = "NoSuchKey"
"""Error code for an object that does not exist."""
_TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_NOT_OFFERED_STATUSES: Final = frozenset({400, 405, 411, 501})
"""Answers of stores to a request that they do not support."""
_REFUSED_STATUSES: Final = frozenset({401, 403, 404}) | _NOT_OFFERED_STATUSES
_NOT_FOUND: Final = 404
_PRECONDITION_FAILED: Final = 412
_RANGE_NOT_SATISFIABLE: Final = 416
_INSUFFICIENT_STORAGE: Final = 507
_FULL_CODES: Final = frozenset({"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"})

_REMEDIES: Final = (
    (
        {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity"},
        "access key rejected ({code}): check storage.{driver}.{access} and storage.{driver}.{secret}",
    ),
    (
        {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"},
        "no credentials: set storage.{driver}.{access} and storage.{driver}.{secret}",
    ),
    (
        {"ParamValidationError", "NoRegionError", "ProfileNotFound", "ValueError"},
        "invalid configuration ({code}): check bucket, region and endpoint of storage.{driver}",
    ),
    (
        {"SSLError", "SSLCertVerificationError", "ClientConnectorCertificateError", "ClientConnectorSSLError"},
        "cannot establish TLS ({code}): check storage.{driver}.secure and the certificate of the store",
    ),
    (
        {"NoSuchBucket", "InvalidBucketName", "404"},
        "bucket {bucket!r} does not exist ({code}): check storage.{driver}.{container}",
    ),
    (
        {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"},
        "bucket {bucket!r} is in another region ({code}): check storage.{driver}.region",
    ),
    (
        {"AccessDenied", "AllAccessDisabled", "Forbidden", "403"},
        "access denied ({code}): check the rights of storage.{driver}.{access} on bucket {bucket!r}",
    ),
)
"""Remedies in the configuration, by the error code of the store or the exception name of botocore."""
_KEYS: Final = {"access": "accesskey", "secret": "secretkey", "container": "bucket"}
_KEYS_OF: Final[Mapping[str, Mapping[str, str]]] = {
    "oss": {"access": "accesskeyid", "secret": "accesskeysecret"},
    "swift": {"access": "ec2accesskey", "secret": "ec2secretkey", "container": "container"},
}
"""The drivers whose keys have other names."""


class UploadGoneError(StorageUnavailableError):
    """The multipart upload does not exist: it was completed, aborted or never begun."""


class AlreadyThereError(StorageUnavailableError):
    """A conditional write found an existing object."""


class RefusedError(StorageUnavailableError):
    """The store answers but refuses the request, as unsupported or unauthorized."""


class ObjectAbsentError(RefusedError):
    """The store has no object at the key, in a request that gives the bucket's own key."""


class NotOfferedError(RefusedError):
    """The store does not support this request, or not in this form; the credentials are not the cause."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The error code and status of a failed request."""

    code: str
    status: int

    @classmethod
    def of(cls, error: BaseException) -> "Answer":
        """Return the error code and status of `error`; an error without an answer has status 0."""
        if isinstance(error, RequestError):
            return cls(error.code, error.status if isinstance(error, AnswerError) else 0)
        return cls(type(error).__name__, 0)


def is_transient(error: BaseException, retry_codes: frozenset[str]) -> bool:
    """Whether the same request may succeed when it is sent again."""
    if isinstance(error, AnswerError):
        return error.code in TRANSIENT_CODES | retry_codes or error.status in _TRANSIENT_STATUSES
    return isinstance(error, REQUEST_ERRORS) and not isinstance(error, NotSentError)


def translate(
    error: BaseException, *, driver: str, bucket: str, operation: str, key: str
) -> StorageError | RangeInvalidError:
    """Return the error of the port for a failed request.

    Args:
        error: one of `REQUEST_ERRORS`, or a `ValueError` of the settings.
        driver: the adapter's name, which is also its section in the configuration.
        bucket: the bucket of the request.
        operation: botocore's name of the operation.
        key: the port's key in the request, or empty.
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
    if answer.code == ABSENT_CODE:
        return ObjectAbsentError
    if answer.status == _PRECONDITION_FAILED:
        return AlreadyThereError
    if is_transient or answer.status not in _REFUSED_STATUSES:
        return StorageUnavailableError
    is_explained = any(answer.code in codes for codes, _ in _REMEDIES)
    return NotOfferedError if answer.status in _NOT_OFFERED_STATUSES and not is_explained else RefusedError


def _explain(answer: Answer, *, driver: str, bucket: str) -> str:
    """Return the problem and the remedy in one line."""
    for codes, remedy in _REMEDIES:
        if answer.code in codes:
            keys = {**_KEYS, **_KEYS_OF.get(driver, {})}
            return remedy.format(code=answer.code, driver=driver, bucket=bucket, **keys)
    if answer.status == 0:
        return f"cannot reach the store ({answer.code}): check the region, the endpoint and the network"
    return f"the store returned {answer.status} ({answer.code})"


def _size_of(error: BaseException) -> int:
    """Return the object's size from the `bytes */SIZE` of a 416 answer, or -1 if the answer has none."""
    headers = error.headers if isinstance(error, AnswerError) else {}
    size = headers.get("content-range", "").rpartition("/")[2]
    return int(size) if size.isdecimal() else -1
