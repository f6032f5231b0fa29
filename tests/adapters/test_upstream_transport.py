"""Connections to an upstream: redirects, TLS, proxies, time limits, pace and number."""

import asyncio
import logging
import ssl
from typing import Any

import pytest
from aiohttp import web

from core.errors import UpstreamTimeoutError, UpstreamUnavailableError
from core.model.digest import Digest
from tests.adapters.test_upstream_addresses import SilentServer
from tests.adapters.upstreams import MANIFEST, NAME, PASSWORD, TAG, Clock, connect, fill, robot
from tests.support.certificates import Authority
from tests.support.client_proxies import HttpProxy, SocksProxy
from tests.support.ports import free_port
from tests.support.streams import payload
from tests.support.upstream_server import UpstreamServer

LAYER = Digest.of(b"layer")


@pytest.fixture
def server():
    with UpstreamServer() as server:
        fill(server)
        yield server


async def read_blob(upstream, digest=LAYER, **part):
    async with upstream.open_blob(NAME, digest, **part) as reader:
        return b"".join([piece async for piece in reader])


class Origin:
    """A server that answers every request with the result of a function, and keeps the headers."""

    def __init__(self, answer):
        self._answer = answer
        self.seen = []
        self.port = free_port()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_error):
        await self._runner.cleanup()

    async def _serve(self, request):
        self.seen.append(request.headers.copy())
        return self._answer(request)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_credentials_do_not_follow_a_redirect_to_another_origin(server, scheme):
    server.sign_in.require_basic(robot=PASSWORD)
    server.sign_in.scheme = scheme
    server.faults.redirects = 3
    async with robot(server) as upstream:
        for _ in range(2):
            assert await read_blob(upstream) == b"layer"
    assert server.requests("blob")[-1].is_signed_in
    assert server.count("storage") == 6
    assert not any(seen.is_signed_in for seen in server.requests("storage"))


async def test_each_read_follows_the_redirect_again(server):
    server.faults.redirects = 1
    async with connect(server.url) as upstream:
        assert await read_blob(upstream, offset=1, length=2) == b"ay"
        assert await read_blob(upstream, offset=3) == b"er"
    assert (server.count("blob"), server.count("storage")) == (2, 2)
    assert [seen.headers["Range"] for seen in server.requests("storage")] == ["bytes=1-2", "bytes=3-"]


async def test_credentials_stay_within_an_origin_and_do_not_return_to_it(server):
    server.sign_in.require_basic(robot=PASSWORD)

    def bounce(_request):
        return web.Response(status=302, headers={"Location": f"{server.url}/v2/{NAME}/blobs/{LAYER}"})

    async with Origin(bounce) as elsewhere:
        target = f"http://127.0.0.1:{elsewhere.port}/x"
        server.faults.refuse(307, "blob GET", times=1, headers={"Location": "/v2/elsewhere/blobs/y"})
        server.faults.refuse(307, "blob GET", times=1, headers={"Location": target})
        async with robot(server) as upstream:
            await upstream.check()
            with pytest.raises(UpstreamUnavailableError):
                await read_blob(upstream)
    assert [seen.is_signed_in for seen in server.requests("blob")][:3] == [True, True, False]
    assert "Authorization" not in elsewhere.seen[0]


@pytest.mark.parametrize("hops", [5, 6])
async def test_number_of_redirects_is_limited(server, hops):
    server.faults.redirects = hops
    async with connect(server.url) as upstream:
        if hops == 5:
            assert await read_blob(upstream) == b"layer"
        else:
            with pytest.raises(UpstreamUnavailableError, match="redirects more than 5 times"):
                await read_blob(upstream)


@pytest.mark.parametrize(
    "location", ["", "ftp://h/x", "http://", "http://[", "file:///etc/passwd", "http://h/" + "x" * 20_000]
)
async def test_unusable_redirect_is_an_outage(server, location):
    server.faults.refuse(307, "blob", headers={"Location": location})
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError) as caught:
            await read_blob(upstream)
    assert "xxxx" not in str(caught.value)


