"""The access log: one line per request, named, without a secret."""

import io
import json
import logging
import re
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.upstream.memory import InMemoryUpstream
from config.logging import ACCESS_LOGGER, configure_logging
from config.settings import LogFormatter, LogSettings
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from entrypoints.http.connection.access_log import scrub_referer, scrub_uri
from entrypoints.http.request_names import trace_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Lines:
    """The lines of both logs."""

    def __init__(self) -> None:
        self.events, self.requests = io.StringIO(), io.StringIO()

    def of_requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.requests.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Both logs as JSON, in memory; what pytest had set up comes back."""
    loggers = [logging.getLogger(), logging.getLogger(ACCESS_LOGGER)]
    before = [(each, list(each.handlers), each.level, each.propagate) for each in loggers]
    lines = Lines()
    configure_logging(LogSettings(formatter=LogFormatter.JSON), stderr=lines.events, stdout=lines.requests)
    yield lines
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


async def ask(guarded, *requests: bytes) -> bytes:
    server = await guarded()
    return b"".join([await server.exchange(request) for request in requests])


def request_of(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: r.example.com", "Connection: close", *headers, "", ""]).encode()


async def test_line_names_the_local_repository(guarded, lines) -> None:
    hub = UpstreamRules(prefix="docker.io", default_namespace="library")
    server = await guarded(origins=Origins([(hub, InMemoryUpstream("docker.io"))]))
    await server.exchange(request_of("GET /v2/alpine/manifests/v1?ns=docker.io"))
    [line] = lines.of_requests()
    assert line["vars.name"] == "docker.io/library/alpine"
    assert line["http.request.uri"] == "/v2/alpine/manifests/v1?ns=docker.io"


async def test_line_has_the_fields_of_distribution(guarded, lines) -> None:
    headers = ("User-Agent: docker/27", "Referer: https://ui.example.com/page?token=hunter2", "Content-Type: a/b")
    await ask(guarded, request_of("GET /v2/team/app/manifests/v1", *headers))
    [line] = lines.of_requests()
    assert line.pop("time")
    assert 0 < line.pop("http.response.duration") < 10
    assert line.pop("http.response.written") > 0
    assert re.fullmatch(r"[0-9a-f-]{36}", line.pop("http.request.id"))
    assert line == {
        "level": "info",
        "msg": "GET /v2/team/app/manifests/v1 404",
        "http.request.method": "GET",
        "http.request.host": "r.example.com",
        "http.request.uri": "/v2/team/app/manifests/v1",
        "http.request.remoteaddr": "127.0.0.1",
        "http.request.useragent": "docker/27",
        "http.request.referer": "https://ui.example.com/page",
        "http.request.contenttype": "a/b",
        "http.version": "HTTP/1.1",
        "auth.user.name": "",
        "vars.name": "team/app",
        "vars.reference": "v1",
        "http.response.status": 404,
        "http.response.contenttype": "application/json",
        "err.code": "MANIFEST_UNKNOWN",
    }


async def test_record_has_the_attributes_of_all_records(guarded) -> None:
    """Handlers and formats of other packages read them."""
    keeper = BufferingHandler(capacity=100)
    logger = logging.getLogger(ACCESS_LOGGER)
    level, handlers = logger.level, list(logger.handlers)
    logger.setLevel(logging.INFO)
    logger.addHandler(keeper)
    try:
        await ask(guarded, request_of("GET /v2/"))
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    [record] = keeper.buffer
    usual = logging.makeLogRecord({})
    assert [name for name in vars(usual) if not hasattr(record, name)] == []
    assert record.getMessage() == "GET /v2/ 200"
    assert abs(record.created - usual.created) < 60
    assert abs(record.relativeCreated - usual.relativeCreated) < 60_000
    shown = "%(name)s %(levelname)s %(module)s %(lineno)d %(threadName)s %(process)s %(message)s"
    assert logging.Formatter(shown).format(record) == f"{ACCESS_LOGGER} INFO access_log 0 None None GET /v2/ 200"


async def test_parts_of_a_path_become_fields(guarded, lines) -> None:
    digest = "sha256:" + 64 * "0"
    await ask(guarded, request_of(f"GET /v2/a/blobs/{digest}"), request_of("GET /v2/a/blobs/uploads/some-session"))
    blob, upload = lines.of_requests()
    assert blob["vars.digest"] == digest
    assert upload["vars.uuid"] == "some-session"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_not_in_the_access_log(guarded, lines, path) -> None:
    assert await ask(guarded, request_of(f"GET {path}"))
    assert lines.of_requests() == []


async def test_request_id_and_trace_are_accepted_returned_and_logged(guarded, lines) -> None:
    headers = ("X-Request-Id: from-proxy-1", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01")
    answer = await ask(guarded, request_of("GET /v2/a/manifests/v1", *headers))
    assert b"\r\nX-Request-Id: from-proxy-1\r\n" in answer
    [line] = lines.of_requests()
    assert (line["http.request.id"], line["trace_id"]) == ("from-proxy-1", TRACE)


@pytest.mark.parametrize("supplied", ["x" * 129, "a b", 'a"b', "a\tb", "a\\nb", "ä", ""])
async def test_invalid_request_id_is_replaced(guarded, lines, supplied) -> None:
    answer = await ask(guarded, request_of("GET /v2/", f"X-Request-Id: {supplied}"))
    [sent] = re.findall(rb"\r\nX-Request-Id: ([0-9a-f-]{36})\r\n", answer)
    assert lines.of_requests()[0]["http.request.id"] == sent.decode()


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"01-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", ""),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""),
        ("", ""),
    ],
)
def test_trace_header_is_parsed_as_w3c_defines(traceparent, trace) -> None:
    assert trace_of(traceparent) == trace


@pytest.mark.fastpath_only
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v2/ HTTP/9.9\r\n\r\n",
        b"GET / v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nBad Header: Basic aHVudGVyMg==\r\n\r\n",
        b"GET /v2/" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " + b"hunter2" * 5_000 + b"\r\n\r\n",
        b"PUT /v2/a/manifests/b HTTP/1.1\r\nHost: a\r\nExpect: nothing\r\nConnection: close\r\n\r\n",
    ],
    ids=["version", "line", "header", "long url", "long header", "expect"],
)
async def test_malformed_request_has_an_id_and_one_line(guarded, lines, request_bytes) -> None:
    answer = await ask(guarded, request_bytes)
    [sent] = re.findall(rb"\r\nX-Request-Id: (\S+)\r\n", answer)
    [line] = lines.of_requests()
    assert line["http.request.id"] == sent.decode()
    assert line["http.response.status"] == int(answer.split()[1])
    for said in (lines.events.getvalue(), lines.requests.getvalue()):
        assert "hunter2" not in said
        assert "aHVudGVyMg" not in said


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/v2/a/blobs/uploads/u?_state=abc&digest=sha256:0", "/v2/a/blobs/uploads/u?_state=…&digest=sha256:0"),
        ("/v2/_catalog?n=5&last=a/b", "/v2/_catalog?n=5&last=a/b"),
        ("/v2/a/_sohu/registry/tags?sort=-size&token=x", "/v2/a/_sohu/registry/tags?sort=-size&token=…"),
        ("/v2/?access_token=x", "/v2/?access_token=…"),
        ("/v2/?%5Fstate=x&_stat%65=y&N=3", "/v2/?…&…&N=…"),
        ("/v2/?hunter2", "/v2/?…"),
        ("/v2/?=hunter2", "/v2/?…"),
        ("/v2/?n=1?password=hunter2", "/v2/?n=1?password=hunter2"),
        ("/v2/", "/v2/"),
        ("/v2/?", "/v2/"),
        ("/ui/_callback?code=abc&state=xyz", "/ui/_callback?code=…&state=…"),
    ],
)
def test_values_of_unknown_parameters_are_hidden(uri, shown) -> None:
    assert scrub_uri(uri) == shown


@given(
    name=st.text(st.characters(codec="ascii", exclude_characters="&=?# "), max_size=20),
    before=st.sampled_from(["", "n=1&", "digest=sha256:00&", "&&", "=&"]),
    after=st.sampled_from(["", "&n=2", "&", "&tag=v1"]),
)
def test_secrets_are_hidden_in_every_spelling(name, before, after) -> None:
    shown = {
        "artifactType",
        "before",
        "digest",
        "digest-algorithm",
        "filter",
        "from",
        "last",
        "mount",
        "n",
        "ns",
        "platform",
        "q",
        "referrers",
        "scope",
        "service",
        "since",
        "sort",
        "tag",
    }
    if name not in shown:
        assert "hunter2" not in scrub_uri(f"/v2/?{before}{name}=hunter2{after}")


@pytest.mark.parametrize(
    ("referer", "shown"),
    [
        ("https://ui.example.com/a?token=x#y", "https://ui.example.com/a"),
        ("https://alice:hunter2@ui.example.com/a", "https://ui.example.com/a"),
        ("https://ui.example.com/a#access_token=x", "https://ui.example.com/a"),
        ("", ""),
    ],
)
def test_secrets_are_removed_from_referers(referer, shown) -> None:
    assert scrub_referer(referer) == shown
