"""Probes and health checks, as orchestrators, clients and operators see them."""

import asyncio
import logging
from contextlib import asynccontextmanager, closing
from dataclasses import replace

import pytest
from aiohttp import web

from adapters.auth.silly import SillyAuthenticator
from config.settings import (
    FileCheckSettings,
    HealthSettings,
    HttpCheckSettings,
    LimitSettings,
    ReadinessSettings,
    Secret,
    Settings,
    StorageCheckSettings,
    TcpCheckSettings,
)
from core.errors import StorageUnavailableError
from core.model.access import MEMBERS_ONLY
from entrypoints.http.draining import InFlight
from entrypoints.http.observation import Observation
from entrypoints.observability.checks import configured_checks
from entrypoints.observability.debug import public_app
from entrypoints.observability.health import Check, CheckFailedError, Health
from entrypoints.observability.peers import Peers
from entrypoints.observability.readiness import Readiness
from entrypoints.observability.runtime_folder import RuntimeFolder
from tests.support.quiet import settle

FAST = 0.01
BLOCKED = (
    '{"errors":[{"code":"UNAVAILABLE","message":"service unavailable",'
    '"detail":"health check failed: please see /debug/health"}]}\n'
)


async def wait_for(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - checks send no signal
            await asyncio.sleep(0.01)


@pytest.fixture
def debug(aiohttp_client, tmp_path):
    """Start a debug address with health alone."""

    with closing(RuntimeFolder.open(1, places=[tmp_path])) as folder:
        peers = Peers(folder, 1)

        async def start(health):
            return await aiohttp_client(public_app(health, {}, peers, None, metrics_path="/metrics"))

        yield start


@asynccontextmanager
async def watched(services, **settings):
    health = Health(list(configured_checks(HealthSettings(**settings), services.storage)))
    context = health.running(web.Application())
    await anext(context)
    try:
        yield health
    finally:
        with pytest.raises(StopAsyncIteration):
            await anext(context)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probe_needs_no_authentication(start, path):
    authenticator = SillyAuthenticator(realm="r", service="s")
    api = await start(authenticator=authenticator, policy=MEMBERS_ONLY)
    async with api.request("GET", "/v2/") as response:
        assert response.status == 401
    for method in ("GET", "HEAD"):
        async with api.request(method, path) as response:
            assert (response.status, response.content_type) == (200, "text/plain")
            assert await response.text() == ("ok" if method == "GET" else "")
    async with api.request("POST", path) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


async def test_probe_leaves_no_line_in_the_access_log(guarded, caplog):
    server = await guarded()
    with caplog.at_level(logging.INFO, "registry.access"):
        for path in (b"/healthz", b"/readyz?verbose", b"/v2/"):
            await server.exchange(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path)
    assert [record.message for record in caplog.records if record.name == "registry.access"] == ["GET /v2/ 200"]


async def test_probe_is_not_rate_limited(start):
    limits = replace(LimitSettings(), rate=1, burst=1)
    api = await start(replace(Settings(), http=replace(Settings().http, limits=limits)))
    for path, status in (("/v2/", 200), ("/v2/", 429), ("/healthz", 200), ("/healthz", 200), ("/readyz", 200)):
        async with api.request("GET", path) as response:
            assert response.status == status, path


async def test_readiness_names_failed_checks_but_withholds_reasons_in_public(start):
    in_flight = InFlight()
    readiness = Readiness(ReadinessSettings(), is_draining=lambda: in_flight.is_draining)
    api = await start(observation=Observation(in_flight=in_flight, readiness=readiness))
    async with api.request("GET", "/readyz?verbose") as response:
        assert await response.text() == "[+]health ok\n[+]shutdown ok\nreadyz check passed\n"
    in_flight.is_draining = True
    async with api.request("GET", "/readyz") as response:
        assert response.status == 503
        assert response.headers["Connection"] == "close"
        assert await response.text() == "[+]health ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n"
    async with api.request("GET", "/readyz?exclude=shutdown") as response:
        assert (response.status, await response.text()) == (200, "ok")
    async with api.request("GET", "/healthz") as response:
        assert response.status == 200


async def test_file_check_stops_the_api_but_not_the_probe(start, services, debug, tmp_path):
    file = tmp_path / "down"
    async with watched(services, files=(FileCheckSettings(file=str(file), interval_seconds=FAST),)) as health:
        api, told = await start(observation=Observation(health=health)), await debug(health)
        async with api.request("GET", "/v2/") as response, told.get("/debug/health") as report:
            assert (response.status, report.status, await report.text()) == (200, 200, "{}")
        file.touch()
        await wait_for(lambda: health.is_blocking)
        for path in ("/", "/v2/", "/v2/a/manifests/b"):
            async with api.request("GET", path) as response:
                assert (response.status, await response.text()) == (503, BLOCKED)
        async with told.get("/debug/health") as report:
            assert (report.status, await report.text()) == (503, f'{{"{file}":"file exists"}}')
            assert report.headers["Content-Type"] == "application/json; charset=utf-8"
        async with told.head("/debug/health") as report:
            assert report.status == 404
        async with api.request("GET", "/healthz") as response:
            assert response.status == 200
        file.unlink()
        await wait_for(lambda: not health.is_blocking)


async def test_failing_storage_is_reported_without_stopping_requests(start, services, monkeypatch, caplog):
    async def fail():
        raise StorageUnavailableError("no <answer>")

    monkeypatch.setattr(services.storage, "check", fail)
    storage = StorageCheckSettings(enabled=True, interval_seconds=FAST, threshold=3)
    async with watched(services, storage=storage) as health:
        api = await start(observation=Observation(health=health))
        await wait_for(lambda: health.failures)
        assert dict(health.failures) == {"storagedriver_inmemory": "no <answer>"}
        async with api.request("GET", "/v2/") as response:
            assert response.status == 200
        # As Go writes it: what HTML would take for a tag is escaped.
        assert (await health.answer(FakeRequest())).body == b'{"storagedriver_inmemory":"no \\u003canswer\\u003e"}'
    assert caplog.text.count("unhealthy: storagedriver_inmemory") == 1


class FakeRequest:
    """All inputs of the answer."""

    method = "GET"


async def test_storage_that_does_not_answer_counts_as_failed(services, monkeypatch):
    monkeypatch.setattr("entrypoints.observability.checks.STORAGE_TIMEOUT_SECONDS", FAST)
    monkeypatch.setattr(services.storage, "check", asyncio.Event().wait)
    async with watched(services, storage=StorageCheckSettings(enabled=True, interval_seconds=FAST)) as health:
        await wait_for(lambda: health.failures)
        assert dict(health.failures) == {"storagedriver_inmemory": "no response within 0.01 s"}


async def test_threshold_counts_failures_in_a_row(services):
    findings = iter([False, False, True, False, False, False, True])
    seen, done = [], asyncio.Event()

    async def look():
        seen.append(dict(health.failures))
        good = next(findings, None)
        if good is None:
            done.set()
            await asyncio.Event().wait()
        if not good:
            raise CheckFailedError("no")

    health = Health([Check(name="c", run=look, interval_seconds=0.001, threshold=3)])
    context = health.running(web.Application())
    await anext(context)
    await asyncio.wait_for(done.wait(), 60)
    with pytest.raises(StopAsyncIteration):
        await anext(context)
    assert seen == [{}, {}, {}, {}, {}, {}, {"c": "no"}, {}]


async def test_defect_of_a_check_counts_as_unhealthy(services, caplog):
    async def break_down():
        raise ValueError("a defect")

    health = Health([Check(name="c", run=break_down, interval_seconds=0.001)])
    context = health.running(web.Application())
    await anext(context)
    await wait_for(lambda: health.failures)
    with pytest.raises(StopAsyncIteration):
        await anext(context)
    assert dict(health.failures) == {"c": "error in the check"}
    assert "raised an unexpected error" in caplog.text


async def test_url_is_requested_with_headers_and_its_password_is_hidden(services, aiohttp_server):
    asked = []

    async def answer(request):
        asked.append((request.method, request.headers.get("X-Key")))
        return web.Response(status=int(request.query["status"]))

    app = web.Application()
    app.router.add_route("*", "/", answer)
    server = await aiohttp_server(app)
    good = f"http://{server.host}:{server.port}/?status=204"
    bad = f"http://user:hunter2@{server.host}:{server.port}/?status=500"
    gone = "http://127.0.0.1:1/"
    shown = f"http://{server.host}:{server.port}/ (health.http[1])"
    headers = {"X-Key": (Secret("k"),)}
    checks = tuple(
        HttpCheckSettings(uri=uri, status_code=204, interval_seconds=FAST, headers=headers) for uri in (good, bad, gone)
    )
    async with watched(services, http=checks) as health:
        await wait_for(lambda: len(health.failures) == 2 and len(asked) > 1)
        assert dict(health.failures) == {
            gone: f"error while checking: {gone}",
            shown: "downstream service returned unexpected status: 500",
        }
        assert set(asked) == {("HEAD", "k")}


async def test_url_that_leads_to_another_server_is_unhealthy(services, aiohttp_server):
    asked = []

    async def answer(request):
        asked.append((request.path, request.headers["Authorization"]))
        headers = {"/own": {"Location": "/204"}, "/other": {"Location": "http://localhost:1/"}}.get(request.path, {})
        return web.Response(status=302 if headers else 204, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = await aiohttp_server(app)
    own, other = (f"http://user:hunter2@{server.host}:{server.port}/{path}" for path in ("own", "other"))
    check = HttpCheckSettings(
        uri=own, status_code=204, interval_seconds=FAST, headers={"authorization": (Secret("Bearer k"),)}
    )
    async with watched(services, http=(check, replace(check, uri=other))) as health:
        await wait_for(lambda: health.failures and ("/204", "Bearer k") in asked)
        [(name, reason)] = health.failures.items()
    assert name.endswith("/other (health.http[1])")
    assert reason == "redirects to another server are not followed: correct the URL"
    assert {authorization for _, authorization in asked} == {"Bearer k"}


async def test_tcp_check_connects_to_the_port(services):
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    checks = (
        TcpCheckSettings(addr=f"127.0.0.1:{port}", interval_seconds=FAST),
        TcpCheckSettings(addr="127.0.0.1:1", interval_seconds=FAST),
    )
    async with watched(services, tcp=checks) as health:
        await wait_for(lambda: health.failures)
        await settle()
        assert dict(health.failures) == {"127.0.0.1:1": "connection to 127.0.0.1:1 failed"}
    server.close()
    await server.wait_closed()
