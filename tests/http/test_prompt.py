"""Requests that run in the call that receives them, and continue in the task of their connection."""

import asyncio
import logging
import re
from contextvars import ContextVar

import pytest
from aiohttp import web

from config.settings import Settings
from entrypoints.http.connection.fastpath.prompt import Call
from entrypoints.http.connection.fastpath.runner import GuardedRunner
from tests.support.guarded_server import run_guarded

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
variable: ContextVar[str] = ContextVar("variable", default="")


def app_of(handler):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app


async def read_answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    [length] = re.findall(rb"Content-Length: (\d+)", head)
    return head, await asyncio.wait_for(reader.readexactly(int(length)), 10)


async def ask(handler, *requests):
    """Return the bodies of the answers to requests, one after another on one connection."""
    async with run_guarded(app_of(handler), Settings()) as server:
        reader, writer = await server.connect()
        bodies = []
        for request in requests or [GET]:
            writer.write(request)
            bodies.append((await read_answer(reader))[1].decode())
        writer.close()
        return bodies


async def test_request_runs_in_the_task_of_its_connection():
    async def handler(request):
        tasks = [asyncio.current_task() is request.task]
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task() is request.task)
        await asyncio.sleep(0.01)
        tasks.append(asyncio.current_task() is request.task)
        return web.Response(text=str(tasks))

    assert await ask(handler, GET, GET) == ["[True, True, True]"] * 2


async def test_request_that_never_waits_is_answered_before_the_call_returns():
    async def handler(_request):
        return web.Response(text="at once")

    runner = GuardedRunner(app_of(handler), Settings().http.limits)
    await runner.setup()
    transport = RecordingTransport()
    connection = runner.new_connection()
    connection.connection_made(transport)
    await asyncio.sleep(0)
    answered = asyncio.get_running_loop().create_future()

    def receive():
        connection.data_received(GET)
        answered.set_result(bytes(transport.written))

    asyncio.get_running_loop().call_soon(receive)
    assert (await answered).endswith(b"at once")
    connection.connection_lost(None)
    await runner.cleanup()


class RecordingTransport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written = bytearray()

    def write(self, data):
        self.written += data

    def is_closing(self):
        return False

    def close(self):
        pass


@pytest.mark.parametrize("turns", range(4))
async def test_values_of_one_request_do_not_reach_the_next(turns):
    async def handler(_request):
        before = variable.get()
        variable.set("set")
        for _ in range(turns):
            await asyncio.sleep(0)
        return web.Response(text=f"{before}{variable.get()}")

    assert await ask(handler, GET, GET) == ["set", "set"]


async def test_timeout_that_begins_before_the_first_wait_ends():
    async def handler(_request):
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            return web.Response(text="late")

    assert await ask(handler, GET, GET) == ["late", "late"]


async def test_cancellation_before_the_task_continues_reaches_what_is_awaited():
    async def handler(request):
        awaited = asyncio.get_running_loop().create_future()
        # The task of the connection has not woken when this callback runs.
        asyncio.get_running_loop().call_soon(request.task.cancel)
        try:
            await awaited
        except asyncio.CancelledError:
            request.task.uncancel()
        return web.Response(text=f"cancelled {awaited.cancelled()}")

    assert await ask(handler, GET, GET) == ["cancelled True"] * 2


async def test_cancellation_before_the_task_continues_reaches_a_bare_turn():
    async def handler(request):
        asyncio.get_running_loop().call_soon(request.task.cancel)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            request.task.uncancel()
            return web.Response(text="cancelled")

    assert await ask(handler, GET, GET) == ["cancelled"] * 2


async def test_group_of_tasks_that_begins_before_the_first_wait_fails_as_a_whole():
    async def fail():
        raise ValueError("one")

    async def handler(_request):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                group.create_task(asyncio.sleep(10))
        except* ValueError:
            pass
        return web.Response(text="failed")

    assert await ask(handler, GET, GET) == ["failed", "failed"]


@pytest.mark.parametrize("turns", range(3))
async def test_failure_is_logged_and_ends_the_connection(turns, caplog):
    async def handler(_request):
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError("broken")

    async with run_guarded(app_of(handler), Settings()) as server:
        answer = await server.exchange(GET + GET)
    assert answer.count(b"HTTP/1.1 500 ") == 1
    assert b"Connection: close" in answer
    assert [record.exc_info[0] for record in caplog.records if record.levelno == logging.ERROR] == [ValueError]


@pytest.mark.parametrize("turns", range(3))
async def test_last_response_closes_the_connection(turns):
    async def handler(request):
        for _ in range(turns):
            await asyncio.sleep(0)
        response = web.Response(text="answer")
        if request.path == "/last":
            response.force_close()
        return response

    async with run_guarded(app_of(handler), Settings()) as server:
        reader, writer = await server.connect()
        writer.write(GET)
        await read_answer(reader)
        writer.write(GET.replace(b"/", b"/last", 1))
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"answer")
        writer.close()


async def test_requests_that_arrive_meanwhile_are_answered_in_order():
    async def handler(request):
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        return web.Response(text=request.path)

    async with run_guarded(app_of(handler), Settings()) as server:
        reader, writer = await server.connect()
        for number in range(5):
            writer.write(GET.replace(b"/ ", b"/%d " % number, 1))
            await asyncio.sleep(0.001)
        assert [(await read_answer(reader))[1] for _ in range(5)] == [b"/%d" % number for number in range(5)]
        writer.close()


async def test_stop_cancels_a_request_that_waits():
    ended = []

    async def handler(_request):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async with run_guarded(app_of(handler), Settings()) as server:
        _, writer = await server.connect()
        writer.write(GET)
        await asyncio.sleep(0.05)
        assert not ended
    assert ended == [True]


async def test_client_that_leaves_does_not_end_a_request_that_waits():
    ended = asyncio.Event()

    async def handler(_request):
        await asyncio.sleep(0.1)
        ended.set()
        return web.Response()

    async with run_guarded(app_of(handler), Settings()) as server:
        _, writer = await server.connect()
        writer.write(GET)
        await asyncio.sleep(0.02)
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)


async def test_call_returns_the_result_of_a_coroutine_that_waits_again_and_again():
    async def count():
        for number in range(3):
            await asyncio.sleep(0)
            await asyncio.sleep(0.001 * number)
        return "counted"

    call = Call(count())
    call.begin()
    assert not call.is_complete
    assert await call == "counted"
    assert call.has_result


async def test_call_raises_the_error_of_its_coroutine():
    async def fail():
        await asyncio.sleep(0)
        raise ValueError("broken")

    call = Call(fail())
    call.begin()
    with pytest.raises(ValueError, match="broken"):
        await call
    assert call.is_complete


async def test_cancelled_call_may_still_return_a_result():
    async def resist():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "resisted"

    call = Call(resist())
    call.begin()
    call.cancel()
    assert await call == "resisted"
    call.cancel()
    assert call.result() == "resisted"
