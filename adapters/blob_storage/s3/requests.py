"""The interface of the two ways to send requests to one bucket.

`direct` builds, signs and parses all requests itself, for credentials and an endpoint that the settings give. `sdk`
uses botocore for credentials that it finds and refreshes, endpoints that AWS's rules decide, and signatures that only
it knows.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_TEMPORARY_REDIRECT: Final = 307


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys that sign requests, valid at a moment."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    """The session token of temporary credentials."""


CredentialsSource = Callable[[], Awaitable[Credentials]]
"""Returns the credentials that are valid now. Raises `NotSentError` if there are none."""


class RedirectedError(Exception):
    """The store redirects this request to another host, for which it must be signed again."""

    def __init__(self, location: str) -> None:
        super().__init__("the store redirects the request")
        self.location = location
        """Empty if the same host expects another signature."""


def require_no_redirect(status: int, headers: Mapping[str, str]) -> None:
    """Check an answer whose body has been read.

    Raises:
        RedirectedError: the answer is 307.
    """
    location = headers.get("location")
    if status == _TEMPORARY_REDIRECT and location:
        raise RedirectedError(location)


class Requests(ABC):
    """Sends requests to one bucket, each once; one per open client, for any number of tasks."""

    @abstractmethod
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
        """Send one request, and return its answer with the fields of botocore's that this adapter reads.

        Args:
            operation: botocore's method name.
            host: `scheme://host` to use instead of the endpoint's, or empty.
            query: further parameters of the query.
            parameters: arguments of botocore's method, without the bucket.
            seconds: maximum time until the answer, or its head if the caller reads the body.
            bytes_max: see `StoreClient.call`.

        Raises:
            RedirectedError: the store redirects the request.
            AnswerError: the store returned an error.
            RequestError: the request was not sent, or its answer is not valid.
            TimeoutError: the answer takes too long.
            OSError: the store cannot be reached, or the connection broke; aiohttp's errors are raised, too.
        """

    @abstractmethod
    async def credentials(self) -> Credentials:
        """Return the credentials that are valid now.

        Raises:
            NotSentError: there are none.
        """

    @abstractmethod
    async def presign(self, store_key: str, credentials: Credentials, *, seconds: int) -> str:
        """Return a URL that allows anyone to `GET` the object for this long. Sends nothing."""


async def in_memory(answer: Mapping[str, Any], bytes_max: int) -> dict[str, Any]:
    """Return an answer with an open body as one with its content, which is None if it is longer than `bytes_max`."""
    body = answer["Body"]
    if int(answer["ContentLength"]) > bytes_max:
        body.close()
        return {**answer, "Content": None}
    return {**answer, "Content": await body.read()}
