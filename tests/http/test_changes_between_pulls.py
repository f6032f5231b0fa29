"""Repeated pulls follow every change of the store and of the settings, and wait like other requests."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from typing_extensions import override

from config.settings import AuditSettings, CorsSettings, Settings
from core.errors import StorageUnavailableError
from core.model.access import AccessPolicy
from core.model.events import EventAction
from core.model.media_types import OCI_MANIFEST
from core.model.names import Tag
from core.ports.event_sink import EventSink
from core.store import layout
from entrypoints.http.authentication import AUTHORIZER
from entrypoints.http.connection.fastpath.runner import GuardedRunner
from entrypoints.http.connection.repeating import REPEATER
from entrypoints.http.keys import IN_FLIGHT, RUNTIME_FLAGS
from entrypoints.http.middleware.metering import RequestMeter
from entrypoints.http.observation import Observation
from tests.http.conftest import open_app
from tests.http.test_metering import Recorder
from tests.http.test_prompt import RecordingTransport
from tests.support.core_services import CoreServices
from tests.support.guarded_server import with_limits
from tests.support.repeated_pulls import (
    DIGEST,
    FIRST,
    HOST,
    NAME,
    PULL,
    SECOND,
    TAG_PATH,
    access_lines,
    fill,
    head_of,
    serving,
)


@pytest.fixture
async def services():
    return await fill(CoreServices())


@pytest.fixture
def lines():
    with access_lines() as take:
        yield take


async def forbid(app, _services):
    app[AUTHORIZER].use(AccessPolicy(rules=()), upload_lifetime=timedelta(hours=1))


async def move_tag(_app, services):
    await services.manifests.put(NAME, SECOND, OCI_MANIFEST, tags=[Tag("v1")])


async def delete_tag(_app, services):
    await services.manifests.delete(NAME, Tag("v1"))


async def delete_manifest(_app, services):
    await services.manifests.delete(NAME, DIGEST)


async def lose_content(_app, services):
    await services.storage.delete([layout.blob_data(DIGEST)])


async def damage_content(_app, services):
    await services.storage.write(layout.blob_data(DIGEST), FIRST + b" ")


async def break_storage(_app, services):
    async def fail(*_arguments, **_options):
        raise StorageUnavailableError("broken")

    services.storage.read = fail


async def break_code(_app, services):
    async def fail(*_arguments, **_options):
        raise ZeroDivisionError

    services.storage.read = fail


async def change_headers(app, _services):
    settings = Settings()
    app[RUNTIME_FLAGS].apply(replace(settings, http=replace(settings.http, headers={"X-New": ("1", "2")})))


async def begin_to_stop(app, _services):
    app[IN_FLIGHT].is_draining = True


CHANGES = [
    forbid,
    move_tag,
    delete_tag,
    delete_manifest,
    lose_content,
    damage_content,
    break_storage,
    break_code,
    change_headers,
    begin_to_stop,
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("change", CHANGES)
async def test_changes_count_at_once(change, method, lines):
    """The state changes between two requests: the next answer is that of all steps."""
    request = head_of(f"{method} {TAG_PATH}", HOST)
    results = []
    for repeats in (False, True):
        services = await fill(CoreServices())
        app = open_app(services, Settings())
        async with serving(app, repeats=repeats) as (counting, connect):
            conversation = await connect()
            answers = [await conversation.ask(request) for _ in range(4)]
            await change(app, services)
            answers += [await conversation.ask(request) for _ in range(4)]
        results.append((answers, lines()))
        if repeats:
            assert counting.answered[:3] == [True, True, False]
    assert results[1] == results[0]
    assert results[0][0][3] != results[0][0][4]


async def test_pull_that_differs_is_remembered_anew(services):
    app = open_app(services, Settings())
    async with serving(app) as (counting, connect):
        conversation = await connect()
        before = [await conversation.ask(PULL) for _ in range(3)]
        await move_tag(app, services)
        after = [await conversation.ask(PULL) for _ in range(3)]
    assert [answer.endswith(FIRST) for answer in before] == [True] * 3
    assert [answer.endswith(SECOND) for answer in after] == [True] * 3
    assert counting.answered == [True, False, True]


class Events(EventSink):
    """Keeps the events of pulls, from the moment at which they are wanted."""

    def __init__(self) -> None:
        self.is_on = False
        self.emitted: list[tuple[Any, Any]] = []

    @override
    def wants(self, action: EventAction, media_type: str = "") -> bool:
        return self.is_on and action is EventAction.PULL

    @property
    @override
    def wants_references(self) -> bool:
        return False

    @override
    async def emit(self, occurrences: Sequence[Any], origin: Any) -> None:
        self.emitted += [(occurrence, origin) for occurrence in occurrences]


async def test_events_of_pulls_are_published():
    events = Events()
    services = await fill(CoreServices(events=events))
    async with serving(open_app(services, Settings())) as (counting, connect):
        conversation = await connect()
        for _ in range(3):
            await conversation.ask(PULL)
        events.is_on = True
        for _ in range(3):
            await conversation.ask(PULL)
    assert [occurrence.digest for occurrence, _ in events.emitted] == [DIGEST] * 3
    assert {origin.host for _, origin in events.emitted} == {"registry.example.com:5000"}
    assert counting.answered == [True, False]


async def test_pulls_are_counted(services):
    recorders = []
    for repeats in (False, True):
        recorders.append(recorder := Recorder())
        meter = RequestMeter(recorder, clock=lambda: 1.0)
        app = open_app(services, Settings(), observation=Observation(middlewares=[meter.measure], meter=meter))
        async with serving(app, repeats=repeats) as (counting, connect):
            conversation = await connect()
            for method in ("GET", "HEAD"):
                for _ in range(4):
                    await conversation.ask(head_of(f"{method} {TAG_PATH}", HOST))
            meter.flush()
        assert len(counting.answered) == (4 if repeats else 0)
    without, repeated = (
        # Durations differ.
        {name: [sample[name.endswith("_seconds") :] for sample in samples] for name, samples in each.taken.items()}
        for each in recorders
    )
    assert repeated == without
    assert repeated["registry_http_requests_total"].count((1, "200", "manifest", "get")) == 4


async def test_pull_is_counted_before_its_answer_and_logged_after_it(services, lines):
    """A process that is killed after it sent an answer has counted it."""
    events: list[str] = []

    class Meter(RequestMeter):
        @override
        def record(self, *arguments: Any, **options: Any) -> None:
            events.append("counted")
            super().record(*arguments, **options)

    class Transport(RecordingTransport):
        @override
        def write(self, data: Any) -> None:
            events.append("sent")
            super().write(data)
            assert b"HTTP/1.1 200" in self.written

    meter = Meter(Recorder(), clock=lambda: 1.0)
    app = open_app(services, Settings(), observation=Observation(middlewares=[meter.measure], meter=meter))
    runner = GuardedRunner(app, Settings().http.limits)
    await runner.setup()
    connection = runner.new_connection()
    connection.connection_made(Transport())
    await asyncio.sleep(0)
    for number in range(4):
        received = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(connection.data_received, PULL)
        asyncio.get_running_loop().call_soon(received.set_result, None)
        await received
        assert (events[-2:], len(lines())) == (["counted", "sent"], 1), number
    assert events == ["counted", "sent"] * 4
    connection.connection_lost(None)
    await runner.cleanup()


def test_steps_and_signals_are_those_that_repeated_pulls_replace(services):
    """Before a change here: must `RepeatedPulls` do as the new step does, or `_repeater` turn it off?"""
    app = open_app(services, Settings())
    assert [getattr(step, "__qualname__", "") for step in app.middlewares] == [
        "Probes.answer",
        "Dispatcher.find_route",
        "InFlight.count",
        "answer_errors",
        "Limits.enforce",
        "Dispatcher.answer_elsewhere",
        "Authorizer.authorize",
        "Dispatcher.require_endpoint",
    ]
    assert [getattr(signal, "__qualname__", "") for signal in app.on_response_prepare] == [
        "common_headers.<locals>.add",
        "InFlight.close_connection",
    ]


async def test_steps_that_are_not_known_are_taken(services):
    @web.middleware
    async def other(request, handler):
        return await handler(request)

    meter = RequestMeter(Recorder(), clock=lambda: 1.0)
    for middlewares in ([other], [meter.measure, other], [meter.measure]):
        app = open_app(services, Settings(), observation=Observation(middlewares=middlewares))
        assert app[REPEATER] is None


def with_settings(**changes: Any) -> Settings:
    settings = Settings()
    http = {key: value for key, value in changes.items() if key == "cors"}
    rest = {key: value for key, value in changes.items() if key != "cors"}
    return replace(settings, http=replace(settings.http, **http), **rest)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(with_limits(rate=1.0, burst=100), id="a limit per client"),
        pytest.param(with_settings(cors=CorsSettings(origins=("https://a.example.com",))), id="pages of other sites"),
        pytest.param(with_settings(audit=AuditSettings(stdout=True, pulls=True)), id="audit of pulls"),
    ],
)
def test_some_settings_require_all_steps(services, settings):
    assert open_app(services, Settings())[REPEATER] is not None
    assert open_app(services, settings)[REPEATER] is None


async def test_limit_of_all_requests_counts(services):
    """One pull waits for the store; the limit is one."""
    read, arrived, released = services.storage.read, asyncio.Event(), asyncio.Event()

    async def wait(*arguments, **options):
        arrived.set()
        await released.wait()
        return await read(*arguments, **options)

    settings = with_limits(requests=1)
    async with serving(open_app(services, settings), settings) as (counting, connect):
        first, second = await connect(), await connect()
        for _ in range(3):
            await first.ask(PULL)
        services.storage.read = wait
        asking = asyncio.create_task(first.ask(PULL))
        await arrived.wait()
        assert (await second.ask(PULL)).startswith(b"HTTP/1.1 429 ")
        released.set()
        assert (await asking).endswith(FIRST)
        services.storage.read = read
        assert (await second.ask(PULL)).endswith(FIRST)
    assert counting.answered[:3] == [True, False, True]


@asynccontextmanager
async def waiting_pull(services):
    """Serve with a repeated pull that waits for the store; yield also a function that lets it continue."""
    read, arrived, released = services.storage.read, asyncio.Event(), asyncio.Event()

    async def wait(*arguments, **options):
        arrived.set()
        await released.wait()
        return await read(*arguments, **options)

    app = open_app(services, Settings())
    async with serving(app) as (counting, connect):
        conversation = await connect()
        for _ in range(3):
            await conversation.ask(PULL)
        services.storage.read = wait
        conversation.writer.write(PULL)
        await arrived.wait()
        yield app, counting, conversation, released.set


@pytest.mark.parametrize("is_as_before", [True, False])
async def test_requests_behind_a_pull_that_waits_are_answered_in_order(services, is_as_before):
    async with waiting_pull(services) as (app, counting, conversation, release):
        conversation.writer.write(head_of("GET /v2/team/app/manifests/v2", HOST) + PULL[:20])
        await asyncio.sleep(0.01)
        conversation.writer.write(PULL[20:])
        await asyncio.sleep(0.01)
        if not is_as_before:
            await change_headers(app, services)
        release()
        answers = [await conversation.read_answer() for _ in range(3)]
        assert [answer[-len(content) :] for answer, content in zip(answers, [FIRST, SECOND, FIRST], strict=True)] == [
            FIRST,
            SECOND,
            FIRST,
        ]
        assert (await conversation.ask(PULL)).endswith(FIRST)
    assert counting.answered[:2] == [True, is_as_before]


async def test_client_that_sends_no_more_gets_the_answer(services):
    async with waiting_pull(services) as (_, _, conversation, release):
        conversation.writer.write_eof()
        await asyncio.sleep(0.01)
        release()
        answer = await conversation.read_answer()
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(FIRST)
        assert await conversation.reader.read() == b""


async def test_stop_waits_for_a_pull(services):
    async with waiting_pull(services) as (app, _, conversation, release):
        draining = asyncio.create_task(app[IN_FLIGHT].drain(10))
        await asyncio.sleep(0.01)
        assert not draining.done()
        release()
        assert await draining
        assert b"\r\nConnection: close\r\n" in await conversation.read_answer()


async def test_client_that_leaves_ends_nothing_else(services, lines):
    async with waiting_pull(services) as (app, _, conversation, release):
        conversation.writer.transport.abort()
        await asyncio.sleep(0.01)
        release()
        assert await app[IN_FLIGHT].drain(10)
    assert [line["http.response.status"] for line in lines()[1:]] == [200] * 4
