"""Content of spans, and content that spans must not have."""

from contextlib import contextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from typing_extensions import override

from config.logging import trace_id_variable
from core.ports.tracing import Tracer
from entrypoints.http.keys import TRACE_ID
from entrypoints.http.middleware.metering import HANDLER_NAMES
from entrypoints.http.middleware.tracing import ROUTES, tracing
from entrypoints.http.observation import Observation
from entrypoints.http.request_names import name_request
from entrypoints.http.routes import Resource

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Recorder(Tracer):
    """Keeps the spans."""

    def __init__(self):
        self.requests = []

    @override
    @contextmanager
    def request(self, name, headers, attributes):
        told = {"name": name, "traceparent": headers.get("traceparent"), **attributes}
        self.requests.append(told)
        yield lambda status: told.update(status=status)

    @property
    @override
    def trace_id(self):
        return TRACE

    @override
    def storage_observer(self, driver):
        raise NotImplementedError

    @override
    def close(self):
        raise NotImplementedError


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
async def traced(start, recorder):
    return await start(observation=Observation(middlewares=[tracing(recorder, "/")]))


async def test_route_names_the_span(traced, recorder):
    headers = {"traceparent": "00-x", "User-Agent": "docker/27"}
    async with traced.request("GET", "/v2/team/app/manifests/v1", headers=headers) as response:
        assert response.status == 404
    [told] = recorder.requests
    assert told["name"] == "GET /v2/{name}/manifests/{reference}"
    assert told["http.route"] == "/v2/{name}/manifests/{reference}"
    assert told["registry.repository"] == "team/app"
    assert told["url.path"] == "/v2/team/app/manifests/v1"
    assert (told["traceparent"], told["user_agent.original"], told["status"]) == ("00-x", "docker/27", 404)


async def test_unknown_path_has_no_route(traced, recorder):
    async with traced.request("GET", "/favicon.ico"):
        pass
    [told] = recorder.requests
    assert told["name"] == "GET"
    assert "http.route" not in told


async def test_signed_state_and_password_are_not_recorded(traced, recorder):
    headers = {"Authorization": "Basic hunter2"}
    async with traced.request("PATCH", "/v2/a/blobs/uploads/x?_state=hunter2", headers=headers):
        pass
    assert "hunter2" not in str(recorder.requests)


async def test_log_lines_of_a_request_contain_its_trace(recorder):
    async def answer(request):
        name_request(request, lambda: "r-1")
        return web.Response(text=f"{request[TRACE_ID]} {trace_id_variable.get()}")

    response = await tracing(recorder, "/")(make_mocked_request("GET", "/v2/"), answer)
    assert isinstance(response, web.Response)
    assert response.text == f"{TRACE} {TRACE}"


def test_every_resource_has_a_route_and_a_name():
    assert ROUTES.keys() == HANDLER_NAMES.keys() == set(Resource)


async def test_probes_are_not_recorded(traced, recorder):
    async with traced.request("GET", "/readyz"):
        pass
    assert recorder.requests == []
