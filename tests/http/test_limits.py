"""Limits of requests, connections and sizes, for one client and for all together."""

import asyncio
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.digest import Digest
from entrypoints.http.middleware.limits import TokenBuckets
from tests.http.conftest import error_codes
from tests.support.guarded_server import with_limits
from tests.support.quiet import settle


class Clock:
    """A time that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_burst_is_followed_by_the_rate():
    clock = Clock()
    buckets = TokenBuckets(rate=2, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    clock.now = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    clock.now = 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_hosts_of_one_ipv6_site_are_one_client():
    buckets = TokenBuckets(rate=1, burst=1, clock=Clock())
    assert buckets.take("2001:db8::1") == 0
    assert buckets.take("2001:db8::2") == 1
    assert buckets.take("2001:db8:0:1::1") == 0


def test_memory_is_bounded_and_active_clients_are_kept():
    buckets = TokenBuckets(rate=1, burst=1, clock=Clock(), clients_max=10)
    for number in range(100):
        buckets.take("active")
        buckets.take(f"10.0.0.{number}")
    assert len(buckets) == 10
    assert buckets.take("active") == 1


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_no_client_exceeds_rate_and_burst(pauses):
    clock = Clock()
    buckets = TokenBuckets(rate=3, burst=5, clock=clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += buckets.take("a") == 0
    assert taken <= 5 + 3 * clock.now + 1e-6


async def test_too_many_requests_are_429_with_retry_after(start):
    api = await start(with_limits(rate=1, burst=2))
    for _ in range(2):
        async with api.request("GET", "/v2/") as response:
            assert response.status == 200
    async with api.request("GET", "/v2/") as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "1"
        assert await error_codes(response) == ["TOOMANYREQUESTS"]


async def test_forged_address_does_not_evade_the_limit(start):
    api = await start(with_limits(rate=1, burst=1))
    statuses = []
    for number in range(2):
        async with api.request("GET", "/v2/", headers={"X-Forwarded-For": f"1.2.3.{number}"}) as response:
            statuses.append(response.status)
    assert statuses == [200, 429]


async def test_clients_behind_a_trusted_proxy_are_limited_separately(start):
    settings = with_limits(rate=1, burst=1)
    api = await start(replace(settings, http=replace(settings.http, trusted_proxies=("127.0.0.1",))))
    for number in range(3):
        async with api.request("GET", "/v2/", headers={"X-Forwarded-For": f"1.2.3.{number}"}) as response:
            assert response.status == 200


async def test_concurrent_requests_are_bounded(guarded):
    server = await guarded(with_limits(requests=1))
    _, writer = await server.connect()
    writer.write(b"POST /v2/a/blobs/uploads/?digest=x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    writer.write_eof()
    _, busy = await server.connect()
    busy.write(b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    answer = b""
    async with asyncio.timeout(60):
        while b" 429 " not in answer:
            answer = await server.exchange(b"GET /v2/ HTTP/1.0\r\n\r\n")
    assert b"\r\nRetry-After: 2\r\n" in answer
    busy.close()
    async with asyncio.timeout(60):
        while b" 200 " not in answer:
            answer = await server.exchange(b"GET /v2/ HTTP/1.0\r\n\r\n")
    writer.close()


async def test_concurrent_connections_are_bounded(guarded):
    server = await guarded(with_limits(connections=2))
    held = [await server.connect() for _ in range(2)]
    await settle()
    answer = await server.exchange(b"")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"TOOMANYREQUESTS" in answer
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(60):
        while b" 200 " not in answer:
            answer = await server.exchange(b"GET /v2/ HTTP/1.0\r\n\r\n")


async def begin_upload(api):
    async with api.request("POST", "/v2/a/blobs/uploads/") as response:
        return response.headers["Location"]


async def too_large(response):
    assert response.status == 413, await response.text()
    assert await error_codes(response) == ["SIZE_INVALID"]
    return True


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_blob_that_is_too_large_is_refused(start, is_chunked):
    api = await start(with_limits(upload_bytes=10))

    async def pieces():
        for _ in range(11):
            yield b"x"

    body = pieces() if is_chunked else b"x" * 11
    digest = Digest.of(b"x" * 11)
    async with api.request("POST", f"/v2/a/blobs/uploads/?digest={digest}", data=body) as response:
        assert await too_large(response)


async def test_size_limit_applies_to_all_pieces_together(start):
    api = await start(with_limits(upload_bytes=10))
    location = await begin_upload(api)
    async with api.request("PATCH", location, data=b"x" * 6) as response:
        assert response.status == 202
        location = response.headers["Location"]
    async with api.request("PATCH", location, data=b"x" * 5) as response:
        assert await too_large(response)
    async with api.request("PUT", f"{location}&digest={Digest.of(b'x' * 11)}", data=b"x" * 5) as response:
        assert await too_large(response)
    async with api.request("PUT", f"{location}&digest={Digest.of(b'x' * 10)}", data=b"x" * 4) as response:
        assert response.status == 201


async def test_manifest_size_is_bounded(start):
    api = await start(with_limits(manifest_bytes=1024))
    async with api.request("PUT", "/v2/a/manifests/x", data=BytesIO(b" " * 1025)) as response:
        assert response.status == 413
        assert await error_codes(response) == ["MANIFEST_INVALID"]
