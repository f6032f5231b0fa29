"""Requests to one bucket: every request to the store goes through `StoreClient.call`.

Requests are limited in number (the connections), in time (each attempt, and all attempts together) and in attempts.
`requests` names the two ways to send them.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, islice
from typing import Any, Final
from urllib.parse import urlsplit

from adapters.blob_storage.s3.capabilities import Capabilities
from adapters.blob_storage.s3.checksums import Crc32Support
from adapters.blob_storage.s3.dialect import Dialect
from adapters.blob_storage.s3.errors import REQUEST_ERRORS, is_transient, translate
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.presigning import LIFETIME_SECONDS, PresignedUrls
from adapters.blob_storage.s3.requests import Credentials, RedirectedError, Requests
from adapters.blob_storage.s3.ways import open_requests

_REDIRECTS_MAX: Final = 4

logger = logging.getLogger(__name__)


class StoreClient:
    """Sends requests to one bucket; one per storage, for any number of tasks, inside the block of `open`."""

    def __init__(self, requests: Requests, options: S3Options, dialect: Dialect) -> None:
        self._requests = requests
        self._presigned = PresignedUrls(self._presign, requests.credentials)
        self.options = options
        self.dialect = dialect
        self.capabilities = Capabilities()
        self.crc32 = Crc32Support(may_exist=dialect.checks_crc32)

    @classmethod
    @asynccontextmanager
    async def open(cls, options: S3Options, dialect: Dialect) -> AsyncIterator["StoreClient"]:
        """Open the connections and close them at the end of the block. Sends nothing.

        Raises:
            StorageUnavailableError: the options cannot work.
        """
        async with AsyncExitStack() as stack:
            try:
                requests = await stack.enter_async_context(open_requests(options, dialect))
            except (*REQUEST_ERRORS, ValueError) as error:
                raise translate(error, driver=dialect.name, bucket=options.bucket, operation="open", key="") from error
            yield cls(requests, options, dialect)

    async def call(
        self,
        operation: str,
        *,
        key: str = "",
        query: tuple[tuple[str, str], ...] = (),
        transfer_bytes: int = 0,
        attempts: int | None = None,
        final: frozenset[str] = frozenset(),
        bytes_max: int | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Send one request, retried while a retry may help, and return botocore's response.

        The response has `Attempts`, and `IsRedirected` if another host than the endpoint answered.

        Args:
            operation: botocore's method name, such as `get_object`.
            key: the port's key of the object; sent to the store as `Key`.
            query: parameters that are not in botocore's model of the operation.
            transfer_bytes: the bytes that the request transfers; they extend the time limit of an attempt.
            attempts: maximum number of attempts, if lower than the configured one.
            final: error codes that are not retried, even if the dialect lists them.
            bytes_max: for `get_object`: return the content itself, as `Content`, or None if it is longer than this.
            parameters: arguments of botocore's method, without the bucket.

        Raises:
            ObjectNotFoundError: the store has nothing at `key`.
            RangeInvalidError: the requested range is outside the object; the error's size is -1 if the store does not
                report it.
            UploadGoneError: the multipart upload does not exist.
            StorageUnavailableError: any other failure.
        """
        if key:
            parameters["Key"] = self.store_key(key)
        retry = self.options.retry
        pauses = islice(retry.pauses(), None if attempts is None else attempts - 1)
        give_up_at = time.monotonic() + retry.budget_seconds
        for attempt in count(1):
            try:
                seconds = retry.attempt_seconds(transfer_bytes)
                response = await self._send(operation, query, parameters, seconds=seconds, bytes_max=bytes_max)
            except REQUEST_ERRORS as error:
                pause = next(pauses, None)
                is_late = time.monotonic() > give_up_at
                if pause is None or is_late or not is_transient(error, self.dialect.retry_codes - final):
                    raise self._translate(error, operation, key) from error
                logger.info("%s: retrying %s after %s", self.dialect.name, operation, type(error).__name__)
                await asyncio.sleep(pause)
            else:
                return {**response, "Attempts": attempt}
        raise AssertionError("an attempt returns or raises")

    async def _send(
        self,
        operation: str,
        query: tuple[tuple[str, str], ...],
        parameters: dict[str, Any],
        *,
        seconds: float,
        bytes_max: int | None,
    ) -> dict[str, Any]:
        """Send a request, and send it again to each host that the store redirects it to."""
        host = ""
        for _ in range(_REDIRECTS_MAX):
            try:
                answer = await self._requests.send(
                    operation, host, query, parameters, seconds=seconds, bytes_max=bytes_max
                )
            except RedirectedError as redirect:
                target = urlsplit(redirect.location)
                host = f"{target.scheme}://{target.netloc}" if target.netloc else host
            else:
                return {**answer, "IsRedirected": True} if host else answer
        raise OSError("too many redirects by the store")

    def store_key(self, key: str) -> str:
        """Return the key in the bucket for a key of the port, mapped as in distribution."""
        return self.options.store_key(key)

    def port_key(self, store_key: str) -> str:
        """Return the key of the port for a key in the bucket."""
        return "/" + store_key[len(self.store_key("/")) :]

    async def presign(self, key: str) -> str:
        """Return a URL that allows anyone to `GET` the object for some minutes. Sends nothing.

        Raises:
            StorageUnavailableError: there are no credentials.
        """
        try:
            return await self._presigned.url(key)
        except REQUEST_ERRORS as error:
            raise self._translate(error, "presign", key) from error

    async def _presign(self, key: str, credentials: Credentials) -> str:
        return await self._requests.presign(self.store_key(key), credentials, seconds=LIFETIME_SECONDS)

    def _translate(self, error: BaseException, operation: str, key: str) -> Exception:
        return translate(error, driver=self.dialect.name, bucket=self.options.bucket, operation=operation, key=key)
