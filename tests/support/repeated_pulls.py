"""Repeated pulls over raw connections: a server that counts them, and its content."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from logging.handlers import BufferingHandler
from typing import Any

from aiohttp import web
from typing_extensions import override

from config.logging import ACCESS_LOGGER
from config.settings import Settings
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from entrypoints.http.connection.repeating import REPEATER, Answer, Repeater
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices
from tests.support.guarded_server import run_guarded

NAME = RepositoryName("team/app")
FIRST, SECOND = image_manifest(), image_manifest(annotations={"a": "b"})
DIGEST = Digest.of(FIRST)
BLOB, LARGE_BLOB = b"content of a blob", bytes(300_000)
BLOB_PATH = f"/v2/{NAME}/blobs/{Digest.of(BLOB)}"
TAG_PATH = "/v2/team/app/manifests/v1"
PATHS = [TAG_PATH, f"/v2/team/app/manifests/{DIGEST}"]
HOST = "Host: registry.example.com:5000"
ACCEPT = f"Accept: {OCI_MANIFEST}, */*"


def head_of(line: str, *headers: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join([f"{line} HTTP/1.1", *headers, "", ""]).encode("latin-1")


PULL = head_of(f"GET {TAG_PATH}", HOST)


class CountingRepeater(Repeater):
    """Counts which requests are answered by a repeater."""

    def __init__(self, inner: Repeater) -> None:
        self.in_flight = inner.in_flight
        self.answered: list[bool] = []
        self._inner = inner

    @override
    def learn(self, *arguments: Any) -> Any:
        return self._inner.learn(*arguments)

    @override
    async def answer(self, *arguments: Any) -> Answer | None:
        answer = await self._inner.answer(*arguments)
        self.answered.append(answer is not None)
        return answer


class Conversation:
    """A connection on which requests are sent one after another."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    async def ask(self, request: bytes) -> bytes:
        """Send a request; return the answer, without the values that differ each time, or b"" at the end."""
        self.writer.write(request)
        return await self.read_answer(has_body=not request.lstrip().startswith(b"HEAD"))

    async def read_answer(self, *, has_body: bool = True) -> bytes:
        """Return the next answer, as `ask` does."""
        try:
            head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            body = await self.reader.readexactly(int(length[1])) if length and has_body else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        return re.sub(rb"\r\n(Date: |X-Request-Id: )[^\r]*", rb"\r\n\1", head) + body


@asynccontextmanager
async def serving(
    app: web.Application, settings: Settings | None = None, *, repeats: bool = True, **options: Any
) -> AsyncIterator[tuple[CountingRepeater, Callable[[], Awaitable[Conversation]]]]:
    """Serve an application; yield a repeater that counts, and a function that connects."""
    repeater = app[REPEATER]
    if repeater is None:
        raise ValueError("no requests are repeated")
    counting = CountingRepeater(repeater)
    app[REPEATER] = counting if repeats else None
    async with run_guarded(app, settings or Settings(), **options) as server:

        async def connect() -> Conversation:
            conversation = Conversation(await server.connect())
            # After this answer, the task of the connection waits for requests.
            await conversation.ask(head_of("GET /v2/", HOST))
            return conversation

        yield counting, connect


async def fill(services: CoreServices) -> CoreServices:
    """Push two images with the tags `v1` and `v2`, and blobs."""
    for content in (b"{}", BLOB, LARGE_BLOB):
        await services.push_blob(NAME, content)
    for content, tags in ((FIRST, ["v1"]), (SECOND, ["v2"])):
        await services.manifests.put(NAME, content, OCI_MANIFEST, tags=[Tag(tag) for tag in tags])
    return services


@contextmanager
def access_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Yield a function that returns the fields of all new lines of the access log, without those that differ."""
    keeper = BufferingHandler(capacity=10_000)
    logger = logging.getLogger(ACCESS_LOGGER)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(keeper)

    def take() -> list[dict[str, Any]]:
        records, keeper.buffer = keeper.buffer, []
        usual = {*vars(logging.makeLogRecord({})), "http.request.id", "http.response.duration", "message"}
        for record in records:
            assert vars(record)["http.response.duration"] >= 0
            assert re.fullmatch(r"[0-9A-Za-z-]+", vars(record)["http.request.id"])
        return [
            {"msg": record.getMessage(), **{key: value for key, value in vars(record).items() if key not in usual}}
            for record in records
        ]

    yield take
    logger.removeHandler(keeper)
    logger.setLevel(before)
