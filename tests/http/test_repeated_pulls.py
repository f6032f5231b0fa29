"""Repeated pulls of manifests get the answers and lines that they get from all steps of the application."""

import asyncio
import re
from itertools import count
from typing import Any

import pytest

from config.settings import Settings
from core.model.digest import Digest
from entrypoints.http.connection.fastpath import recall
from entrypoints.http.connection.fastpath.recall import Recollection
from tests.http.conftest import open_app
from tests.support.core_services import CoreServices
from tests.support.guarded_server import over_tls
from tests.support.repeated_pulls import (
    ACCEPT,
    BLOB,
    BLOB_PATH,
    DIGEST,
    FIRST,
    HOST,
    LARGE_BLOB,
    PATHS,
    PULL,
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


REPEATABLE = {
    "get": head_of(f"GET {TAG_PATH}", HOST),
    "head": head_of(f"HEAD {TAG_PATH}", HOST),
    "get by digest": head_of(f"GET {PATHS[1]}", HOST),
    "head by digest": head_of(f"HEAD {PATHS[1]}", HOST),
    "blob": head_of(f"GET {BLOB_PATH}", HOST),
    "head of a blob": head_of(f"HEAD {BLOB_PATH}", HOST),
    "head of a large blob": head_of(f"HEAD /v2/team/app/blobs/{Digest.of(LARGE_BLOB)}", HOST),
    "as containerd": head_of(f"HEAD {TAG_PATH}", HOST, "User-Agent: containerd/2.0", ACCEPT, "Accept-Encoding: gzip"),
    "two accepted types": head_of(f"GET {TAG_PATH}", HOST, ACCEPT, "Accept: a/b"),
    "lower-case names": head_of(f"GET {TAG_PATH}", HOST.lower(), "user-agent: x"),
    "kept alive": head_of(f"GET {TAG_PATH}", HOST, "Connection: keep-alive"),
    "encoded path": head_of("GET /v2/team%2Fapp/manifests/%76%31", HOST),
    "trailing slash": head_of(f"GET {TAG_PATH}/", HOST),
    "empty query": head_of(f"GET {TAG_PATH}?", HOST),
    "host with %": head_of(f"GET {TAG_PATH}", "Host: %b%s"),
    "agent with quotes": head_of(f"GET {TAG_PATH}", HOST, 'User-Agent: "x" %s \\ é'),
    "line before the head": b"\r\n" + head_of(f"GET {TAG_PATH}", HOST),
    "absolute form": head_of(f"GET http://other.example.com{TAG_PATH}", HOST),
    "as large as remembered": head_of(f"GET {TAG_PATH}", HOST, "User-Agent: " + "x" * 900),
}
_OTHER = "GET /v2/team/app/manifests/v1"
NOT_REPEATABLE = {
    "unknown tag": head_of("GET /v2/team/app/manifests/v9", HOST),
    "unknown repository": head_of("GET /v2/team/other/manifests/v1", HOST),
    "invalid name": head_of("GET /v2/TEAM/app/manifests/v1", HOST),
    "invalid tag": head_of("GET /v2/team/app/manifests/%20", HOST),
    "unknown blob": head_of(f"GET /v2/team/app/blobs/{DIGEST}", HOST),
    "head of an unknown blob": head_of(f"HEAD /v2/team/app/blobs/{DIGEST}", HOST),
    "large blob": head_of(f"GET /v2/team/app/blobs/{Digest.of(LARGE_BLOB)}", HOST),
    "range of a blob": head_of(f"GET {BLOB_PATH}", HOST, "Range: bytes=0-3"),
    "held blob": head_of(f"GET {BLOB_PATH}", HOST, f'If-None-Match: "{Digest.of(BLOB)}"'),
    "root of the API": head_of("GET /v2/", HOST),
    "tags": head_of("GET /v2/team/app/tags/list", HOST),
    "delete": head_of("DELETE /v2/team/app/manifests/v1", HOST),
    "put without a body": head_of("PUT /v2/team/app/manifests/v1", HOST, "Content-Length: 0"),
    "put with a body": head_of("PUT /v2/team/app/manifests/v1", HOST, "Content-Length: 2") + b"{}",
    "get with a body": head_of(_OTHER, HOST, "Content-Length: 2") + b"{}",
    "get with the end of a head as body": head_of(_OTHER, HOST, "Content-Length: 4") + b"\r\n\r\n",
    "get with chunks": head_of(_OTHER, HOST, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "options": head_of("OPTIONS /v2/team/app/manifests/v1", HOST),
    "post": head_of("POST /v2/team/app/manifests/v1", HOST),
    "query": head_of(f"{_OTHER}?ns=docker.io", HOST),
    "two slashes": head_of("GET //v2/team/app/manifests/v1", HOST),
    "held": head_of(_OTHER, HOST, f'If-None-Match: "{DIGEST}"'),
    "not held": head_of(_OTHER, HOST, 'If-None-Match: "other"'),
    "range": head_of(_OTHER, HOST, "Range: bytes=0-1"),
    "id": head_of(_OTHER, HOST, "X-Request-Id: from-client"),
    "trace": head_of(_OTHER, HOST, f"traceparent: 00-{'1' * 32}-{'1' * 16}-01"),
    "credentials": head_of(_OTHER, HOST, "Authorization: Basic YTpi"),
    "forwarded": head_of(_OTHER, HOST, "X-Forwarded-For: 192.0.2.1"),
    "origin": head_of(_OTHER, HOST, "Origin: https://a.example.com"),
    "unknown field": head_of(_OTHER, HOST, "X-Other: 1"),
    "upgrade": head_of(_OTHER, HOST, "Connection: upgrade", "Upgrade: h2c"),
    "expectation": head_of(_OTHER, HOST, "Expect: nothing"),
    "too large to remember": head_of(_OTHER, HOST, "User-Agent: " + "x" * 1000),
    "last": head_of(_OTHER, HOST, "Connection: close"),
    "HTTP/1.0": head_of(_OTHER, HOST).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0 kept alive": head_of(_OTHER, HOST, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/2": head_of(_OTHER, HOST).replace(b"HTTP/1.1", b"HTTP/2.0"),
    "no host": head_of(_OTHER),
    "two hosts": head_of(_OTHER, HOST, HOST),
    "malformed name": head_of(_OTHER, HOST, "Bad Field: x"),
    "folded line": head_of(_OTHER, HOST, "User-Agent: a", " b"),
    "bare newlines": head_of(_OTHER, HOST).replace(b"\r\n", b"\n") + b"\r\n\r\n",
    "control character": head_of(_OTHER, HOST, "User-Agent: a\x01"),
    "connect": head_of("CONNECT a:1", HOST),
    "no method": b" /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": head_of(_OTHER, HOST, "Content-Length: 0", "Content-Length: 1"),
}


async def transcript(request: bytes, *, repeats: bool) -> tuple[list[bytes], list[bool]]:
    """Return the answers to one request that is sent several times, and which of them a repeater gave."""
    services = await fill(CoreServices())
    async with serving(open_app(services, Settings()), repeats=repeats) as (counting, connect):
        conversation = await connect()
        answers = []
        for _ in range(5):
            answers.append(await conversation.ask(request))
            if not answers[-1] or conversation.reader.at_eof():
                break
        conversation.writer.close()
    return answers, counting.answered


@pytest.mark.parametrize("request_bytes", [pytest.param(each, id=key) for key, each in REPEATABLE.items()])
async def test_repeated_request_gets_the_same_answer(lines, request_bytes):
    wanted, _ = await transcript(request_bytes, repeats=False)
    wanted_lines = lines()
    answers, repeated = await transcript(request_bytes, repeats=True)
    assert answers == wanted
    assert answers[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert lines() == wanted_lines
    assert repeated == [True] * 3


@pytest.mark.parametrize("request_bytes", [pytest.param(each, id=key) for key, each in NOT_REPEATABLE.items()])
async def test_any_other_request_takes_all_steps(lines, request_bytes):
    wanted, _ = await transcript(request_bytes, repeats=False)
    wanted_lines = lines()
    answers, repeated = await transcript(request_bytes, repeats=True)
    assert answers == wanted
    assert lines() == wanted_lines
    assert repeated == []


async def test_each_redirect_has_its_own_url(services, monkeypatch):
    urls = count()

    async def redirect_url(_self, _key, *, method):
        return f"https://store.example.com/{method}?signature=%25{next(urls)}"

    monkeypatch.setattr(type(services.storage), "redirect_url", redirect_url)
    async with serving(open_app(services, Settings())) as (counting, connect):
        conversation = await connect()
        answers = [await conversation.ask(head_of(f"GET {BLOB_PATH}", HOST)) for _ in range(4)]
    assert answers[0].startswith(b"HTTP/1.1 307 Temporary Redirect\r\n")
    assert b"\r\nLocation: https://store.example.com/GET?signature=%250\r\n" in answers[0]
    for number, answer in enumerate(answers):
        assert answer == answers[0].replace(b"%250\r", b"%%25%d\r" % number)
    assert counting.answered == [True, True]


async def test_answers_over_tls_are_the_same(services, tmp_path):
    tls: dict[str, Any] = over_tls(tmp_path)
    async with serving(open_app(services, Settings()), **tls) as (counting, connect):
        conversation = await connect()
        answers = [await conversation.ask(PULL) for _ in range(4)]
    assert len(set(answers)) == 1
    assert counting.answered == [True, True]


async def test_each_answer_has_its_own_id(services):
    async with serving(open_app(services, Settings())) as (counting, connect):
        conversation = await connect()
        ids = set()
        for _ in range(6):
            conversation.writer.write(PULL)
            head = await conversation.reader.readuntil(b"\r\n\r\n")
            await conversation.reader.readexactly(len(FIRST))
            ids.update(re.findall(rb"X-Request-Id: ([0-9a-f-]{36})\r\n", head))
            [date] = re.findall(rb"Date: ([^\r]*)\r\n", head)
            assert re.fullmatch(rb"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert len(ids) == 6
    assert counting.answered == [True] * 4


@pytest.mark.parametrize("size", range(1, len(PULL) - 6, 7))
async def test_head_in_two_pieces_is_parsed(services, size):
    async with serving(open_app(services, Settings())) as (counting, connect):
        conversation = await connect()
        for _ in range(3):
            await conversation.ask(PULL)
        for _ in range(3):
            conversation.writer.write(PULL[:size])
            await asyncio.sleep(0.005)
            assert (await conversation.ask(PULL[size:])).endswith(FIRST)
        # The end of a head alone is no head.
        assert (await conversation.ask(PULL)).endswith(FIRST)
        assert counting.answered == [True, True]
        assert not (await conversation.ask(PULL[size:])).startswith(b"HTTP/1.1 200 ")


async def test_head_after_a_part_of_another_is_not_recognized(services):
    async with serving(open_app(services, Settings())) as (counting, connect):
        conversation = await connect()
        for _ in range(3):
            await conversation.ask(PULL)
        conversation.writer.write(b"PUT /v2/team/app/manifests/v1 HTTP/1.1\r\nX-Part: ")
        await asyncio.sleep(0.005)
        assert (await conversation.ask(PULL)).startswith(b"HTTP/1.1 400 ")
    assert counting.answered == [True]


async def test_body_that_looks_like_a_head_is_a_body(services):
    async with serving(open_app(services, Settings())) as (counting, connect):
        conversation = await connect()
        for _ in range(3):
            await conversation.ask(PULL)
        head = head_of("POST /v2/team/app/blobs/uploads/?digest=sha256:00", HOST, f"Content-Length: {len(PULL)}")
        conversation.writer.write(head)
        await asyncio.sleep(0.005)
        assert (await conversation.ask(PULL)).startswith(b"HTTP/1.1 400 ")
    assert counting.answered == [True]


async def test_number_of_remembered_heads_is_bounded(services, monkeypatch):
    monkeypatch.setattr(recall, "HEADS_MAX", 3)
    monkeypatch.setattr(recall, "_NEW_MAX", 4)
    kept: list[Recollection] = []
    begin = Recollection.__init__

    def note(self, repeater):
        begin(self, repeater)
        kept.append(self)

    monkeypatch.setattr(Recollection, "__init__", note)
    async with serving(open_app(services, Settings())) as (_, connect):
        conversation = await connect()
        for number in range(10):
            for _ in range(3):
                request = head_of(f"GET {TAG_PATH}", HOST, f"User-Agent: {number}")
                assert (await conversation.ask(request)).endswith(FIRST)
    assert [len(each) for each in kept] == [3]
