"""Connection pool to one bucket: every request to the store goes through `StoreClient.call`.

Requests are limited in number (the pool), in time (each attempt, and all attempts together) and in attempts. botocore's
own retries are off, because they do not handle redirects, time budgets and lost answers.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.loaders import Loader, create_loader

from adapters.blob_storage.s3.capabilities import Capabilities
from adapters.blob_storage.s3.dialect import Dialect, md5_base64
from adapters.blob_storage.s3.errors import SDK_ERRORS, is_transient, translate
from adapters.blob_storage.s3.http_session import RedirectedError, StoreHttpSession
from adapters.blob_storage.s3.options import S3Options
from core.model.secret import reveal

_REDIRECTS_MAX: Final = 4
_CRC_HEADERS: Final = ("x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Route:
    """Changes to a request after botocore has built it and before it is signed."""

    host: str = ""
    """`scheme://host` to use instead of the configured endpoint."""
    query: tuple[tuple[str, str], ...] = ()
    """Parameters that are not in botocore's model of the operation."""


_route: ContextVar[_Route] = ContextVar("route")


class StoreClient:
    """Sends requests to one bucket; one per storage, for any number of tasks, inside the block of `open`."""

    def __init__(self, client: Any, presigner: Any, options: S3Options, dialect: Dialect) -> None:
        self._client = client
        self._presigner = presigner
        self.options = options
        self.dialect = dialect
        self.capabilities = Capabilities()

    @classmethod
    @asynccontextmanager
    async def open(cls, options: S3Options, dialect: Dialect) -> AsyncIterator["StoreClient"]:
        """Open the pool and close it at the end of the block. Sends nothing.

        Raises:
            StorageUnavailableError: botocore cannot create a client from the options.
        """
        async with AsyncExitStack() as stack:
            try:
                session = _session()
                arguments = _client_arguments(options, dialect)
                client = await stack.enter_async_context(session.client("s3", **arguments))
                presigner = client
                if options.redirect_endpoint:
                    arguments["endpoint_url"] = options.url(options.redirect_endpoint)
                    presigner = await stack.enter_async_context(session.client("s3", **arguments))
            except (*SDK_ERRORS, ValueError) as error:
                raise translate(error, driver=dialect.name, bucket=options.bucket, operation="open", key="") from error
            for each in {client, presigner}:
                each.meta.events.register("before-sign.s3", _before_sign(dialect))
                each.meta.events.register("before-send.s3", _before_send(dialect))
            yield cls(client, presigner, options, dialect)

    async def call(
        self,
        operation: str,
        *,
        key: str = "",
        query: tuple[tuple[str, str], ...] = (),
        transfer_bytes: int = 0,
        attempts: int | None = None,
        final: frozenset[str] = frozenset(),
        **parameters: Any,
    ) -> dict[str, Any]:
        """Send one request, retried while a retry may help, and return botocore's response.

        Args:
            operation: botocore's method name, such as `get_object`.
            key: the port's key of the object; sent to the store as `Key`.
            query: parameters that are not in botocore's model of the operation.
            transfer_bytes: the bytes that the request transfers; they extend the time limit of an attempt.
            attempts: maximum number of attempts, if lower than the configured one.
            final: error codes that are not retried, even if the dialect lists them.
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
        pauses = list(retry.pauses())[: None if attempts is None else attempts - 1]
        give_up_at = time.monotonic() + retry.budget_seconds
        for attempt in range(1, len(pauses) + 2):
            try:
                async with asyncio.timeout(retry.attempt_seconds(transfer_bytes)):
                    response = await self._send(operation, query, parameters)
            except SDK_ERRORS as error:
                exhausted = attempt > len(pauses) or time.monotonic() > give_up_at
                if exhausted or not is_transient(error, self.dialect.retry_codes - final):
                    raise self._translate(error, operation, key) from error
                logger.info("%s: retrying %s after %s", self.dialect.name, operation, type(error).__name__)
                await asyncio.sleep(pauses[attempt - 1])
            else:
                return {**response, "Attempts": attempt}
        raise AssertionError("the last attempt returns or raises")

    async def _send(
        self, operation: str, query: tuple[tuple[str, str], ...], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """Send a request, and send it again to each host that the store redirects it to."""
        host = ""
        for _ in range(_REDIRECTS_MAX):
            _route.set(_Route(host, query))
            try:
                answer: dict[str, Any] = await getattr(self._client, operation)(
                    Bucket=self.options.bucket, **parameters
                )
            except RedirectedError as redirect:
                target = urlsplit(redirect.location)
                host = f"{target.scheme}://{target.netloc}" if target.netloc else host
            else:
                return answer
        raise OSError("too many redirects by the store")

    def store_key(self, key: str) -> str:
        """Return the key in the bucket for a key of the port, mapped as in distribution."""
        return f"{self.options.root_directory.rstrip('/')}{key}".lstrip("/")

    def port_key(self, store_key: str) -> str:
        """Return the key of the port for a key in the bucket."""
        return "/" + store_key[len(self.store_key("/")) :]

    async def presign(self, key: str, *, seconds: int) -> str:
        """Return a URL that allows anyone to `GET` the object for this long. Sends nothing."""
        _route.set(_Route())
        url: str = await self._presigner.generate_presigned_url(
            "get_object",
            Params={"Bucket": self.options.bucket, "Key": self.store_key(key)},
            ExpiresIn=seconds,
            HttpMethod="GET",
        )
        return url

    def _translate(self, error: BaseException, operation: str, key: str) -> Exception:
        return translate(error, driver=self.dialect.name, bucket=self.options.bucket, operation=operation, key=key)


def _session() -> aioboto3.Session:
    """Return a session; all sessions of the process share botocore's service definitions, read from files once."""
    inner = get_session()
    session = aioboto3.Session(botocore_session=inner)
    # Registered last, because aioboto3 adds its own folder to the loader that the session has at first.
    inner.register_component("data_loader", _definitions(inner.get_config_variable("data_path")))
    return session


