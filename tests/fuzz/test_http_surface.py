"""Whatever bytes come: no answer of 500 or above, OCI's words on every refusal, no header of a client's making.

The paths and methods are those of `docs/openapi.yaml`; the server is a process of its own behind a real socket.
"""

import json
import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.openapi import operations
from tests.support.processes import RegistryServer
from tests.support.token_keys import make_key

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

MARKER = "Injected"
KNOWN_HEADERS = frozenset(
    [
        "accept-ranges",
        "allow",
        "cache-control",
        "connection",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "docker-content-digest",
        "docker-distribution-api-version",
        "docker-upload-uuid",
        "etag",
        "keep-alive",
        "link",
        "location",
        "oci-filters-applied",
        "oci-subject",
        "oci-tag",
        "range",
        "retry-after",
        "server",
        "x-content-type-options",
        "vary",
        "www-authenticate",
        "x-docker-registry-standalone",
        "x-request-id",
    ]
)
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [ -~]*")
FIELD = re.compile(rb"([A-Za-z-]+): ([\t -~]*)")
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
FUZZ = settings(
    max_examples=200,
    deadline=None,
    # The server is one for all examples on purpose: what one of them breaks, the next ones meet.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# A body or a head that never ends must not hold up the run.
CONFIG = {"http": {"limits": {"bodytimeout": "300ms", "headertimeout": "300ms"}}, "log": {"level": "info"}}


@pytest.fixture(scope="module", params=["open", "token"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One without access control, and one whose challenges repeat the requested name."""
    folder = tmp_path_factory.mktemp("fuzzed")
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [make_key("ES256").as_dict(private=False, kid="one")]}))
    token = {"realm": "https://auth.example/token", "issuer": "i", "service": "s", "jwks": str(keys)}
    config = CONFIG | ({"auth": {"token": token}} if request.param == "token" else {})
    with RegistryServer(folder, folder / "storage", config=config) as running:
        yield running
        assert running.answers(), "the server lives on"
        assert "Traceback" not in running.log()


def exchange(server: RegistryServer, request: bytes) -> bytes:
    """Send bytes and return what comes back until the server closes, or is silent for longer than its limits."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as client:
        try:
            client.sendall(request)
            while chunk := client.recv(65536):
                answer += chunk
                if b"\r\nConnection: close\r\n" in answer and is_whole(answer):
                    break
        except (TimeoutError, ConnectionError):
            pass
    return answer


def split(answer: bytes) -> tuple[int, dict[str, str], bytes, bytes]:
    """Return status, headers, body and rest of the first response; anything unlike HTTP is an `AssertionError`."""
    head, separator, rest = answer.partition(b"\r\n\r\n")
    assert separator, answer
    line, *fields = head.split(b"\r\n")
    status = STATUS_LINE.fullmatch(line)
    assert status, line
    headers = {}
    for field in fields:
        found = FIELD.fullmatch(field)
        assert found, field
        headers[found[1].decode().lower()] = found[2].decode()
    length = int(headers.get("content-length", 0))
    return int(status[1]), headers, rest[:length], rest[length:]


def is_whole(answer: bytes) -> bool:
    try:
        _, headers, body, _ = split(answer)
    except AssertionError:
        return False
    return len(body) == int(headers.get("content-length", 0))


def check(answer: bytes, *, is_head: bool = False) -> None:
    """Check the invariants on the first response; none at all is a connection that was closed."""
    if not answer:
        return
    status, headers, body, rest = split(answer)
    if status == 100:
        check(rest, is_head=is_head)
        return
    assert status < 500, answer
    assert headers.keys() <= KNOWN_HEADERS, headers
    if status >= 400 and not is_head:
        assert headers["content-type"] == "application/json", answer
        errors = json.loads(body)["errors"]
        assert errors
        assert all({"code", "message"} <= error.keys() for error in errors)


injections = st.sampled_from(
    [
        f"%0d%0a{MARKER}:%20x",
        f"%0D%0A%0D%0A{MARKER}: x",
        f"%E5%98%8A%E5%98%8D{MARKER}:x",
        "%00",
        "%zz",
        "%",
        "%ff%fe",
        "..%2f..%2fetc%2fpasswd",
        "../../x",
        "%2e%2e",
        "a" * 300,
        "a/" * 200 + "a",
        "x" * 9000,
        "ﬀ",
        "\u202e",
        "sha256:" + "0" * 64,
        "sha256:" + "0" * 63,
        "sha512:" + "g" * 128,
        EMPTY,
        "latest",
        "a",
        "-1",
        "9" * 400,
    ]
)
words = st.one_of(injections, st.text(st.characters(exclude_characters=" \r\n\t\0\x0b\x0c"), min_size=1, max_size=30))
names = st.one_of(st.just("a"), st.just("a/b"), words)
header_names = st.sampled_from(
    [
        "Accept",
        "Authorization",
        "Content-Encoding",
        "Content-Range",
        "Content-Type",
        "Expect",
        "Forwarded",
        "If-Match",
        "If-None-Match",
        "If-Range",
        "Last-Event-ID",
        "Origin",
        "Range",
        "TE",
        "Trailer",
        "Upgrade",
        "User-Agent",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-Ip",
        "X-Request-Id",
        "Cookie",
        "Via",
        "Connection",
    ]
)
header_values = st.one_of(
    words,
    st.sampled_from(
        [
            "bytes=0-",
            "bytes=-0",
            "bytes=5-1",
            "bytes=0-0,2-3",
            "0-99999999999999999999",
            "100-continue",
            "websocket",
            "h2c",
            'for=1.2.3.4;host="a"b;proto=https',
            'for="[::1]:x',
            "::1%eth0",
            "1.2.3.4, , 5",
            "*",
            'W/"x"',
            "\x7f\x80\xff",
            "application/vnd.oci.image.manifest.v1+json",
            "application/json",
        ]
    ),
)
PARAMETERS = (
    *("n", "last", "digest", "mount", "from", "tag", "_state", "artifactType"),
    *("sort", "filter", "platform", "referrers", "q", "repository", "before", "since"),
)
bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=200),
    st.sampled_from(
        [
            *(b"{}", b"[]", b"null", b'{"schemaVersion": 2}', b'{"action": "restore"}', b'{"action": "replay"}'),
            *(b"[" * 5000, b'{"a":' * 5000, b"1e999", b'"\\ud800"'),
        ]
    ),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    path, method, _ = draw(st.sampled_from(list(operations())))
    values = {"name": names, "digest": st.one_of(st.just(EMPTY), words)}
    path = re.sub(r"\{(\w+)\}", lambda found: draw(values.get(found[1], words)), path)
    method = draw(st.one_of(st.just(method), st.sampled_from(["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X-Y"])))
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(PARAMETERS), words),
            max_size=3,
        )
    )
    query = "&".join(f"{key}={value}" for key, value in pairs)
    target = f"{path}?{query}" if pairs else path
    fields = draw(st.lists(st.tuples(header_names, header_values), max_size=4))
    body = draw(bodies)
    head = [f"{method} {target} HTTP/1.1", "Host: a", "Connection: close", *(f"{key}: {text}" for key, text in fields)]
    if draw(st.booleans()):
        head.append("Transfer-Encoding: chunked")
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    else:
        head.append(f"Content-Length: {len(body)}")
    return method, "\r\n".join(head).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


@FUZZ
@given(request=requests())
def test_well_framed_requests(server: RegistryServer, request: tuple[str, bytes]) -> None:
    method, content = request
    check(exchange(server, content), is_head=method == "HEAD")


TEMPLATES = (
    b"GET /v2/a/tags/list?n=1&last=x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%b"
    % b"3\r\nabc\r\n0\r\n\r\n",
)
FRAGMENTS = (
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\x0b",
    b" ",
    b"\t",
    b":",
    b"\xff",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length : 3\r\n",
    b"Content-Length: 1_0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Host: b\r\n",
    b"ffffffffffffffff\r\n",
    b"3;x=y\r\n",
    b"HTTP/0.9",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"http://b/v2/ ",
    b"//b/v2/ ",
    b"#",
    b"?" * 50,
    b"X" * 20_000,
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    content = draw(st.sampled_from(TEMPLATES))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 12)))
        content = content[:start] + draw(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=4))) + content[end:]
    return content


@FUZZ
@given(content=mutations())
@example(content=b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n")
@example(content=b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
@example(content=b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
@example(content=b"GET //etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
@example(content=b"GET /v2/ HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\r\n")
def test_broken_requests(server: RegistryServer, content: bytes) -> None:
    check(exchange(server, content))
