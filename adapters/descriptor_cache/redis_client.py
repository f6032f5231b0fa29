"""The connection to Redis: options from the configuration, translated to redis-py's."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff

_CONNECTIONS_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTlsOptions:
    """TLS options for Redis; files are PEM."""

    certificate: str | None = None
    key: str | None = None
    root_certificates: str | None = None
    """Certificates to verify the server with, as PEM text; None for the system's certificate authorities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """Address, credentials and limits of the connection to Redis."""

    servers: tuple[tuple[str, int], ...]
    """One server, or the sentinels of `master_name`."""
    master_name: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    db: int = 0
    client_name: str | None = None
    protocol: int = 2
    retries_max: int = 0
    retry_backoff_seconds_min: float = 0.008
    retry_backoff_seconds_max: float = 0.512
    dial_timeout_seconds: float = 5.0
    io_timeout_seconds: float = 3.0
    pool_timeout_seconds: float = 3.0
    connections_max: int | None = None
    tls: RedisTlsOptions | None = None


@asynccontextmanager
async def open_client(options: RedisOptions) -> AsyncIterator["Redis"]:
    """Yield a client that connects on first use, and close its connections at the end."""
    async with AsyncExitStack() as stack:
        if options.master_name is None:
            client = _direct_client(options)
        else:
            sentinels = _sentinels(options)
            for sentinel in sentinels.sentinels:
                stack.push_async_callback(sentinel.aclose)
            client = sentinels.master_for(
                options.master_name,
                max_connections=options.connections_max or _CONNECTIONS_MAX,
                **_common_parameters(options),
            )
        stack.push_async_callback(client.aclose)
        yield client


def _direct_client(options: RedisOptions) -> "Redis":
    ((host, port),) = options.servers
    parameters = _common_parameters(options)
    if options.tls is not None:
        parameters["connection_class"] = SSLConnection
    pool = BlockingConnectionPool(
        host=host,
        port=port,
        max_connections=options.connections_max or _CONNECTIONS_MAX,
        timeout=options.pool_timeout_seconds,
        **parameters,
    )
    return Redis.from_pool(pool)


def _sentinels(options: RedisOptions) -> Sentinel:
    login = {"username": options.sentinel_username, "password": options.sentinel_password, "db": 0}
    tls = {} if options.tls is None else {"ssl": True}
    parameters = _common_parameters(options) | login | tls
    return Sentinel(options.servers, sentinel_kwargs=parameters, **tls)  # type: ignore[no-untyped-call] # theirs


def _common_parameters(options: RedisOptions) -> dict[str, Any]:
    backoff = ExponentialBackoff(cap=options.retry_backoff_seconds_max, base=options.retry_backoff_seconds_min)
    parameters: dict[str, Any] = {
        "username": options.username,
        "password": options.password,
        "db": options.db,
        "client_name": options.client_name,
        "protocol": options.protocol,
        "socket_connect_timeout": options.dial_timeout_seconds,
        "socket_timeout": options.io_timeout_seconds,
        "retry": Retry(backoff, max(options.retries_max, 0)),
    }
    if options.tls is not None:
        parameters |= {
            "ssl_certfile": options.tls.certificate,
            "ssl_keyfile": options.tls.key,
            "ssl_ca_data": options.tls.root_certificates,
            "ssl_check_hostname": True,
        }
    return parameters
