"""TLS contexts: offered protocols, client certificates, and errors at start."""

import logging
import ssl
from datetime import UTC, datetime

import pytest

from config.errors import ConfigError
from config.settings import ClientAuth, TlsSettings, TlsVersion
from entrypoints.http.connection.tls import build_context, files_of, limits_of, log_expiry
from tests.support.certificates import Authority

REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def pair(authority):
    return authority.issue("server")


def settings_of(pair, **changes):
    return TlsSettings(certificate=str(pair.certificate), key=str(pair.key), **changes)


def client_context(authority, pair=None, **changes):
    context = ssl.create_default_context(cafile=str(authority.path))
    for name, value in changes.items():
        setattr(context, name, value)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


async def is_served(server, context):
    """Whether a request is answered over TLS; a refusal may show only at the first read."""
    try:
        reader, writer = await server.connect(context)
        writer.write(REQUEST)
        answer = await reader.read(15)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return False
    return answer == b"HTTP/1.1 200 OK"


async def test_only_http_1_is_offered(guarded, authority, pair):
    server = await guarded(context=build_context(settings_of(pair)))
    client = client_context(authority)
    client.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await server.connect(client)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
    writer.close()


@pytest.mark.parametrize(("minimum", "is_spoken"), [(TlsVersion.TLS12, True), (TlsVersion.TLS13, False)])
async def test_minimum_version_is_enforced(guarded, authority, pair, minimum, is_spoken):
    server = await guarded(context=build_context(settings_of(pair, minimum_version=minimum)))
    old = client_context(authority, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert await is_served(server, old) is is_spoken
    assert await is_served(server, client_context(authority))


async def test_configured_suite_is_used(guarded, authority, pair):
    chosen = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",)
    server = await guarded(context=build_context(settings_of(pair, cipher_suites=chosen)))
    _, writer = await server.connect(client_context(authority, maximum_version=ssl.TLSVersion.TLSv1_2))
    assert writer.get_extra_info("cipher")[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    writer.close()


async def test_suites_of_tls_1_3_alone_disable_tls_1_2(guarded, authority, pair):
    settings = settings_of(pair, cipher_suites=("TLS_AES_128_GCM_SHA256",))
    server = await guarded(context=build_context(settings))
    assert not await is_served(server, client_context(authority, maximum_version=ssl.TLSVersion.TLSv1_2))
    assert any("TLS 1.2 is disabled" in line for line in limits_of(settings))


@pytest.mark.parametrize(
    ("kind", "is_optional"),
    [
        (ClientAuth.REQUEST, True),
        (ClientAuth.VERIFY_IF_GIVEN, True),
        (ClientAuth.REQUIRE_ANY, False),
        (ClientAuth.REQUIRE_AND_VERIFY, False),
    ],
)
async def test_clients_are_asked_for_certificates(guarded, authority, tmp_path, kind, is_optional):
    settings = settings_of(authority.issue("server"), client_cas=(str(authority.path),), client_auth=kind)
    server = await guarded(context=build_context(settings))
    assert await is_served(server, client_context(authority)) is is_optional
    assert await is_served(server, client_context(authority, authority.issue("friend")))
    stranger = Authority(tmp_path, "strangers").issue("stranger")
    assert not await is_served(server, client_context(authority, stranger))


@pytest.mark.parametrize("kind", ClientAuth)
def test_unsupported_client_rules_are_logged(pair, authority, kind):
    lines = list(limits_of(settings_of(pair, client_cas=(str(authority.path),), client_auth=kind)))
    expected = {
        ClientAuth.REQUEST: "is treated as verify-client-cert-if-given",
        ClientAuth.REQUIRE_ANY: "is treated as require-and-verify-client-cert",
    }.get(kind, "")
    assert len(lines) == (1 if expected else 0)
    assert all(expected in line for line in lines)


def test_client_rules_without_authorities_are_logged(pair):
    assert list(limits_of(settings_of(pair, client_auth=ClientAuth.REQUIRE_ANY))) == [
        "http.tls.clientauth has no effect without http.tls.clientcas"
    ]
    assert list(limits_of(settings_of(pair))) == []


def problem_of(settings):
    with pytest.raises(ConfigError) as caught:
        build_context(settings)
    [problem] = caught.value.problems
    return problem


def test_missing_file_is_a_one_line_error(pair, tmp_path):
    settings = TlsSettings(certificate=str(tmp_path / "none"), key=str(pair.key))
    assert problem_of(settings) == (f"http.tls.certificate: {tmp_path}/none: cannot be read: No such file or directory")
    settings = TlsSettings(certificate=str(pair.certificate), key=f"{pair.key}\0")
    assert problem_of(settings).endswith("cannot be read: is not a path")


def test_key_of_another_certificate_is_refused(pair, authority):
    other = authority.issue("other")
    settings = TlsSettings(certificate=str(pair.certificate), key=str(other.key))
    assert problem_of(settings) == f"http.tls.key: {other.key}: does not belong to the certificate"


def test_files_of_another_kind_are_refused(pair, authority, tmp_path):
    junk = tmp_path / "junk"
    junk.write_text("junk")
    assert "is not a PEM certificate" in problem_of(TlsSettings(certificate=str(junk), key=str(pair.key)))
    assert "is not an unencrypted PEM key" in problem_of(TlsSettings(certificate=str(pair.certificate), key=str(junk)))
    assert "contains no PEM certificates" in problem_of(settings_of(pair, client_cas=(str(junk),)))


def test_suites_that_openssl_no_longer_has_are_refused(pair):
    problem = problem_of(settings_of(pair, cipher_suites=("TLS_RSA_WITH_3DES_EDE_CBC_SHA",)))
    assert problem == "http.tls.ciphersuites: this OpenSSL supports none of them"


def test_context_is_made_from_the_files_alone(pair, authority):
    settings = settings_of(pair, client_cas=(str(authority.path),))
    assert files_of(settings) == (str(pair.certificate), str(pair.key), str(authority.path))


@pytest.mark.parametrize(
    ("days", "level", "word"),
    [(20.5, logging.INFO, "expires"), (13.5, logging.WARNING, "expires"), (-1, logging.WARNING, "expired")],
)
def test_expiry_of_the_certificate_is_logged(authority, caplog, days, level, word):
    caplog.set_level(logging.INFO)
    log_expiry(settings_of(authority.issue("ending", days=days)), lambda: datetime.now(UTC))
    [record] = caplog.records
    assert record.levelno == level
    assert f" {word} at 20" in record.message


async def test_exchange_keeps_old_connections_and_serves_new_ones(guarded, authority, pair):
    server = await guarded(context=build_context(settings_of(pair)))
    client = client_context(authority)
    reader, writer = await server.connect(client)
    fresh = authority.issue("fresh")
    server.listener.exchange(build_context(settings_of(fresh)))
    _, second = await server.connect(client)
    shown = second.get_extra_info("peercert")["serialNumber"]
    assert int(shown, 16) == fresh.serial
    writer.write(REQUEST)
    assert (await reader.read(15)) == b"HTTP/1.1 200 OK"
    assert int(writer.get_extra_info("peercert")["serialNumber"], 16) == pair.serial
    writer.close()
    second.close()


async def test_blob_is_sent_whole_over_tls(guarded, authority, pair, services):
    content = bytes(range(256)) * 8192
    digest = await services.push_blob("a", content)
    server = await guarded(context=build_context(settings_of(pair)))
    reader, writer = await server.connect(client_context(authority))
    writer.write(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read(-1)
    assert answer.partition(b"\r\n\r\n")[2] == content
    writer.close()


@pytest.mark.parametrize("request_bytes", [REQUEST, b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\n" + b"X: y\r\n" * 500])
async def test_plain_http_on_the_tls_port_is_answered(guarded, authority, pair, request_bytes):
    server = await guarded(context=build_context(settings_of(pair)))
    answer = await server.exchange(request_bytes)
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    assert await is_served(server, client_context(authority))


@pytest.mark.parametrize("noise", [b"\x00" * 64, b"SSH-2.0-x\r\n"])
async def test_other_bytes_on_the_tls_port_get_no_text(guarded, authority, pair, noise):
    server = await guarded(context=build_context(settings_of(pair)))
    assert b"HTTP" not in await server.exchange(noise)
    assert await is_served(server, client_context(authority))
