"""The connection to Redis: its options, translated to those of redis-py."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff

from adapters.descriptor_cache.redis_options import RedisOptions
from core.model.secret import reveal


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
                max_connections=options.pool_connections_max,
                **_common_parameters(options),
            )
        stack.push_async_callback(client.aclose)
        yield client


def _direct_client(options: RedisOptions) -> "Redis":
    ((host, port),) = options.servers
    parameters = _common_parameters(options)
    if options.tls.is_used:
        parameters["connection_class"] = SSLConnection
    pool = BlockingConnectionPool(
        host=host,
        port=port,
        max_connections=options.pool_connections_max,
        timeout=options.pool_wait_seconds,
        **parameters,
    )
    return Redis.from_pool(pool)


def _sentinels(options: RedisOptions) -> Sentinel:
    login = {"username": options.sentinel_username, "password": reveal(options.sentinel_password), "db": 0}
    tls = {"ssl": True} if options.tls.is_used else {}
    parameters = _common_parameters(options) | login | tls
    return Sentinel(options.servers, sentinel_kwargs=parameters, **tls)  # type: ignore[no-untyped-call] # theirs


def _common_parameters(options: RedisOptions) -> dict[str, Any]:
    backoff = ExponentialBackoff(cap=options.retry_backoff_seconds_max, base=options.retry_backoff_seconds_min)
    parameters: dict[str, Any] = {
        "username": options.username,
        "password": reveal(options.password),
        "db": options.db,
        "client_name": options.client_name,
        "protocol": options.protocol,
        "socket_connect_timeout": options.dial_timeout_seconds,
        "socket_timeout": options.io_timeout_seconds,
        "retry": Retry(backoff, max(options.retries_max, 0)),
    }
    if options.tls.is_used:
        parameters |= {
            "ssl_certfile": options.tls.certificate,
            "ssl_keyfile": options.tls.key,
            "ssl_ca_data": options.tls.root_certificates(),
            "ssl_check_hostname": True,
        }
    return parameters
