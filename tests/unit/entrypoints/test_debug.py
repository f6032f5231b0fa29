"""The debug address and the workers behind it, in the test's own event loop."""

import asyncio
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from adapters.metrics.prometheus import SingleProcessMetrics
from entrypoints.observability.debug import private_app, public_app
from entrypoints.observability.health import Health
from entrypoints.observability.peers import Peers, WorkerSilentError
from entrypoints.observability.reach import is_public
from entrypoints.observability.runtime_folder import RuntimeFolder
from tests.support.tools import REPOSITORY_ROOT
from tests.unit.entrypoints.test_profiling import STUCK


@pytest.fixture
def folder():
    # Not below `tmp_path`, which may be too long for a socket's address.
    with tempfile.TemporaryDirectory() as place:
        folder = RuntimeFolder.open(2, places=[Path(place)])
        yield folder
        folder.close()


@asynccontextmanager
async def worker(folder, number):
    runner = web.AppRunner(private_app())
    await runner.setup()
    await web.UnixSite(runner, str(folder.socket_of(number))).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def debug(folder, aiohttp_client):
    metrics = SingleProcessMetrics()
    metrics.gauge("registry_things", "Things.")(5)

    async def answer_probe(_request):
        return web.Response(text="ok")

    app = public_app(Health(), {"/healthz": answer_probe}, Peers(folder, 2), metrics, metrics_path="/numbers")
    client = await aiohttp_client(app)
    async with worker(folder, 0), worker(folder, 1):
        yield client


async def ask(session, path, method="GET"):
    async with session.request(method, path) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("remote", ["10.0.0.7", "2001:db8::1", "::ffff:10.0.0.7"])
@pytest.mark.parametrize("path", ["profile?seconds=0.01", "pprof/profile", "stacks", "pprof/goroutine"])
async def test_profiles_are_served_on_this_machine_only(folder, remote, path):
    metrics = SingleProcessMetrics()
    app = public_app(Health(), {}, Peers(folder, 2), metrics, metrics_path="/numbers")

    async def answer(path):
        request = make_mocked_request("GET", path, app=app).clone(remote=remote)
        handler = (await app.router.resolve(request)).handler
        return await handler(request)

    refused = await answer(f"/debug/{path}")
    assert (refused.status, "port-forward" in refused.text) == (403, True)
    assert (await answer("/numbers")).status == 200
    assert (await answer("/debug/health")).status == 200


async def test_metrics_are_served_at_their_path(debug):
    status, text = await ask(debug, "/numbers")
    assert (status, "registry_things 5.0" in text) == (200, True)
    assert (await ask(debug, "/metrics"))[0] == 404


async def test_probe_and_health_are_served(debug):
    assert await ask(debug, "/healthz") == (200, "ok")
    assert await ask(debug, "/debug/health") == (200, "{}")
    assert (await ask(debug, "/debug/health", "POST"))[0] == 404


@pytest.mark.parametrize("path", ["/debug/profile", "/debug/pprof/profile"])
async def test_profile_is_text_or_a_file_for_tools(debug, path):
    status, text = await ask(debug, f"{path}?seconds=0.05&worker=1")
    assert (status, "cumtime" in text) == (200, True)
    async with debug.get(f"{path}?seconds=0.05&format=pstats") as response:
        assert response.content_type == "application/octet-stream"
        assert await response.read()


async def test_one_of_two_profiles_at_a_time_is_refused(debug):
    statuses = []
    # On a slow machine a short profile may end before the other request arrives.
    for seconds in (0.2, 1, 5, 25):
        answers = await asyncio.gather(*[ask(debug, f"/debug/profile?seconds={seconds}") for _ in range(2)])
        statuses = sorted(status for status, _ in answers)
        if statuses == [200, 409]:
            break
    assert statuses == [200, 409]


@pytest.mark.parametrize(
    "query", ["worker=2", "worker=-1", "worker=x", "seconds=0", "seconds=-1", "seconds=nan", "seconds=1000"]
)
async def test_invalid_parameters_are_refused(debug, query):
    assert (await ask(debug, f"/debug/profile?{query}"))[0] == 400


async def test_stacks_show_one_worker_or_all(debug):
    status, text = await ask(debug, "/debug/stacks?worker=1")
    assert (status, text.startswith("=== worker 1\nprocess ")) == (200, True)
    _, text = await ask(debug, "/debug/pprof/goroutine")
    assert [line for line in text.splitlines() if line.startswith("===")] == ["=== worker 0", "=== worker 1"]
    assert (await ask(debug, "/debug/stacks?worker=two"))[0] == 400


async def test_stuck_worker_is_shown_and_not_profiled(folder, monkeypatch):
    monkeypatch.setattr("entrypoints.observability.peers.CONNECT_SECONDS", 0.3)
    command = [sys.executable, "-c", STUCK, str(folder.socket_of(0)), str(folder.stacks_of(0))]
    process = subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE)  # noqa: ASYNC220 - does not wait
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"listening\n"
        peers = Peers(folder, 2)
        await peers.stacks(0)
        text = await peers.stacks(0)
        assert "its event loop does not respond" in text
        assert "in blocks_the_loop" in text
        with pytest.raises(WorkerSilentError):
            await peers.profile(0, "seconds=0.1", 0.1)
        assert "worker 1 cannot be reached" in await peers.stacks(1)
    finally:
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("addr", "public"),
    [
        (":5001", True),
        ("0.0.0.0:5001", True),
        ("[::]:5001", True),
        ("10.0.0.1:5001", True),
        ("registry.example.com:5001", True),
        ("localhost:5001", False),
        ("127.0.0.1:5001", False),
        ("127.8.0.1:5001", False),
        ("[::1]:5001", False),
    ],
)
def test_public_addresses_are_known(addr, public):
    assert is_public(addr) is public
