"""Requests as bytes: what never reaches the application is refused in OCI's words, and the server lives on."""

import json
import logging

import pytest

from tests.support.guarded_server import with_limits

HOST = b"Host: a\r\n"


def parse(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return int(status.split()[1]), headers, body


async def refusal(server, request):
    status, headers, body = parse(await server.exchange(request))
    assert headers["Content-Type"] == "application/json"
    [error] = json.loads(body)["errors"]
    assert error["code"] == "UNSUPPORTED"
    return status, headers, error["message"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v2/\r\n\r\n",
        b"GET /v2/:HTTP/1.1\r\n" + HOST + b"\r\n",
        b"get /v2/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"G\xc3\x89T /v2/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /v2/ HTTP/3.0\r\n" + HOST + b"\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\n" + HOST + b"\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\nhello",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_malformed_request_is_an_enveloped_400(guarded, request_bytes):
    server = await guarded()
    status, headers, message = await refusal(server, request_bytes)
    assert (status, message) == (400, "malformed request")
    assert headers["Connection"] == "close"
    assert b" 200 " in await server.exchange(b"GET /v2/ HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("limits", [{}, {"url_bytes": 4096, "header_bytes": 8192}])
async def test_sizes_have_statuses_of_their_own(guarded, limits):
    server = await guarded(with_limits(**limits))
    long = b"x" * 17000
    too_long = await refusal(server, b"GET /v2/" + long + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (too_long[0], too_long[2]) == (414, "URL too long")
    for field in (b"X: " + long, long + b": x"):
        too_large = await refusal(server, b"GET /v2/ HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n")
        assert (too_large[0], too_large[2]) == (431, "header field too large")
    too_many = await refusal(server, b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n")
    assert (too_many[0], too_many[2]) == (431, "too many header fields")


async def test_smuggled_request_is_not_answered(guarded):
    server = await guarded()
    smuggled = b"DELETE /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\n\r\n"
    request = b"POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    answer = await server.exchange(request + smuggled)
    assert answer.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("chunk", [b"zz\r\nhello\r\n", b"5\r\nhelloworld\r\n", b"-5\r\nhello\r\n", b"5\nhello\n"])
async def test_broken_chunks_are_an_enveloped_400(guarded, chunk):
    server = await guarded()
    head = b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, _ = await refusal(server, head + chunk)
    assert status == 400


async def test_expectations_are_met_or_refused(guarded):
    server = await guarded()
    head = b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: %b\r\n\r\nx"
    assert (await server.exchange(head % b"100-continue")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")
    assert (await refusal(server, head % b"tea"))[0] == 417
    assert (await refusal(server, (head % b"tea").replace(b"/x", b"/%0a")))[0] == 417
    old = b"GET /v2/ HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"
    assert (await server.exchange(old)).startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/%0aX:y/tags/list",
        b"/v2/%0d%0aSet-Cookie:x/tags/list",
        b"/v2/%00/tags/list",
        b"/v2/%ff%fe/manifests/%c0%80",
        b"*",
    ],
)
async def test_encoded_control_characters_reach_no_header(guarded, target):
    server = await guarded()
    for method in (b"GET", b"OPTIONS", b"DELETE", b"CONNECT"):
        answer = await server.exchange(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"\r\nSet-Cookie" not in answer
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200 OK", b"HTTP/1.0 400"))


async def test_log_line_cannot_be_forged(guarded, caplog):
    caplog.set_level(logging.INFO)
    server = await guarded()
    await server.exchange(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX\x01y: forged\r\n\r\n")
    [record] = [each for each in caplog.records if "malformed" in each.message]
    assert "\n" not in record.message