async def test_signature_of_a_redirect_keeps_its_spelling_and_stays_secret(server):
    query = "sig=a%2Fb%3D%2b+c"
    seen = []

    def refuse(request):
        seen.append(request.raw_path if hasattr(request, "raw_path") else request.path_qs)
        return web.Response(status=403)

    async with Origin(refuse) as storage:
        server.faults.refuse(307, "blob", headers={"Location": f"http://127.0.0.1:{storage.port}/l?{query}"})
        async with connect(server.url) as upstream:
            with pytest.raises(UpstreamUnavailableError, match=f"127.0.0.1:{storage.port} answered 403") as caught:
                await read_blob(upstream)
    assert seen == [f"/l?{query}"]
    assert "sig=" not in str(caught.value)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def tls_server(authority):
    with UpstreamServer(pair=authority.issue("registry")) as server:
        fill(server)
        yield server


async def test_own_authority_is_trusted(tls_server, authority):
    async with connect(tls_server.url, ca=str(authority.path)) as upstream:
        assert (await upstream.manifest(NAME, TAG)).content == MANIFEST


async def test_unknown_certificate_is_refused(tls_server):
    async with connect(tls_server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="certificate that is refused"):
            await upstream.manifest(NAME, TAG)
    async with connect(tls_server.url, insecure=True) as upstream:
        await upstream.manifest(NAME, TAG)


async def test_client_certificate_is_shown(authority):
    client = authority.issue("client")
    with UpstreamServer(pair=authority.issue("registry"), client_authority=str(authority.path)) as server:
        fill(server)
        async with connect(server.url, ca=str(authority.path)) as upstream:
            with pytest.raises(UpstreamUnavailableError):
                await upstream.manifest(NAME, TAG)
        options: dict[str, Any] = {"certificate": str(client.certificate), "key": str(client.key)}
        async with connect(server.url, ca=str(authority.path), **options) as upstream:
            await upstream.manifest(NAME, TAG)


@pytest.mark.parametrize("insecure", [False, True])
async def test_redirect_from_tls_to_plain_text_is_not_followed(tls_server, authority, insecure):
    tls_server.faults.redirects = 1
    async with connect(tls_server.url, ca=str(authority.path), insecure=insecure) as upstream:
        if insecure:
            assert await read_blob(upstream) == b"layer"
        else:
            with pytest.raises(UpstreamUnavailableError, match="without TLS"):
                await read_blob(upstream)


async def test_password_does_not_go_to_a_plain_token_server_of_a_tls_registry(tls_server, authority):
    tls_server.sign_in.require_bearer(anonymous=True, robot=PASSWORD)
    async with robot(tls_server, ca=str(authority.path)) as upstream:
        await upstream.manifest(NAME, TAG)
    assert not any(seen.is_signed_in for seen in tls_server.requests("token"))


@pytest.mark.parametrize("key", ["ca", "certificate"])
def test_unreadable_certificate_is_named(tmp_path, key):
    (tmp_path / "broken.pem").write_text("no PEM")
    for name in ("missing.pem", "broken.pem"):
        with pytest.raises(ValueError, match=f"`{key}`: cannot be used: .*{name}"):
            connect("https://registry.test", **dict[str, Any]({key: str(tmp_path / name)}))


async def test_opening_contacts_nobody(server):
    async with connect(server.url):
        pass
    assert not server.seen


async def test_upstream_that_is_not_open_fails():
    with pytest.raises(UpstreamUnavailableError, match="not open"):
        await connect("http://127.0.0.1:1").check()


async def test_silent_server_costs_the_idle_time(server):
    async with SilentServer() as silent:
        async with connect(silent.url, idle_seconds=0.2) as upstream:
            with pytest.raises(UpstreamTimeoutError, match="did not answer in time"):
                await upstream.manifest(NAME, TAG)
        tls = silent.url.replace("http:", "https:")
        async with connect(tls, connect_seconds=0.2) as upstream:
            with pytest.raises(UpstreamTimeoutError):
                await upstream.manifest(NAME, TAG)


