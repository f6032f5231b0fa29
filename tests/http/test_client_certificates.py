"""Client certificates as users: over real TLS connections, with the fast connections and without."""

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.open import OpenAuthenticator
from config.settings import AuditSettings, ClientAuth, Settings, TlsSettings
from core.model.access import AccessPolicy, Rule, RuleAction
from core.model.client_certificates import ClientIdentity, GroupField, NameField
from entrypoints.http.app import create_app
from entrypoints.http.authentication import AUTHORIZER
from entrypoints.http.client_certificates import client_certificates
from entrypoints.http.connection.tls import build_context
from tests.http.conftest import SECRET, build_registry, operations_on
from tests.http.test_tls import client_context
from tests.http.test_trash_api import ListAuditLog
from tests.support.certificates import Authority
from tests.support.guarded_server import run_guarded
from tests.support.htpasswd import basic, write_htpasswd

RULES = (
    Rule(who=("cert:ci",), repositories=("team/**",), actions=(RuleAction.PULL, RuleAction.PUSH)),
    Rule(who=("alice",), repositories=("own/**",), actions=(RuleAction.PULL, RuleAction.PUSH)),
    Rule(who=("@cert:dev",), repositories=("dev/**",), actions=(RuleAction.PULL, RuleAction.PUSH)),
)
ALICE = {"Authorization": basic("alice", "secret")}


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def log():
    return ListAuditLog()


@pytest.fixture
def users(tmp_path):
    path = write_htpasswd(tmp_path / "htpasswd", alice="secret", ci="secret")
    return HtpasswdAuthenticator(realm="r", path=str(path), clock=lambda: 0.0)


class Served:
    """A server with TLS, and clients with certificates."""

    def __init__(self, server, app, settings, authority):
        self.app, self.settings = app, settings
        self.port = server.port
        self._server, self._authority = server, authority

    async def connect(self, pair=None, **changes):
        return Connection(*await self._server.connect(client_context(self._authority, pair, **changes)))

    async def status(self, pair=None, path="/v2/", **options):
        return await (await self.connect(pair)).status(path, **options)


