"""Failures of fetches, as errors and as the spool keeps them for the other processes."""

from collections.abc import Mapping
from typing import Final

from core.errors import (
    StorageError,
    StorageFullError,
    UpstreamAbsentError,
    UpstreamBusyError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from core.ports.spool import SpoolFailure, SpoolFailureKind


class UnusableContentError(UpstreamUnavailableError):
    """The upstream's content cannot be that of the blob. The bytes are dropped."""


_ERRORS: Final[Mapping[SpoolFailureKind, type[StorageError]]] = {
    SpoolFailureKind.ABSENT: UpstreamAbsentError,
    SpoolFailureKind.TIMEOUT: UpstreamTimeoutError,
    SpoolFailureKind.UNAVAILABLE: UpstreamUnavailableError,
    SpoolFailureKind.FULL: StorageFullError,
}


def failure_of(error: Exception, name: str) -> SpoolFailure:
    """Return the failure that stands for an error; `name` is the repository that the upstream was asked for."""
    kind, retry_after = SpoolFailureKind.UNAVAILABLE, 0
    match error:
        case UpstreamAbsentError():
            kind = SpoolFailureKind.ABSENT
        case UpstreamBusyError():
            kind, retry_after = SpoolFailureKind.BUSY, error.retry_after
        case UpstreamTimeoutError():
            kind = SpoolFailureKind.TIMEOUT
        case StorageFullError():
            kind = SpoolFailureKind.FULL
        case _:
            pass
    return SpoolFailure(kind=kind, message=str(error), name=name, retry_after=retry_after)


def error_of(failure: SpoolFailure) -> StorageError:
    """Return the error that a failure stands for."""
    if failure.kind is SpoolFailureKind.BUSY:
        return UpstreamBusyError(failure.message, retry_after=failure.retry_after)
    return _ERRORS[failure.kind](failure.message)
