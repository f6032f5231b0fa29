"""The framing of chunked bodies, against aiohttp's parser."""

import asyncio
import random

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web_protocol import RequestPayloadError

from entrypoints.http.connection.chunks import ChunkedFraming
from tests.support.streams import payload

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(*pieces, line=b"%x\r\n"):
    return b"".join(line % len(piece) + piece + b"\r\n" for piece in pieces)


def follow(raw, cuts=()):
    """Return the data that was followed, and the framing."""
    framing, data = ChunkedFraming(), b""
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        if framing.is_over:
            # The owner of the socket reads no more; the rest of it is for the parser.
            if framing.rest is not None:
                framing.rest += raw[start:end]
            continue
        piece = raw[start:end]
        data += b"".join(piece[first:last] for first, last in framing.follow(piece))
    assert framing.data_bytes == len(data)
    return data, framing


async def parse(raw, cuts=()):
    """Return what aiohttp makes of a body: its data, whether it ended, whether it was refused."""
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 2**16, payload_exception=RequestPayloadError, auto_decompress=False
    )
    ((_, content),) = parser.feed_data(HEAD)[0]
    parser.message_consumed()
    is_refused = False
    try:
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            parser.feed_data(raw[start:end])
    except BadHttpMessage:
        is_refused = True
    is_refused = is_refused or content.exception() is not None
    data = b"".join(content._buffer)  # noqa: SLF001 - reading it would raise
    return data, content.is_eof() and not is_refused, is_refused


@pytest.mark.parametrize("cut", range(1, 40))
def test_plain_chunks_are_followed_wherever_they_are_cut(cut):
    raw = framed(b"hello", b"x" * 20, b"\r\n\r\n0\r\n") + b"0\r\n\r\nGET"
    data, framing = follow(raw, [cut])
    assert data == b"hello" + b"x" * 20 + b"\r\n\r\n0\r\n"
    assert (framing.rest, framing.is_broken) == (b"0\r\n\r\nGET", False)


def test_unfinished_body_is_still_followed():
    for end in range(len(framed(b"hello")) + 3):
        data, framing = follow((framed(b"hello") + b"0\r\n")[:end])
        assert not framing.is_over
        assert b"hello".startswith(data)


@pytest.mark.parametrize(
    "line",
    [
        b"5;a=b\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"5_0\r\n",
        b"5\n",
        b"5\r5",
        b"\r\n",
        b"g\r\n",
        b"0" * 16,
    ],
)
def test_other_lines_are_for_the_parser(line):
    rest = line + b"hello\r\n0\r\n\r\n"
    data, framing = follow(rest)
    assert (data, framing.rest, framing.is_broken) == (b"", rest, False)
    data, framing = follow(framed(b"first") + rest)
    assert (data, framing.rest, framing.is_broken) == (b"first", rest, False)


@pytest.mark.parametrize("end", [b"x\r\n", b"\n", b"\r\r\n", b"5\r\n"])
def test_chunk_longer_than_its_size_is_broken(end):
    data, framing = follow(b"5\r\nhello" + end + b"0\r\n\r\n" + b"x" * 30)
    assert (data, framing.rest, framing.is_broken) == (b"hello", None, True)


def damaged(numbers, raw):
    """Return the bytes with a few changes that matter to framing."""
    raw = bytearray(raw)
    for _ in range(numbers.choice([0, 0, 0, 1, 1, 2])):
        at = numbers.randrange(len(raw) + 1)
        change = numbers.choice([b"", b"\r", b"\n", b"0", b";", b" ", b"a", b"\r\n", b"-", b"\x00", b"\xff", b":"])
        raw[at : at + numbers.choice([0, 1, 2])] = change
    return bytes(raw)


@pytest.mark.parametrize("part", range(4))
async def test_followed_and_parsed_bodies_are_the_same(part):
    """aiohttp's parser finds the same data and the same end, also if it sees only the rest."""
    for seed in range(500 * part, 500 * part + 500):
        numbers = random.Random(seed)
        pieces = [payload(numbers.choice([1, 2, 9, 16, 100, 300]), seed=seed) for _ in range(numbers.randrange(5))]
        line = numbers.choice([b"%x\r\n", b"%X\r\n", b"%04x\r\n", b"%x;e=f\r\n"])
        last = numbers.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"000\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b""])
        raw = damaged(numbers, framed(*pieces, line=line) + last + b" ") + b" "
        cuts = sorted(numbers.sample(range(1, len(raw)), min(len(raw) - 1, numbers.randrange(6))))
        expected = await parse(raw, cuts)
        data, framing = follow(raw, cuts)
        if framing.rest is None:
            assert (seed, data, framing.is_broken) == (seed, expected[0], expected[2])
        else:
            rest, *ending = await parse(framing.rest)
            assert (seed, data + rest, *ending) == (seed, *expected)
