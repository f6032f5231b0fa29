"""Connection pool to one bucket: every request to the store goes through `StoreClient.call`.

The frequent requests are built and signed here (`direct`), the others by botocore's client, over the same connections.
Requests are limited in number (the pool), in time (each attempt, and all attempts together) and in attempts. botocore's
own retries are off, because they do not handle redirects, time budgets and lost answers.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import get_session

from adapters.blob_storage.s3.capabilities import Capabilities
from adapters.blob_storage.s3.checksums import Crc32Support
from adapters.blob_storage.s3.definitions import definitions
from adapters.blob_storage.s3.dialect import Dialect, md5_base64
from adapters.blob_storage.s3.direct import DirectRequests, Endpoint, in_memory
from adapters.blob_storage.s3.errors import SDK_ERRORS, is_transient, translate
from adapters.blob_storage.s3.http_session import RedirectedError, StoreHttpSession
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.presigning import LIFETIME_SECONDS, PresignedUrls
from adapters.blob_storage.s3.signing import Signer
from core.model.secret import reveal

_REDIRECTS_MAX: Final = 4
_CRC_HEADERS: Final = ("x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Route:
    """Changes to a request after botocore has built it and before it is signed."""

    host: str = ""
    """`scheme://host` to use instead of the configured endpoint."""
    query: tuple[tuple[str, str], ...] = ()
    """Parameters that are not in botocore's model of the operation."""
    endpoint: Endpoint | None = None
    """Set when the request is signed: botocore's decisions, without these changes."""


_route: ContextVar[_Route] = ContextVar("route")


class StoreClient:
    """Sends requests to one bucket; one per storage, for any number of tasks, inside the block of `open`."""

    def __init__(
        self,
        client: Any,
        presigner: Any,
        options: S3Options,
        dialect: Dialect,
        *,
        credentials: Any,
        http: StoreHttpSession,
    ) -> None:
        self._client = client
        self._presigner = presigner
        self._credentials = credentials
        self._http = http
        self._direct: DirectRequests | None = None
        self._redirects: tuple[str, Signer] | None = None
        """The bucket's URL in presigned URLs, and their signer."""
        self._presigned = PresignedUrls(self._presign, credentials)
        self.options = options
        self.dialect = dialect
        self.capabilities = Capabilities()
        self.crc32 = Crc32Support(may_exist=dialect.checks_crc32)

    @classmethod
    @asynccontextmanager
    async def open(cls, options: S3Options, dialect: Dialect) -> AsyncIterator["StoreClient"]:
        """Open the pool and close it at the end of the block. Sends nothing.

        Raises:
            StorageUnavailableError: botocore cannot create a client from the options.
        """
        pools: list[StoreHttpSession] = []

        def pool(**settings: Any) -> StoreHttpSession:
            pools.append(StoreHttpSession(**settings))
            return pools[-1]

        async with AsyncExitStack() as stack:
            try:
                session = _session()
                arguments = _client_arguments(options, dialect, pool)
                client = await stack.enter_async_context(session.client("s3", **arguments))
                presigner = client
                if options.redirect_endpoint:
                    arguments["endpoint_url"] = options.url(options.redirect_endpoint)
                    presigner = await stack.enter_async_context(session.client("s3", **arguments))
                credentials = await _credentials(session, options)
            except (*SDK_ERRORS, ValueError) as error:
                raise translate(error, driver=dialect.name, bucket=options.bucket, operation="open", key="") from error
            for each in {client, presigner}:
                each.meta.events.register("before-sign.s3", _before_sign(dialect))
                each.meta.events.register("before-send.s3", _before_send(dialect))
            yield cls(client, presigner, options, dialect, credentials=credentials, http=pools[0])

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
            except SDK_ERRORS as error:
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
                if self._direct is None or not self._direct.knows(operation):
                    async with asyncio.timeout(seconds):
                        answer = await self._send_by_botocore(operation, _Route(host, query), parameters)
                        answer = answer if bytes_max is None else await in_memory(answer, bytes_max)
                else:
                    answer = await self._direct.send(
                        operation, host, query, parameters, seconds=seconds, bytes_max=bytes_max
                    )
            except RedirectedError as redirect:
                target = urlsplit(redirect.location)
                host = f"{target.scheme}://{target.netloc}" if target.netloc else host
            else:
                return {**answer, "IsRedirected": True} if host else answer
        raise OSError("too many redirects by the store")

    async def _send_by_botocore(self, operation: str, route: _Route, parameters: dict[str, Any]) -> dict[str, Any]:
        _route.set(route)
        answer: dict[str, Any] = await getattr(self._client, operation)(Bucket=self.options.bucket, **parameters)
        # The first request is a listing (`S3BlobStorage.__aenter__`): its URL is the bucket's, in the right region.
        if self._direct is None and operation == "list_objects" and route.endpoint:
            self._direct = self._direct_requests(route.endpoint)
        return answer

    def _direct_requests(self, endpoint: Endpoint) -> DirectRequests | None:
        signer = self._signer(endpoint)
        if signer is None:
            return None
        options = self.options
        return DirectRequests(
            endpoint,
            signer,
            self._credentials,
            self._http,
            small=self._http.small_connections(endpoint.url, options.small_connections_max, options.retry),
            encodes_listings=self.dialect.encodes_listings,
        )

    def _signer(self, endpoint: Endpoint) -> Signer | None:
        """Return the signer that does what botocore did, or None if only botocore can: SigV2, S3 Express, SigV4a."""
        create = self.dialect.signers.get(endpoint.signature_version)
        return create and create(endpoint.region)

    def store_key(self, key: str) -> str:
        """Return the key in the bucket for a key of the port, mapped as in distribution."""
        return self.options.store_key(key)

    def port_key(self, store_key: str) -> str:
        """Return the key of the port for a key in the bucket."""
        return "/" + store_key[len(self.store_key("/")) :]

    async def presign(self, key: str) -> str:
        """Return a URL that allows anyone to `GET` the object for some minutes. Sends nothing."""
        return await self._presigned.url(key)

    async def _presign(self, key: str, credentials: Any) -> str:
        store_key = self.store_key(key)
        if self._redirects is not None:
            bucket_url, signer = self._redirects
            return signer.presign(bucket_url + signer.escape(f"/{store_key}"), credentials, seconds=LIFETIME_SECONDS)
        route = _Route()
        _route.set(route)
        url: str = await self._presigner.generate_presigned_url(
            "get_object",
            Params={"Bucket": self.options.bucket, "Key": store_key},
            ExpiresIn=LIFETIME_SECONDS,
            HttpMethod="GET",
        )
        signs = self._signer(route.endpoint) if route.endpoint else None
        if route.endpoint and signs:
            self._redirects = route.endpoint.url.removesuffix(signs.escape(f"/{store_key}")), signs
        return url

    def _translate(self, error: BaseException, operation: str, key: str) -> Exception:
        return translate(error, driver=self.dialect.name, bucket=self.options.bucket, operation=operation, key=key)


