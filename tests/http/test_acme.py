"""Certificates from an ACME server on connections: which one a client sees, and the answers to both challenges."""

import asyncio
import hashlib
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import ClientSession
from cryptography import x509

from adapters.certificates.memory import InMemoryAuthority
from config.settings import TlsSettings, TlsVersion
from core.errors import StorageUnavailableError
from core.model.secret import Secret
from core.ports.certificate_authority import Certificate, ChallengeAnswer
from entrypoints.http.connection.certificates import HostContexts
from entrypoints.http.middleware.acme import PREFIX, Challenges, create_challenge_app
from tests.support.certificates import Authority

HOSTS = ("a.example.com", "b.example.com")
ANSWER = ChallengeAnswer(host="a.example.com", token="token", key_authorization="token.thumbprint")
REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n"


def now():
    return datetime.now(UTC)


class Answers:
    """The answer to the current challenge, as the service returns it."""

    def __init__(self, answer=None):
        self.current = answer
        self.error = None
        self.reads = 0

    async def __call__(self):
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.current


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def authority():
    return InMemoryAuthority(now=lambda: now() - timedelta(hours=1))


@pytest.fixture
def settings():
    return {"tls": TlsSettings()}


@pytest.fixture
def contexts(answers, settings):
    return HostContexts(lambda: settings["tls"], HOSTS, answer=answers, now=now, handshake_seconds=0.3)


@pytest.fixture
async def server(guarded, contexts):
    return await guarded(context=contexts.context, choose_context=contexts.choose)


async def publish(_answer):
    pass


async def issue(authority, host):
    return await authority.order(host, Secret("account"), publish)


def trusting(authority):
    return ssl.create_default_context(cadata=authority.root)