@cache
def _definitions(data_path: str | None) -> Loader:
    return create_loader(data_path)


def _before_sign(dialect: Dialect) -> Any:
    """Return the handler that completes a request before it is signed."""

    def prepare(request: Any, **_event: Any) -> None:
        route = _route.get()
        parts = urlsplit(request.url)
        if route.host:
            scheme, _, host = route.host.partition("://")
            parts = parts._replace(scheme=scheme, netloc=host)
        if route.query:
            parts = parts._replace(query="&".join(filter(None, (parts.query, urlencode(route.query)))))
        request.url = parts.geturl()
        # Waiting for "100 Continue" costs a round trip for each body, and SCS does not support it.
        del request.headers["Expect"]
        if request.method == "POST" and parts.query == "delete":
            _check_by_md5(request)
        dialect.prepare(request)

    return prepare


def _check_by_md5(request: Any) -> None:
    """Send `Content-MD5` instead of botocore's CRC32: all stores accept it here, and older ones require it."""
    for name in _CRC_HEADERS:
        del request.headers[name]
    request.headers["Content-MD5"] = md5_base64(hashlib.md5(request.data, usedforsecurity=False).digest())


def _before_send(dialect: Dialect) -> Any:
    """Return the handler that removes headers that botocore adds after signing."""

    def strip(request: Any, **_event: Any) -> None:
        for name in dialect.unsent_headers:
            request.headers.pop(name, None)

    return strip


def _client_arguments(options: S3Options, dialect: Dialect) -> dict[str, Any]:
    """Return the arguments with which botocore creates a client."""
    endpoint = options.url(options.region_endpoint)
    return {
        "region_name": options.region or ("us-east-1" if endpoint else None),
        "endpoint_url": endpoint,
        "use_ssl": options.secure,
        "verify": False if options.skip_verify else None,
        "aws_access_key_id": options.access_key,
        "aws_secret_access_key": reveal(options.secret_key),
        "aws_session_token": reveal(options.session_token),
        "config": _client_config(options, dialect),
    }


def _client_config(options: S3Options, dialect: Dialect) -> AioConfig:
    # Custom endpoints rarely have a DNS name per bucket.
    path_style = options.force_path_style or bool(options.region_endpoint)
    return AioConfig(
        http_session_cls=StoreHttpSession,
        signature_version=dialect.signature_version or ("s3v4" if options.v4_auth else "s3"),
        connect_timeout=options.retry.connect_seconds,
        read_timeout=options.retry.read_seconds,
        max_pool_connections=options.connections_max,
        retries={"total_max_attempts": 1},
        user_agent_extra=options.user_agent,
        # Trailing checksums need chunked signing, which few stores except AWS support.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        use_dualstack_endpoint=options.use_dualstack,
        use_fips_endpoint=options.use_fips_endpoint,
        s3={
            "addressing_style": "path" if path_style else "auto",
            "use_accelerate_endpoint": options.accelerate,
            # Hashing each body a second time would block the event loop; the signed Content-MD5 protects the body.
            "payload_signing_enabled": False,
        },
    )