async def test_stalled_blob_costs_the_idle_time(server):
    content = payload(200_000)
    digest = Digest(server.content.add_blob(NAME, content))
    server.faults.hold_blobs(100_000)
    got = []

    async def read(upstream):
        async with upstream.open_blob(NAME, digest) as reader:
            async for piece in reader:
                got.append(piece)  # noqa: PERF401 - the pieces before the failure count

    async with connect(server.url, idle_seconds=0.3) as upstream:
        with pytest.raises(UpstreamTimeoutError):
            await read(upstream)
    assert b"".join(got) == content[:100_000]
    server.faults.release()


async def test_stalled_document_costs_the_idle_time(server):
    async def stall(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        await released.wait()
        return response

    released = asyncio.Event()
    app = web.Application()
    app.router.add_get("/{path:.*}", stall)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with connect(f"http://127.0.0.1:{port}", idle_seconds=0.3) as upstream:
        with pytest.raises(UpstreamTimeoutError):
            await upstream.manifest(NAME, TAG)
    released.set()
    await runner.cleanup()


async def test_questions_do_not_wait_for_blobs(server):
    server.faults.hold_blobs(0)
    async with connect(server.url, connections=2, idle_seconds=30) as upstream, asyncio.TaskGroup() as group:
        reads = [group.create_task(read_blob(upstream)) for _ in range(3)]
        await server.until(lambda: server.count("blob") == 1)
        await upstream.resolve(NAME, TAG)
        # The second blob has waited for the end of the first one.
        assert server.count("blob") == 1
        server.faults.release()
    assert [read.result() for read in reads] == [b"layer"] * 3


async def test_wait_for_a_connection_is_bounded(server):
    server.faults.hold_blobs(0)
    async with connect(server.url, connections=1, idle_seconds=0.5) as upstream:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(fails(read_blob(upstream)))
            second = group.create_task(fails(read_blob(upstream)))
        assert {first.result(), second.result()} == {UpstreamTimeoutError}
    server.faults.release()


async def fails(question):
    try:
        await question
    except UpstreamUnavailableError as error:
        return type(error)
    return None


async def test_rate_spaces_the_requests(server):
    clock, pauses = Clock(), []

    async def sleep(seconds):
        pauses.append(round(seconds, 3))
        clock.seconds += seconds

    async with connect(server.url, rate=4, clock=clock, sleep=sleep) as upstream:
        for _ in range(3):
            await upstream.resolve(NAME, TAG)
        clock.seconds += 10
        await upstream.resolve(NAME, TAG)
    assert pauses == [0.25, 0.25]


async def test_connections_are_used_again(server):
    async with connect(server.url) as upstream:
        for _ in range(5):
            await upstream.resolve(NAME, TAG)
            await upstream.manifest(NAME, TAG)
            await read_blob(upstream)
    assert len({seen.peer for seen in server.seen}) == 1


async def test_broken_http_is_an_outage():
    async def answer(_reader, writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with connect(f"http://127.0.0.1:{port}") as upstream:
        with pytest.raises(UpstreamUnavailableError, match=f"test: 127.0.0.1:{port} "):
            await upstream.check()
    listener.close()


async def test_http_proxy_forwards_and_resolves(server):
    async with HttpProxy() as proxy, connect(f"http://registry.test:{server.port}", http_proxy=proxy.url) as upstream:
        await upstream.manifest(NAME, TAG)
    assert proxy.asked == [f"GET registry.test:{server.port}"]


@pytest.mark.parametrize("speaks_tls", [False, True])
async def test_http_proxy_opens_tunnels(tls_server, authority, speaks_tls):
    context = None
    if speaks_tls:
        pair = authority.issue("proxy")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
    url = tls_server.url.replace("127.0.0.1", "localhost")
    async with (
        HttpProxy("user", "secret", tls=context) as proxy,
        connect(url, http_proxy=proxy.url, ca=str(authority.path)) as upstream,
    ):
        await upstream.manifest(NAME, TAG)
    assert proxy.asked == [f"CONNECT localhost:{tls_server.port}"]


async def test_http_proxy_gets_its_password(server):
    async with HttpProxy("user", "secret") as proxy:
        url = f"http://registry.test:{server.port}"
        async with connect(url, http_proxy=proxy.url) as upstream:
            await upstream.manifest(NAME, TAG)
        async with connect(url, http_proxy=proxy.url.replace("secret", "wrong-one")) as upstream:
            with pytest.raises(UpstreamUnavailableError, match="answered 407") as caught:
                await upstream.manifest(NAME, TAG)
    assert "wrong-one" not in str(caught.value)


async def test_refused_tunnel_is_an_outage(tls_server):
    async with HttpProxy("user", "secret") as proxy:
        url = proxy.url.replace("secret", "wrong-one")
        async with connect(tls_server.url, http_proxy=url, insecure=True) as upstream:
            with pytest.raises(UpstreamUnavailableError, match="the proxy answered 407") as caught:
                await upstream.manifest(NAME, TAG)
    assert "wrong-one" not in str(caught.value)


async def test_missing_http_proxy_is_an_outage(server):
    async with connect(server.url, http_proxy=f"http://u:hunter2@127.0.0.1:{free_port()}") as upstream:
        with pytest.raises(UpstreamUnavailableError, match="the proxy does not answer") as caught:
            await upstream.manifest(NAME, TAG)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("user", [None, "user"])
async def test_socks_proxy_resolves_names_if_asked_to(server, user):
    async with SocksProxy(user, "secret") as proxy:
        url = f"http://registry.test:{server.port}"
        async with connect(url, http_proxy=proxy.url("socks5h")) as upstream:
            await upstream.manifest(NAME, TAG)
        async with connect(server.url, http_proxy=proxy.url("socks5")) as upstream:
            await upstream.manifest(NAME, TAG)
        async with connect(url, http_proxy=proxy.url("socks5")) as upstream:
            with pytest.raises(UpstreamUnavailableError):
                await upstream.manifest(NAME, TAG)
    assert proxy.asked == [f"registry.test:{server.port}", f"127.0.0.1:{server.port}"]


async def test_tls_passes_through_a_socks_proxy(tls_server, authority):
    url = tls_server.url.replace("127.0.0.1", "localhost")
    async with (
        SocksProxy() as proxy,
        connect(url, http_proxy=proxy.url("socks5h"), ca=str(authority.path)) as upstream,
    ):
        await upstream.manifest(NAME, TAG)
    assert proxy.asked == [f"localhost:{tls_server.port}"]


async def test_failing_socks_proxy_is_an_outage(server, caplog):
    async with SocksProxy("user", "secret") as proxy:
        url = proxy.url("socks5h").replace("secret", "wrong-one")
        async with connect(server.url, http_proxy=url) as upstream:
            with pytest.raises(UpstreamUnavailableError, match="cannot be reached") as caught:
                await upstream.manifest(NAME, TAG)
    async with connect(server.url, http_proxy=f"socks5h://127.0.0.1:{free_port()}") as upstream:
        with pytest.raises(UpstreamUnavailableError):
            await upstream.manifest(NAME, TAG)
    assert "wrong-one" not in str(caught.value) + caplog.text


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize(
    ("listed", "is_direct"),
    [("localhost", True), ("*", True), (".localhost", False), ("host", False), (".local", False), ("", False)],
)
async def test_listed_hosts_are_contacted_without_the_proxy(server, scheme, listed, is_direct):
    url = f"http://localhost:{server.port}"
    async with HttpProxy() as http, SocksProxy() as socks:
        proxy = http.url if scheme == "http" else socks.url(scheme)
        async with connect(url, http_proxy=proxy, no_proxy=(listed, "other.test")) as upstream:
            await upstream.manifest(NAME, TAG)
        assert bool(http.asked or socks.asked) is not is_direct


async def test_environment_names_no_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with connect(server.url) as upstream:
        await upstream.manifest(NAME, TAG)


async def test_no_log_has_credentials(server, caplog):
    server.sign_in.require_bearer(robot=PASSWORD)
    server.faults.redirects = 1
    with caplog.at_level(logging.DEBUG):
        async with robot(server) as upstream:
            await read_blob(upstream)
    token = server.requests("blob")[-1].headers["Authorization"].removeprefix("Bearer ")
    assert PASSWORD not in caplog.text
    assert token not in caplog.text
