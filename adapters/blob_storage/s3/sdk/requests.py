"""Requests to a bucket that botocore knows: its first one, or all of them.

The first request of a process, a listing, goes through botocore's client. Its endpoint, region and signature are those
of the requests that `direct` then sends, with botocore's credentials, which refresh themselves, and over its
connections. If botocore chose a signature that only it knows (SigV2, SigV4a, S3 Express), all requests go through its
client.

botocore's own retries are off, because they do not handle redirects, time budgets and lost answers.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import get_session
from typing_extensions import override

from adapters.blob_storage.s3.dialect import Dialect, md5_base64
from adapters.blob_storage.s3.direct.requests import DEFAULT_REGION, Bucket, DirectRequests
from adapters.blob_storage.s3.errors import NotSentError
from adapters.blob_storage.s3.options import S3Options
from adapters.blob_storage.s3.requests import Credentials, Requests, in_memory
from adapters.blob_storage.s3.sdk.definitions import definitions
from adapters.blob_storage.s3.sdk.failures import translating_failures
from adapters.blob_storage.s3.sdk.http_session import StoreHttpSession
from core.model.secret import reveal

if TYPE_CHECKING:
    from adapters.blob_storage.s3.signing import Signer

_CRC_HEADERS: Final = ("x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm")
_KNOWN_SIGNATURE: Final = "s3v4"
"""botocore's name of the signature that `direct` can make."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """botocore's decisions for a request to the bucket."""

    url: str
    """The URL of the request without its query."""
    region: str
    signature_version: str
    user_agent: str


@dataclass(slots=True)
class _Route:
    """Changes to a request after botocore has built it and before it is signed."""

    host: str = ""
    """`scheme://host` to use instead of the configured endpoint."""
    query: tuple[tuple[str, str], ...] = ()
    """Parameters that are not in botocore's model of the operation."""
    endpoint: _Endpoint | None = None
    """Set when the request is signed: botocore's decisions, without these changes."""


_route: ContextVar[_Route] = ContextVar("route")


class SdkRequests(Requests):
    """Sends requests by botocore's client, until `direct` can send them.

    Args:
        client: botocore's client.
        presigner: botocore's client for the endpoint of redirects.
        options: access to the bucket.
        dialect: deviations of the store from S3.
        credentials: botocore's credentials; None if it found none.
        http: the session below the client.
    """

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
        self._options = options
        self._dialect = dialect
        self._found = credentials
        self._http = http
        self._direct: DirectRequests | None = None
        self._redirects: tuple[str, Signer] | None = None
        """The bucket's URL in presigned URLs, and their signer."""

    @override
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
        if self._direct is not None:
            return await self._direct.send(operation, host, query, parameters, seconds=seconds, bytes_max=bytes_max)
        route = _Route(host, query)
        with translating_failures():
            async with asyncio.timeout(seconds):
                _route.set(route)
                answer: dict[str, Any] = await getattr(self._client, operation)(
                    Bucket=self._options.bucket, **parameters
                )
                if bytes_max is not None:
                    answer = await in_memory(answer, bytes_max)
        # The first request is a listing (`S3BlobStorage.start`): its URL is the bucket's, in the right region.
        if operation == "list_objects" and route.endpoint is not None:
            self._direct = self._direct_requests(route.endpoint)
        return answer

    def _direct_requests(self, endpoint: _Endpoint) -> DirectRequests | None:
        if endpoint.signature_version != _KNOWN_SIGNATURE:
            return None
        options = self._options
        return DirectRequests(
            Bucket(endpoint.url, endpoint.url, endpoint.region, endpoint.user_agent),
            self._dialect,
            self._dialect.signer,
            self.credentials,
            self._http,
            small=self._http.small_connections(endpoint.url, options.small_connections_max, options.retry),
        )

    @override
    async def credentials(self) -> Credentials:
        if self._found is None:
            raise NotSentError("NoCredentialsError")
        with translating_failures():
            frozen = await self._found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    @override
    async def presign(self, store_key: str, credentials: Credentials, *, seconds: int) -> str:
        if self._redirects is None:
            route = _Route()
            _route.set(route)
            with translating_failures():
                url: str = await self._presigner.generate_presigned_url(
                    "get_object",
                    Params={"Bucket": self._options.bucket, "Key": store_key},
                    ExpiresIn=seconds,
                    HttpMethod="GET",
                )
            endpoint = route.endpoint
            if endpoint is None or endpoint.signature_version != f"{_KNOWN_SIGNATURE}-query":
                return url
            # The answer to the first request may have corrected the region.
            signer = self._dialect.signer(endpoint.region if self._direct is None else self._direct.region)
            self._redirects = endpoint.url.removesuffix(signer.escape(f"/{store_key}")), signer
        bucket_url, signer = self._redirects
        return signer.presign(bucket_url + signer.escape(f"/{store_key}"), credentials, seconds=seconds)


