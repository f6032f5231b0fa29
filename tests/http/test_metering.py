"""Metrics of requests and upload sessions, with labels that no client chooses."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import ServerDisconnectedError
from typing_extensions import override

from config.settings import Settings
from core.model.digest import Digest
from core.ports.metrics import Metrics
from entrypoints.http import dispatch, routes
from entrypoints.http.middleware.metering import RequestMeter
from entrypoints.http.observation import Observation

BLOB = b"content of a layer"


class Recorder(Metrics):
    """Keeps the recorded samples."""

    def __init__(self) -> None:
        self.taken: dict[str, list[Any]] = {}

    def _make(self, name: str, _description: str, labels: Sequence[str] = (), **_: Any) -> Any:
        def take(value, *texts):
            assert len(texts) == len(labels)
            self.taken.setdefault(name, []).append((value, *texts))

        return take

    counter = gauge = histogram = _make  # type: ignore[assignment]  # one method records all kinds

    @override
    def render(self, accept: str) -> Any:
        raise NotImplementedError

    def counted(self, name):
        return [tuple(labels) for _, *labels in self.taken.get(name, [])]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def meter(recorder):
    return RequestMeter(recorder, clock=lambda: 1.0)


@pytest.fixture
async def metered(start, meter):
    return await start(Settings(), observation=Observation(middlewares=[meter.measure]))


async def test_requests_are_counted_by_route_method_and_code(metered, recorder):
    digest = await metered.push_blob("team/app", BLOB)
    for method, path in [
        ("GET", "/v2/"),
        ("HEAD", f"/v2/team/app/blobs/{digest}"),
        ("GET", "/v2/team/app/manifests/none"),
        ("GET", "/v2/team/app/tags/list"),
        ("GET", "/v2/_catalog"),
        ("GET", "/no/such/path"),
        ("PROPFIND", "/v2/"),
    ]:
        async with metered.request(method, path) as response:
            await response.read()
    assert recorder.counted("registry_http_requests_total") == [
        ("201", "blob_upload", "post"),
        ("200", "base", "get"),
        ("200", "blob", "head"),
        ("404", "manifest", "get"),
        ("200", "tags", "get"),
        ("200", "catalog", "get"),
        ("404", "other", "get"),
        ("405", "base", "unknown"),
    ]


async def test_probes_are_not_counted(metered, recorder):
    async with metered.request("GET", "/healthz") as response:
        assert response.status == 200
    assert recorder.counted("registry_http_requests_total") == []


async def test_bytes_in_and_out_are_counted(metered, recorder):
    digest = await metered.push_blob("a", BLOB)
    async with metered.request("GET", f"/v2/a/blobs/{digest}") as response:
        assert await response.read() == BLOB
    async with metered.request("HEAD", f"/v2/a/blobs/{digest}"):
        pass
    async with metered.request("GET", f"/v2/a/blobs/{digest}", headers={"Range": "bytes=0-3"}) as response:
        assert await response.read() == BLOB[:4]
    async with metered.request("GET", f"/v2/a/blobs/{digest}", headers={"If-None-Match": f'"{digest}"'}) as response:
        assert response.status == 304
    assert recorder.taken["registry_http_request_size_bytes"][0] == (len(BLOB), "blob_upload")
    sent = [value for value, name in recorder.taken["registry_http_response_size_bytes"] if name == "blob"]
    assert sent == [len(BLOB), 0, 4, 0]


async def test_upload_sessions_are_counted(metered, recorder):
    await metered.push_blob("a", BLOB)
    async with metered.request("POST", "/v2/a/blobs/uploads/") as response:
        location = response.headers["Location"]
    async with metered.request("DELETE", location) as response:
        assert response.status == 204
    async with metered.request("POST", "/v2/a/blobs/uploads/") as response:
        location = response.headers["Location"]
    async with metered.request("PUT", f"{location}&digest={Digest.of(BLOB)}", data=BLOB) as response:
        assert response.status == 201
    assert [event for (event,) in recorder.counted("registry_upload_sessions_total")] == [
        "spared",
        "started",
        "cancelled",
        "started",
        "completed",
    ]


async def test_broken_connection_is_counted_separately(metered, services, meter, recorder, monkeypatch):
    async def break_off(*_args, **_options):
        raise ConnectionResetError

    monkeypatch.setattr(services.blobs, "stat", break_off)
    with pytest.raises(ServerDisconnectedError):
        await metered.request("HEAD", f"/v2/a/blobs/{Digest.of(BLOB)}")
    # The client tries once more by itself.
    assert set(recorder.counted("registry_http_requests_total")) == {("499", "blob", "head")}
    meter.flush()
    assert set(recorder.taken["registry_http_in_flight_requests"]) >= {(0, "blob"), (0, "other")}


async def test_requests_in_progress_are_measured(metered, services, meter, recorder, monkeypatch):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(*_args, **_options):
        begun.set()
        await go_on.wait()
        raise ConnectionResetError

    monkeypatch.setattr(services.blobs, "stat", wait)
    task = asyncio.ensure_future(metered.request("HEAD", f"/v2/a/blobs/{Digest.of(BLOB)}").__aenter__())
    await begun.wait()
    meter.flush()
    assert (1, "blob") in recorder.taken["registry_http_in_flight_requests"]
    go_on.set()
    with pytest.raises(ServerDisconnectedError):
        await task


async def test_path_is_matched_once(metered, recorder, monkeypatch):
    """Metrics use the same match as the endpoint."""
    match, matched = routes.match, []

    def count(path):
        matched.append(path)
        return match(path)

    monkeypatch.setattr(dispatch, "match", count)
    async with metered.request("GET", "/v2/a/tags/list") as response:
        assert response.status == 404
    assert matched == ["/v2/a/tags/list"]
    assert ("404", "tags", "get") in recorder.counted("registry_http_requests_total")