def inspecting(*protocols):
    """A client that accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


async def shown(server, context, name):
    """Return the certificate and the protocol that a client is offered."""
    _, writer = await server.connect(context, name=name)
    connection = writer.get_extra_info("ssl_object")
    certificate = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))
    writer.close()
    return certificate, connection.selected_alpn_protocol()


def names_of(certificate):
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


async def test_each_host_has_its_certificate(server, contexts, authority):
    for host in HOSTS:
        contexts.keep(await issue(authority, host))
    for host in (*HOSTS, "B.Example.com"):
        certificate, protocol = await shown(server, trusting(authority), host)
        assert names_of(certificate) == [host.lower()]
        assert protocol is None
    # Another name, or none.
    for name in ("other.example.com", ""):
        certificate, _ = await shown(server, inspecting(), name)
        assert names_of(certificate) == ["a.example.com"]


async def test_requests_are_answered_before_there_is_a_certificate(server):
    certificate, _ = await shown(server, inspecting(), "a.example.com")
    assert "no certificate yet" in certificate.subject.rfc4514_string()
    reader, writer = await server.connect(inspecting(), name="a.example.com")
    writer.write(REQUEST)
    assert (await reader.read(15)) == b"HTTP/1.1 200 OK"
    writer.close()


async def test_renewed_certificate_is_shown_and_open_connections_continue(server, contexts, authority):
    contexts.keep(await issue(authority, "a.example.com"))
    reader, writer = await server.connect(trusting(authority), name="a.example.com")
    before, _ = await shown(server, trusting(authority), "a.example.com")
    contexts.keep(await issue(authority, "a.example.com"))
    after, _ = await shown(server, trusting(authority), "a.example.com")
    assert before.serial_number != after.serial_number
    writer.write(REQUEST)
    assert (await reader.read(15)) == b"HTTP/1.1 200 OK"
    writer.close()


async def test_invalid_certificate_replaces_no_valid_one(server, contexts, authority, caplog):
    contexts.keep(await issue(authority, "a.example.com"))
    broken = Certificate(host="a.example.com", chain="none", key=Secret("none"), begins_at=now(), ends_at=now())
    contexts.keep(broken)
    assert "the certificate for a.example.com is invalid" in caplog.text
    await shown(server, trusting(authority), "a.example.com")


async def test_reload_applies_other_settings(server, contexts, authority, settings):
    contexts.keep(await issue(authority, "a.example.com"))
    settings["tls"] = TlsSettings(minimum_version=TlsVersion.TLS13)
    server.listener.exchange(contexts.rebuild())
    await shown(server, trusting(authority), "a.example.com")
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await shown(server, old, "a.example.com")


async def test_client_authorities_are_required_with_stored_certificates(
    guarded, contexts, authority, settings, tmp_path
):
    clients = Authority(tmp_path, "clients")
    settings["tls"] = TlsSettings(client_cas=(str(clients.path),))
    contexts.keep(await issue(authority, "a.example.com"))
    server = await guarded(context=contexts.rebuild(), choose_context=contexts.choose)

    async def status(context):
        try:
            reader, writer = await server.connect(context, name="a.example.com")
            writer.write(REQUEST)
            answer = await reader.read(15)
            writer.close()
        except (ssl.SSLError, ConnectionError):
            return b""
        return answer

    assert await status(trusting(authority)) == b""
    friend, pair = trusting(authority), clients.issue("friend")
    friend.load_cert_chain(pair.certificate, pair.key)
    assert await status(friend) == b"HTTP/1.1 200 OK"


async def test_lost_file_of_client_authorities_prevents_no_renewal(server, contexts, authority, settings, caplog):
    contexts.keep(await issue(authority, "a.example.com"))
    before, _ = await shown(server, trusting(authority), "a.example.com")
    settings["tls"] = TlsSettings(client_cas=("/none",))
    for host in HOSTS:
        contexts.keep(await issue(authority, host))
    after, _ = await shown(server, trusting(authority), "a.example.com")
    assert before.serial_number != after.serial_number
    assert "http.tls.clientcas" in caplog.text


async def test_challenge_is_answered_by_a_certificate_with_the_hash(server, contexts, authority, answers):
    contexts.keep(await issue(authority, "a.example.com"))
    answers.current = ANSWER
    certificate, protocol = await shown(server, inspecting("acme-tls/1"), "a.example.com")
    assert protocol == "acme-tls/1"
    assert names_of(certificate) == ["a.example.com"]
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert extension.critical
    digest = hashlib.sha256(ANSWER.key_authorization.encode()).digest()
    assert extension.value.public_bytes() == b"\x04\x20" + digest


async def test_challenge_opens_no_way_around_client_certificates(server, answers):
    answers.current = ANSWER
    reader, writer = await server.connect(inspecting("acme-tls/1"), name="a.example.com")
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "acme-tls/1"
    with suppress(ConnectionError):
        writer.write(REQUEST)
        assert await reader.read() == b""
    writer.close()


async def test_challenge_for_another_host_is_refused(server, answers):
    answers.current = ANSWER
    for name in ("b.example.com", ""):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shown(server, inspecting("acme-tls/1"), name)


async def test_challenge_without_an_order_gets_the_usual_certificate(server, contexts, authority, answers, caplog):
    contexts.keep(await issue(authority, "a.example.com"))
    _, protocol = await shown(server, inspecting("acme-tls/1"), "a.example.com")
    assert protocol is None
    answers.error = StorageUnavailableError("the store is down")
    _, protocol = await shown(server, inspecting("acme-tls/1"), "a.example.com")
    assert protocol is None
    assert "the answer to a challenge cannot be read: the store is down" in caplog.text


async def test_other_clients_cost_no_look_for_an_answer(server, answers):
    await shown(server, inspecting("h2", "http/1.1"), "a.example.com")
    assert answers.reads == 0


def hello(name, *protocols):
    """Return the first bytes of a client."""
    outgoing = ssl.MemoryBIO()
    connection = inspecting(*protocols).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


async def test_hello_in_parts_is_understood(server, answers):
    answers.current = ANSWER
    first = hello("a.example.com", "acme-tls/1")
    reader, writer = await server.connect()
    for part in (first[:3], first[3:100], first[100:]):
        writer.write(part)
        await writer.drain()
        # The server runs in the same loop, and accepts another connection during this one.
        await shown(server, inspecting(), "a.example.com")
    assert (await reader.read(1)) == b"\x16"
    assert answers.reads == 1


@pytest.mark.parametrize("sent", [b"", b"\x16\x03", b"\x16\x03\x01\xff\xff" + b"x" * 100])
async def test_client_without_a_hello_is_disconnected(server, sent):
    reader, writer = await server.connect()
    writer.write(sent)
    async with asyncio.timeout(10):
        # The kernel resets a connection that is closed with unread data.
        with suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_client_that_leaves_during_its_hello_does_no_harm(server):
    _, writer = await server.connect()
    writer.write(b"\x16\x03\x01\x02\x00abc")
    writer.close()
    await shown(server, inspecting(), "a.example.com")


async def test_plain_http_gets_its_answer(server):
    assert b"Client sent an HTTP request to an HTTPS server" in await server.exchange(REQUEST)


async def test_http_challenge_is_answered_without_a_login(guarded, answers):
    server = await guarded(challenges=Challenges(answers))
    url = f"http://127.0.0.1:{server.port}{PREFIX}"
    async with ClientSession() as client:
        for answer, path, status in [(None, "token", 404), (ANSWER, "token", 200), (ANSWER, "other", 404)]:
            answers.current = answer
            async with client.get(url + path) as response:
                assert response.status == status
                if status == 200:
                    assert await response.text() == ANSWER.key_authorization
        async with client.post(f"{url}token") as response:
            assert response.status == 404
        answers.error = StorageUnavailableError("the store is down")
        async with client.get(f"{url}token") as response:
            assert response.status == 503
        async with client.get(f"http://127.0.0.1:{server.port}/v2/") as response:
            assert response.status == 200


async def test_listener_for_http_answers_challenges_and_sends_browsers_to_https(aiohttp_client, answers):
    answers.current = ANSWER
    client = await aiohttp_client(create_challenge_app(Challenges(answers), HOSTS))

    async def ask(path, *, method="GET", host="b.example.com"):
        async with client.request(method, path, headers={"Host": host}, allow_redirects=False) as response:
            return response.status, response.headers.get("Location")

    assert await ask(f"{PREFIX}token") == (200, None)
    assert await ask(f"{PREFIX}token", host="strange") == (200, None)
    assert await ask("/ui/?a=b%20c", host="B.example.com:80") == (301, "https://b.example.com/ui/?a=b%20c")
    assert await ask("/", host="evil.example.com") == (404, None)
    assert await ask("/v2/", method="POST") == (404, None)
