"""A real server logs no secrets, wherever a request contains them."""

import base64
import http.client
import json
import random
import re
import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bcrypt
import pytest

from tests.support.catalogs import wait_until
from tests.support.oci import digest_of, make_image
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

pytestmark = pytest.mark.e2e

CANARY = "c4n4ry"
PARAMETERS = ("access_token", "token", "password", "X-Amz-Signature", "_state", "sig", "%5fstate", "client_secret")
HEADERS = (
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "X-Api-Key",
    "X-Registry-Auth",
    "X-Forwarded-Access-Token",
    "traceparent",
    "If-Range",
    "Range",
    "Content-Range",
    "Expect",
    "Transfer-Encoding",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = (
    "/",
    "/v2/",
    "/v2/_catalog",
    "/v2/team/app/tags/list",
    "/v2/team/app/manifests/v1",
    "/v2/team/app/blobs/uploads/",
    "/v2/team/app/blobs/uploads/some-session",
    "/v2/team/app/blobs/sha256:00",
    "/auth/token",
    "/no/such/thing",
)


def canary() -> str:
    return f"{CANARY}{random.randrange(10**6)}"


def forms_of(secret: str) -> list[str]:
    """A secret as clients send it: plain, as Basic credentials, quoted, broken."""
    basic = base64.b64encode(f"alice:{secret}".encode()).decode()
    return [
        secret,
        f"Basic {basic}",
        f"Bearer {secret}.{secret}.{secret}",
        quote(f'"{secret}"'),
        f"Basic {secret}\t{secret}",
    ]


def has_canary(text: str) -> bool:
    """Whether a canary is in a text, as it is or in Base64 at any of the three alignments."""
    encoded = [base64.b64encode(b"x" * shift + CANARY.encode())[4 if shift else 0 : -4].decode() for shift in range(3)]
    return CANARY in text or any(each in text for each in encoded if len(each) > 3)


@pytest.fixture(scope="module", params=["text", "json", "logstash"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RegistryServer]:
    """A registry of one process, so that its log is in the order of the requests."""
    folder = tmp_path_factory.mktemp("secrets")
    users = folder / "htpasswd"
    users.write_text("alice:" + bcrypt.hashpw(f"{CANARY}-password".encode(), bcrypt.gensalt(4)).decode() + "\n")
    config: dict[str, Any] = {
        "log": {"level": "debug", "formatter": request.param},
        "http": {"secret": f"{CANARY}-http-secret", "workers": 1},
        "auth": {"htpasswd": {"realm": "test", "path": str(users)}},
        "access": {"rules": [{"who": ["anonymous"], "repositories": ["**"], "actions": ["pull", "push"]}]},
        # No server answers at any of these addresses; the log reports each failure.
        "storage": {"cache": {"blobdescriptor": "redis"}},
        "redis": {"addrs": ["127.0.0.1:1"], "password": f"{CANARY}-redis"},
        "catalog": {"backend": "MYSQL", "mysql": {"dsn": f"root:{CANARY}-dsn@tcp(127.0.0.1:1)/images"}},
    }
    environment = {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL": f"http://u:{CANARY}-url@127.0.0.1:1/"}
    environment |= {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME": "hook"}
    environment |= {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_HEADERS_Authorization": f"Bearer {CANARY}-header"}
    with RegistryServer(folder / "server", folder / "storage", config=config, environment=environment) as started:
        yield started
        assert started.stop() == 0
        assert not has_canary(started.log())


@pytest.fixture
def read_log(server: RegistryServer) -> Callable[[], str]:
    """Return a function that returns the server's log since the start of the test."""
    begin = len(server.log())

    def read() -> str:
        # The line of this request follows the lines of all requests before it.
        name = uuid.uuid4().hex
        RegistryClient(server.host).request("GET", f"/v2/{name}/manifests/v1").expect(404)
        wait_until(lambda: name in server.log())
        return "".join(line for line in server.log()[begin:].splitlines(keepends=True) if name not in line)

    return read


def send_raw(server: RegistryServer, data: bytes) -> None:
    """Send bytes that http.client would refuse to, and read what comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
        try:
            while connection.recv(65536):
                pass
        except (TimeoutError, ConnectionError):
            return


def test_no_canary_in_headers_or_queries_reaches_the_logs(server: RegistryServer, read_log: Callable[[], str]) -> None:
    for _ in range(250):
        method, path, secret = random.choice(METHODS), random.choice(PATHS), canary()
        form = random.choice(forms_of(secret))
        query = random.choice([f"?{random.choice(PARAMETERS)}={quote(form)}", f"?n=1&{quote(form)}", ""])
        lines = [f"{method} {path}{query} HTTP/1.1", "Host: registry", "Connection: close", "Content-Length: 0"]
        lines += [f"{name}: {random.choice(forms_of(secret))}" for name in random.sample(HEADERS, 3)]
        lines += random.choice(
            [[], [f"Authorization {form}"], [f"Authorization: {secret * 4000}"], [f"A\x00b: {form}"]]
        )
        send_raw(server, "\r\n".join([*lines, "", ""]).encode())
    lines = read_log().splitlines()
    assert [line for line in lines if has_canary(line)] == []
    assert len(lines) > 250


def test_ordinary_pushes_log_no_state_and_no_password(server: RegistryServer, read_log: Callable[[], str]) -> None:
    client, image = RegistryClient(server.host), make_image(7)
    client.push("team/app", "v1", image)
    location = client.start_upload("team/app").header("Location")
    state = location.partition("_state=")[2]
    assert len(state) > 20
    location = client.append(location, b"x").expect(202).header("Location")
    client.finish_upload(location, digest_of(b"x")).expect(201)
    basic = base64.b64encode(f"alice:{CANARY}-password".encode()).decode()
    client.request("GET", "/auth/token?account=alice", headers={"Authorization": f"Basic {basic}"}).expect(200)
    client.request("GET", "/v2/", headers={"Authorization": f"Basic {basic}"}).expect(200)
    server.signal(signal.SIGHUP)
    for told in ("127.0.0.1:1", "hook", "catalog", "redis", "reload"):
        wait_until(partial(is_logged, server, told))
    log = read_log()
    assert not has_canary(log)
    assert state[:20] not in log
    assert "_state=…" in log or r"_state=\u2026" in log


def is_logged(server: RegistryServer, text: str) -> bool:
    return text in server.log().lower()


def test_each_request_is_one_log_line_whatever_it_contains(server: RegistryServer, read_log: Callable[[], str]) -> None:
    # The escape is refused with the whole request, the rest is taken in.
    hostile = ['x" 200 0 "-"\u2028\x85\\', "x\x1b[31m"]
    for number in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.putrequest("GET", f"/v2/team%0aapp{number}/manifests/%0d%0aGET%20/v2/", skip_accept_encoding=True)
        connection.putheader("User-Agent", hostile[number % 2].encode().replace(b"\x85", b"\xc2\x85\xff"))
        connection.putheader("Referer", "http://a/b\tc")
        connection.endheaders()
        connection.getresponse().read()
        connection.close()
    log = read_log()
    assert hostile_requests(log) == 20
    for line in log.split("\n")[:-1]:
        assert line.isprintable()


def hostile_requests(log: str) -> int:
    lines = log.splitlines()
    access = [line for line in lines if re.search(r'" [0-9]{3} [0-9]+ "|http\.response\.status', line)]
    return sum("team%0aapp" in line or "UNKNOWN" in line for line in access)


def test_json_log_is_json_throughout(tmp_path: Path) -> None:
    config = {"log": {"formatter": "json", "fields": {"service": "registry"}}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server:
        RegistryClient(server.host).push("team/app", "v1", make_image(8))
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log().splitlines()]
    assert all(line["service"] == "registry" and line["msg"] and line["time"] for line in lines)
    pushes = [line for line in lines if line.get("http.request.method") == "PUT" and line.get("vars.reference") == "v1"]
    assert [push["http.response.status"] for push in pushes] == [201]