@asynccontextmanager
async def open_sdk(options: S3Options, dialect: Dialect) -> AsyncIterator[SdkRequests]:
    """Create botocore's client, and close its connections at the end of the block.

    Raises:
        ValueError: an endpoint is not valid.
        RequestError: botocore cannot create a client from the options.
    """
    pools: list[StoreHttpSession] = []

    def pool(**settings: Any) -> StoreHttpSession:
        pools.append(StoreHttpSession(**settings))
        return pools[-1]

    async with AsyncExitStack() as stack:
        with translating_failures():
            session = _session()
            arguments = _client_arguments(options, dialect, pool)
            client = await stack.enter_async_context(session.client("s3", **arguments))
            presigner = client
            if options.redirect_endpoint:
                arguments["endpoint_url"] = options.url(options.redirect_endpoint)
                presigner = await stack.enter_async_context(session.client("s3", **arguments))
            credentials = await _credentials(session, options)
        for each in {client, presigner}:
            each.meta.events.register("before-sign.s3", _before_sign)
        yield SdkRequests(client, presigner, options, dialect, credentials=credentials, http=pools[0])


def _session() -> aioboto3.Session:
    """Return a session; all sessions of the process share botocore's service definitions, read from files once."""
    inner = get_session()
    session = aioboto3.Session(botocore_session=inner)
    # Registered last, because aioboto3 adds its own folder to the loader that the session has at first.
    inner.register_component("data_loader", definitions(inner.get_config_variable("data_path")))
    return session


def _before_sign(request: Any, *, region_name: str, signature_version: str, **_event: Any) -> None:
    """Complete a request before it is signed."""
    route = _route.get()
    parts = urlsplit(request.url)
    host = f"{parts.scheme}://{parts.netloc}"
    if route.host:
        scheme, _, netloc = route.host.partition("://")
        parts = parts._replace(scheme=scheme, netloc=netloc)
    if route.query:
        parts = parts._replace(query="&".join(filter(None, (parts.query, urlencode(route.query)))))
    request.url = parts.geturl()
    # Waiting for "100 Continue" costs a round trip for each body.
    del request.headers["Expect"]
    if request.method == "POST" and parts.query == "delete":
        _check_by_md5(request)
    route.endpoint = _Endpoint(
        host + parts.path,
        request.context.get("signing", {}).get("region") or region_name,
        signature_version,
        request.headers.get("User-Agent", ""),
    )


def _check_by_md5(request: Any) -> None:
    """Send `Content-MD5` instead of botocore's CRC32: all stores accept it here, and older ones require it."""
    for name in _CRC_HEADERS:
        del request.headers[name]
    request.headers["Content-MD5"] = md5_base64(hashlib.md5(request.data, usedforsecurity=False).digest())


async def _credentials(session: aioboto3.Session, options: S3Options) -> Any:
    """Return the credentials that botocore's client uses, or None if there are none."""
    if options.access_key:
        return AioCredentials(options.access_key, reveal(options.secret_key), reveal(options.session_token))
    return await session.get_credentials()


def _client_arguments(options: S3Options, dialect: Dialect, pool: Callable[..., StoreHttpSession]) -> dict[str, Any]:
    """Return the arguments with which botocore creates a client."""
    endpoint = options.url(options.region_endpoint)
    return {
        "region_name": options.region or (DEFAULT_REGION if endpoint else None),
        "endpoint_url": endpoint,
        "use_ssl": options.secure,
        "verify": False if options.skip_verify else options.authorities,
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
        signature_version=_KNOWN_SIGNATURE if options.v4_auth else "s3",
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