class Connection:
    """A connection that is kept alive."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def status(self, path="/v2/", *, method="GET", headers=None):
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Length: 0"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
        await self.reader.readexactly(int(length.split()[1]))
        return int(head.split()[1])

    async def may_push(self, repository, **options):
        return await self.status(f"/v2/{repository}/blobs/uploads/", method="POST", **options) == 202


@pytest.fixture
async def serve(services, fastpath, authority, users, log):
    async with AsyncExitStack() as stack:

        async def start_one(
            identity=ClientIdentity(),  # noqa: B008 - immutable
            *,
            auth=ClientAuth.VERIFY_IF_GIVEN,
            authenticator=None,
            policy=AccessPolicy(rules=RULES),  # noqa: B008
            now=lambda: datetime.now(UTC),
        ):
            pair = authority.issue("server")
            tls = TlsSettings(
                certificate=str(pair.certificate), key=str(pair.key), client_cas=(str(authority.path),),
                client_auth=auth, client_identity=identity,
            )  # fmt: skip
            settings = Settings(audit=AuditSettings(stdout=True))
            settings = replace(settings, http=replace(settings.http, tls=tls, fastpath=fastpath))
            authenticator = authenticator or users
            app = create_app(
                build_registry(services),
                settings,
                authenticator=authenticator,
                policy=policy,
                upload_secret=SECRET,
                now=now,
                audit_log=log,
                operations=operations_on(services),
                lifetimes=[authenticator],
            )
            server = await stack.enter_async_context(run_guarded(app, settings, context=build_context(tls)))
            return Served(server, app, settings, authority)

        yield start_one


async def test_certificate_is_a_user(serve, authority, log):
    served = await serve()
    ci = authority.issue_to_client("ci", common=["ci"])
    connection = await served.connect(ci)
    assert await connection.status() == 200
    assert await connection.may_push("team/app")
    assert not await connection.may_push("own/app")
    [refused] = [event for event in log.events if event.status == 403]
    assert (refused.actor, refused.login, refused.claimed) == ("cert:ci", "certificate", "")


@pytest.mark.parametrize("auth", [ClientAuth.VERIFY_IF_GIVEN, ClientAuth.REQUIRE_AND_VERIFY])
async def test_header_decides_beside_a_certificate(serve, authority, auth):
    served = await serve(auth=auth)
    connection = await served.connect(authority.issue_to_client("ci", common=["ci"]))
    assert await connection.may_push("own/app", headers=ALICE)
    assert not await connection.may_push("team/app", headers=ALICE)
    assert await connection.status(headers={"Authorization": basic("alice", "wrong")}) == 401
    # Empty credentials are those of an anonymous client.
    assert await connection.status(headers={"Authorization": basic("", "")}) == 401
    assert await connection.may_push("team/app")


async def test_clients_without_a_certificate_log_in(serve):
    served = await serve()
    assert await served.status() == 401
    assert await served.status(headers=ALICE) == 200


async def test_only_certificates_of_the_authority_open_a_connection(serve, authority, tmp_path):
    served = await serve()
    stranger = Authority(tmp_path, "strangers").issue_to_client("stranger", common=["ci"])
    expired = authority.issue_to_client("expired", common=["ci"], days=-1)
    for pair in (stranger, expired):
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await served.status(pair)
    assert await served.status() == 401


async def test_certificate_ends_on_an_open_connection(serve, authority, caplog):
    now = datetime.now(UTC)
    served = await serve(now=lambda: now)
    connection = await served.connect(authority.issue_to_client("ci", common=["ci"], days=1))
    assert await connection.status() == 200
    now += timedelta(days=2)
    assert await connection.status() == 401
    assert await connection.status() == 401
    assert caplog.text.count("has expired on an open connection") == 1


UNUSABLE: dict[str, dict[str, Any]] = {
    "no name": {"alternatives": [x509.DNSName("ci")]},
    "two names": {"common": ["ci", "admin"]},
    "control character": {"common": ["ci\nadmin"]},
    "zero byte": {"common": ["ci\0"]},
    "10 kB": {"alternatives": [x509.UniformResourceIdentifier("u:" + "c" * 10_240)]},
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_certificate_without_a_usable_name_is_anonymous(serve, authority, caplog, case):
    served = await serve(ClientIdentity(name=NameField.URI if case == "10 kB" else NameField.COMMON_NAME))
    connection = await served.connect(authority.issue_to_client("odd", **UNUSABLE[case]))
    assert await connection.status() == 401
    assert await connection.status(headers=ALICE) == 200
    assert await connection.status() == 401
    [line] = [record for record in caplog.records if "client certificate" in record.message]
    assert line.message.startswith("login failed: ")
    assert len(line.message) < 200


async def test_names_of_users_in_the_file_are_not_certificates(serve, authority, log):
    """A certificate for `alice` is another user than the one with a password."""
    served = await serve()
    connection = await served.connect(authority.issue_to_client("alice", common=["alice"]))
    assert await connection.status() == 200
    assert not await connection.may_push("own/app")
    # No password is verified for a name with a colon: Basic credentials end the name there.
    assert await connection.status(headers={"Authorization": basic("cert:ci", "secret")}) == 401


@pytest.mark.parametrize(
    ("field", "alternatives", "is_user"),
    [
        (NameField.URI, [x509.UniformResourceIdentifier("ci"), x509.DNSName("other")], True),
        (NameField.URI, [x509.UniformResourceIdentifier("ci"), x509.UniformResourceIdentifier("other")], False),
        (NameField.DNS, [x509.DNSName("ci"), x509.RFC822Name("a@b.example")], True),
        (NameField.DNS, [x509.DNSName("ci"), x509.DNSName("other")], False),
        (NameField.EMAIL, [x509.RFC822Name("ci"), x509.DNSName("other")], True),
        (NameField.EMAIL, [], False),
    ],
)
async def test_alternative_names_are_users(serve, authority, field, alternatives, is_user):
    served = await serve(ClientIdentity(name=field))
    connection = await served.connect(authority.issue_to_client("c", common=["admin"], alternatives=alternatives))
    assert await connection.status() == (200 if is_user else 401)
    assert await connection.may_push("team/app") is is_user


async def test_units_are_groups(serve, authority):
    served = await serve(ClientIdentity(groups=GroupField.UNIT))
    assert await (await served.connect(authority.issue_to_client("d", common=["d"], units=["dev"]))).may_push("dev/a")
    assert not await (await served.connect(authority.issue_to_client("e", common=["e"], units=["x"]))).may_push("dev/a")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://localhost"},
    ],
)
async def test_certificate_of_a_proxy_or_a_browser_on_another_site_does_not_count(serve, authority, headers):
    served = await serve()
    connection = await served.connect(authority.issue_to_client("ci", common=["ci"]))
    assert await connection.status(headers=headers) == 401
    assert await connection.status(headers={"Sec-Fetch-Site": "none"}) == 200
    assert await connection.status(headers={"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost"}) == 200


async def test_headers_name_no_user(serve):
    served = await serve()
    subject = {"X-SSL-Client-S-DN": "CN=ci", "X-Forwarded-Client-Cert": 'Subject="CN=ci"', "X-Client-Cert": "ci"}
    assert await served.status(headers=subject) == 401


async def test_blocked_user_is_denied(serve, authority):
    served = await serve(policy=AccessPolicy(rules=RULES, blocked=frozenset({"cert:ci"})))
    assert await served.status(authority.issue_to_client("ci", common=["ci"])) == 403


async def test_certificates_alone_are_a_method(serve, authority):
    served = await serve(authenticator=OpenAuthenticator())
    assert await (await served.connect(authority.issue_to_client("ci", common=["ci"]))).may_push("team/app")
    assert not await (await served.connect()).may_push("team/app")


async def test_certificate_means_nothing_without_the_setting(serve, authority):
    served = await serve(None)
    assert await served.status(authority.issue_to_client("ci", common=["ci"])) == 401


async def test_new_setting_counts_for_open_connections(serve, authority):
    served = await serve()
    connection = await served.connect(authority.issue_to_client("ci", common=["ci"]))
    assert await connection.may_push("team/app")
    http = served.settings.http
    changed = replace(http, tls=replace(http.tls, client_identity=ClientIdentity(prefix="x:")))
    authorizer = served.app[AUTHORIZER]
    authorizer.identify_by(client_certificates(replace(served.settings, http=changed), lambda: datetime.now(UTC)))
    assert not await connection.may_push("team/app")
    authorizer.identify_by(None)
    assert await connection.status() == 401


def answers_of_one_session(port, context):
    """Send two requests, the second one on a new connection with the TLS session of the first."""
    session, answers = None, []
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as client,
        ):
            client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answers.append((client.recv(15), client.session_reused))
            session = client.session
    return answers


async def test_resumed_session_has_its_user(serve, authority):
    served = await serve()
    pair = authority.issue_to_client("ci", common=["ci"])
    context = client_context(authority, pair, maximum_version=ssl.TLSVersion.TLSv1_2)
    answers = await asyncio.to_thread(answers_of_one_session, served.port, context)
    assert answers == [(b"HTTP/1.1 200 OK", False), (b"HTTP/1.1 200 OK", True)]