def _session() -> aioboto3.Session:
    """Return a session; all sessions of the process share botocore's service definitions, read from files once."""
    inner = get_session()
    session = aioboto3.Session(botocore_session=inner)
    # Registered last, because aioboto3 adds its own folder to the loader that the session has at first.
    inner.register_component("data_loader", definitions(inner.get_config_variable("data_path")))
    return session


def _before_sign(dialect: Dialect) -> Any:
    """Return the handler that completes a request before it is signed."""

    def prepare(request: Any, *, region_name: str, signature_version: str, **_event: Any) -> None:
        route = _route.get()
        parts = urlsplit(request.url)
        host = f"{parts.scheme}://{parts.netloc}"
        if route.host:
            scheme, _, netloc = route.host.partition("://")
            parts = parts._replace(scheme=scheme, netloc=netloc)
        if route.query:
            parts = parts._replace(query="&".join(filter(None, (parts.query, urlencode(route.query)))))
        request.url = parts.geturl()
        # Waiting for "100 Continue" costs a round trip for each body, and SCS does not support it.
        del request.headers["Expect"]
        if request.method == "POST" and parts.query == "delete":
            _check_by_md5(request)
        dialect.prepare(request)
        route.endpoint = Endpoint(
            host + urlsplit(request.url).path,
            request.context.get("signing", {}).get("region") or region_name,
            signature_version,
            request.headers.get("User-Agent", ""),
        )

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


async def _credentials(session: aioboto3.Session, options: S3Options) -> Any:
    """Return the credentials that botocore's client uses, or None if there are none."""
    if options.access_key:
        return AioCredentials(options.access_key, reveal(options.secret_key), reveal(options.session_token))
    return await session.get_credentials()


def _client_arguments(options: S3Options, dialect: Dialect, pool: Callable[..., StoreHttpSession]) -> dict[str, Any]:
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
        "config": _client_config(options, dialect, pool),
    }


def _client_config(options: S3Options, dialect: Dialect, pool: Callable[..., StoreHttpSession]) -> AioConfig:
    # Custom endpoints rarely have a DNS name per bucket.
    path_style = options.force_path_style or bool(options.region_endpoint)
    return AioConfig(
        http_session_cls=pool,
        signature_version=dialect.signature_version or ("s3v4" if options.v4_auth else "s3"),
        connect_timeout=options.retry.connect_seconds,
        read_timeout=options.retry.read_seconds,
        max_pool_connections=options.connections_max - options.small_connections_max,
        retries={"total_max_attempts": 1},
        user_agent_extra=options.user_agent,
        # Trailing checksums need chunked signing, which few stores except AWS support.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        use_dualstack_endpoint=options.use_dualstack,
        use_fips_endpoint=options.use_fips_endpoint,
        s3={
            "addressing_style": dialect.addressing or ("path" if path_style else "auto"),
            "use_accelerate_endpoint": options.accelerate,
            # Hashing each body a second time would block the event loop; the signed Content-MD5 protects the body.
            "payload_signing_enabled": False,
        },
    )
