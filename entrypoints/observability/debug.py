"""Debug address (`http.debug.addr`): health, metrics, profiles and stacks, for operators.

The address has no authentication and no TLS, as in distribution, so it must not be reachable by clients. The responses
contain no configuration, no environment, no header and no name that a client chose. Profiles, which slow a worker down,
and stacks are served to clients on the same machine only, even if the address is reachable from other machines for its
metrics.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from core.ports.metrics import Metrics
from entrypoints.observability.health import Health
from entrypoints.observability.peers import Peers, WorkerSilentError
from entrypoints.observability.profiling import (
    SECONDS_MAX,
    Profiler,
    ProfilerBusyError,
    as_pstats,
    as_text,
)
from entrypoints.observability.reach import is_public
from entrypoints.observability.stacks import dump_stacks

PROFILE_SECONDS: Final = 10.0
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def public_app(
    health: Health, probes: Mapping[str, Answer], peers: Peers, metrics: Metrics | None, *, metrics_path: str
) -> web.Application:
    """Build the application for the debug address; all workers serve the same one.

    Args:
        health: served at `/debug/health`.
        probes: further handlers, by path.
        peers: the workers.
        metrics: None if metrics are disabled.
        metrics_path: path of the metrics.
    """
    handlers: dict[str, Answer] = {
        "/debug/health": health.answer,
        **probes,
        "/debug/profile": _on_this_machine(_profile_of(peers)),
        "/debug/stacks": _on_this_machine(_stacks_of(peers)),
    }
    # Paths of Go's net/http/pprof, where Go users look first.
    handlers["/debug/pprof/profile"] = handlers["/debug/profile"]
    handlers["/debug/pprof/goroutine"] = handlers["/debug/stacks"]
    if metrics is not None:
        handlers[metrics_path] = _metrics_of(metrics)
    return _app(handlers)


def private_app() -> web.Application:
    """Build the application in which a worker reports on itself, on a socket private to the server's processes."""
    profiler = Profiler()

    async def profile(request: web.Request) -> web.Response:
        seconds = float(request.query.get("seconds", PROFILE_SECONDS))
        try:
            taken = await profiler.profile(seconds)
        except ProfilerBusyError:
            return web.Response(status=409, text="a profile is already in progress\n")
        if request.query.get("format") == "pstats":
            return web.Response(body=as_pstats(taken), content_type="application/octet-stream")
        return web.Response(text=as_text(taken))

    async def stacks(_request: web.Request) -> web.Response:
        return web.Response(text=dump_stacks())

    return _app({"/profile": profile, "/stacks": stacks})


def _app(handlers: Mapping[str, Answer]) -> web.Application:
    async def answer(request: web.Request) -> web.StreamResponse:
        handler = handlers.get(request.path)
        if handler is None or request.method not in {"GET", "HEAD"}:
            return web.Response(status=404, text="404 page not found\n")
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def _on_this_machine(answer: Answer) -> Answer:
    """Return a handler that rejects clients on other machines.

    Clients of `kubectl port-forward` connect from the local machine and are accepted.
    """

    async def checked(request: web.Request) -> web.StreamResponse:
        if request.remote and is_public(f"[{request.remote}]:0"):
            text = "profiles and stacks are available on this machine only: log in, or use kubectl port-forward\n"
            return web.Response(status=403, text=text)
        return await answer(request)

    return checked


def _metrics_of(metrics: Metrics) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        # In a thread: rendering reads the files of all workers, and must not block other requests.
        body, media_type = await asyncio.to_thread(metrics.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": media_type})

    return answer


def _profile_of(peers: Peers) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        try:
            worker = int(request.query.get("worker", 0))
            seconds = float(request.query.get("seconds", PROFILE_SECONDS))
        except ValueError:
            return web.Response(status=400, text="seconds and worker must be numbers\n")
        if worker not in peers.numbers or not 0 < seconds <= SECONDS_MAX:
            text = f"worker must be from 0 to {peers.numbers[-1]}, seconds above 0 and up to {SECONDS_MAX:g}\n"
            return web.Response(status=400, text=text)
        try:
            return await peers.profile(worker, request.query_string, seconds)
        except WorkerSilentError as error:
            return web.Response(status=503, text=f"{error}; see /debug/stacks?worker={worker}\n")

    return answer


def _stacks_of(peers: Peers) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        chosen = request.query.get("worker")
        if chosen is not None and (not chosen.isdecimal() or int(chosen) not in peers.numbers):
            return web.Response(status=400, text=f"worker must be from 0 to {peers.numbers[-1]}\n")
        numbers = peers.numbers if chosen is None else [int(chosen)]
        parts = [f"=== worker {number}\n{await peers.stacks(number)}" for number in numbers]
        return web.Response(text="\n".join(parts))

    return answer
