"""botocore's exceptions in the terms of this adapter."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's name for it
    HTTPClientError,
)
from botocore.parsers import ResponseParserError

from adapters.blob_storage.s3.errors import AnswerError, InvalidAnswerError, NoAnswerError, NotSentError, RequestError


@contextmanager
def translating_failures() -> Iterator[None]:
    """Raise a `RequestError` for each exception of botocore in the block."""
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise failure_of(error) from error


def failure_of(error: BaseException) -> RequestError:
    """Return the failure that botocore's exception stands for."""
    name = type(error).__name__
    if isinstance(error, ClientError):
        metadata = error.response.get("ResponseMetadata", {})
        status = metadata.get("HTTPStatusCode", 0)
        code = str(error.response.get("Error", {}).get("Code", "") or status)
        return AnswerError(code, status, metadata.get("HTTPHeaders", {}))
    if isinstance(error, ResponseParserError):
        return InvalidAnswerError(str(error))
    if isinstance(error, (HTTPClientError, ConnectionError)):
        return NoAnswerError(name)
    return NotSentError(name)
