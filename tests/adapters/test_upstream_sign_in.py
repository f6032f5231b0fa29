"""Basic and Bearer sign-in at an upstream: who gets the password, and what follows a refusal."""

import asyncio
import base64
import json
import logging
import os
import sys
from typing import Any

import pytest
from yarl import URL

from adapters.upstream.http.challenges import Challenge, parse_challenges, usable_challenge
from adapters.upstream.http.helpers import CredentialHelper
from adapters.upstream.http.realms import may_see_password
from adapters.upstream.options import ProxyExecSettings
from core.errors import UpstreamAbsentError, UpstreamBusyError, UpstreamUnavailableError
from core.model import media_types
from tests.adapters.test_upstream_addresses import SilentServer
from tests.adapters.upstreams import MANIFEST, NAME, PASSWORD, TAG, Clock, connect, fill, robot
from tests.support.upstream_server import UpstreamServer

ENCODED = base64.b64encode(f"robot:{PASSWORD}".encode()).decode()


@pytest.fixture
def server():
    with UpstreamServer() as server:
        fill(server)
        yield server


async def test_basic_credentials_are_sent_after_the_first_challenge(server):
    server.sign_in.require_basic(robot=PASSWORD)
    async with robot(server) as upstream:
        for _ in range(3):
            await upstream.resolve(NAME, TAG)
    assert [seen.status for seen in server.seen] == [401, 200, 200, 200]
    assert not server.seen[0].is_signed_in


async def test_credentials_are_never_sent_unasked(server):
    async with robot(server) as upstream:
        await upstream.resolve(NAME, TAG)
    assert not any(seen.is_signed_in for seen in server.seen)


async def test_anonymous_client_gets_a_token(server):
    server.sign_in.require_bearer(anonymous=True)
    async with connect(server.url) as upstream:
        await upstream.manifest(NAME, TAG)
        await upstream.check()
    [token, *_] = server.requests("token")
    assert token.query == {"service": "registry.test", "scope": f"repository:{NAME}:pull"}
    assert not token.is_signed_in


@pytest.mark.parametrize("member", ["token", "access_token"])
async def test_token_is_used_again(server, member):
    server.sign_in.require_bearer(robot=PASSWORD)
    server.sign_in.token_member = member
    async with robot(server) as upstream:
        for _ in range(3):
            await upstream.manifest(NAME, TAG)
    assert [seen.kind for seen in server.seen] == ["manifest GET", "token GET"] + ["manifest GET"] * 3
    assert server.requests("token")[0].headers["Authorization"] == f"Basic {ENCODED}"


async def test_each_repository_has_a_token_of_its_own(server):
    server.content.add_manifest("library/other", MANIFEST, media_types.OCI_MANIFEST, TAG)
    server.sign_in.require_bearer(robot=PASSWORD)
    async with robot(server) as upstream:
        await upstream.manifest(NAME, TAG)
        await upstream.manifest("library/other", TAG)
    # The second repository needs no challenge.
    assert [seen.status for seen in server.requests("manifest")] == [401, 200, 200]
    assert [seen.query["scope"] for seen in server.requests("token")] == [
        f"repository:{NAME}:pull",
        "repository:library/other:pull",
    ]


async def test_many_tasks_ask_for_a_token_once(server):
    server.sign_in.require_bearer(robot=PASSWORD)
    async with robot(server) as upstream:
        await upstream.check()
        server.forget()
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(upstream.manifest(NAME, TAG))
    assert (server.count("token"), server.count("manifest")) == (1, 20)


@pytest.mark.parametrize(
    ("reported", "valid_for"), [(300, 300), (1, 60), (None, 60), (10**9, 24 * 3600), (120.5, 120.5)]
)
async def test_token_is_used_as_long_as_it_is_valid(server, reported, valid_for):
    server.sign_in.require_bearer(robot=PASSWORD)
    server.sign_in.token_seconds = 10**9
    server.sign_in.reports_lifetime, server.sign_in.reported_seconds = reported is not None, reported
    clock = Clock()
    async with robot(server, clock=clock) as upstream:
        await upstream.manifest(NAME, TAG)
        clock.seconds += valid_for - 0.1
        await upstream.manifest(NAME, TAG)
        assert server.count("token") == 1
        clock.seconds += 0.2
        await upstream.manifest(NAME, TAG)
        assert server.count("token") == 2


async def test_revoked_token_is_replaced(server):
    server.sign_in.require_bearer(robot=PASSWORD)
    async with robot(server) as upstream:
        await upstream.manifest(NAME, TAG)
        server.sign_in.revoke_tokens()
        server.forget()
        await upstream.manifest(NAME, TAG)
    assert [seen.status for seen in server.requests("manifest")] == [401, 200]


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_rotated_password_of_a_file_is_read_again(server, tmp_path, scheme):
    file = tmp_path / "password"
    file.write_text("first\n")
    server.sign_in.require_basic(robot="first")
    server.sign_in.scheme = scheme
    async with connect(server.url, username="robot", password_file=str(file)) as upstream:
        await upstream.manifest(NAME, TAG)
        server.sign_in.rotate("robot", "second")
        file.write_text("second\n")
        await upstream.manifest(NAME, TAG)


async def test_missing_password_file_is_an_outage(server, tmp_path):
    server.sign_in.require_basic(robot=PASSWORD)
    for content, problem in (
        (None, "No such file"),
        (b"", "is empty"),
        (b"\xff", "is not UTF-8"),
        (b"x" * 2**21, "is larger"),
    ):
        file = tmp_path / "password"
        if content is not None:
            file.write_bytes(content)
        async with connect(server.url, username="robot", password_file=str(file)) as upstream:
            with pytest.raises(UpstreamUnavailableError, match=problem):
                await upstream.manifest(NAME, TAG)


HELPER = """\
import json, sys
from pathlib import Path
folder = Path(sys.argv[1])
host = sys.stdin.readline().strip()
with (folder / "runs").open("a") as runs:
    print(*sys.argv[2:], host, file=runs)
if not (folder / "password").exists():
    print("credentials not found in native keychain")
    sys.exit(1)
password = (folder / "password").read_text()
if password == "broken":
    print("secret output that nobody may see", file=sys.stderr)
    sys.exit(3)
print(json.dumps({"ServerURL": host, "Username": "robot", "Secret": password}) if password else "hunter2")
"""


class Helper:
    """A credential helper whose password the test changes."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "helper.py").write_text(HELPER)
        self.command = f"{sys.executable} {folder / 'helper.py'} {folder}"

    def give(self, password):
        (self.folder / "password").write_text(password)

    @property
    def runs(self):
        return (self.folder / "runs").read_text().splitlines()


@pytest.fixture
def helper(tmp_path):
    return Helper(tmp_path)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_helper_is_run_again_after_a_refusal(server, helper, scheme):
    helper.give("first")
    server.sign_in.require_basic(robot="first")
    server.sign_in.scheme = scheme
    clock = Clock()
    async with connect(server.url, exec=ProxyExecSettings(command=helper.command), clock=clock) as upstream:
        for _ in range(3):
            await upstream.manifest(NAME, TAG)
        assert helper.runs == [f"get {server.host}"]
        clock.seconds += 3600
        server.sign_in.rotate("robot", "second")
        helper.give("second")
        await upstream.manifest(NAME, TAG)
        assert len(helper.runs) == 2


async def test_helper_is_run_again_after_403(server, helper):
    """Amazon ECR answers 403 without a challenge once a password has expired."""
    helper.give("first")
    server.sign_in.require_basic(robot="first")
    clock = Clock()
    async with connect(server.url, exec=ProxyExecSettings(command=helper.command), clock=clock) as upstream:
        await upstream.manifest(NAME, TAG)
        clock.seconds += 12 * 3600
        server.sign_in.rotate("robot", "second")
        helper.give("second")
        server.faults.refuse(403, "manifest", times=1)
        await upstream.manifest(NAME, TAG)
    assert [seen.status for seen in server.seen] == [401, 200, 403, 200]


async def test_refusal_costs_one_run_of_the_helper_in_a_while(server, helper):
    helper.give(PASSWORD)
    server.sign_in.require_basic(robot=PASSWORD)
    server.faults.refuse(403)
    async with connect(server.url, exec=ProxyExecSettings(command=helper.command), clock=Clock()) as upstream:
        for _ in range(3):
            with pytest.raises(UpstreamAbsentError):
                await upstream.manifest(NAME, TAG)
    server.faults.recover()
    async with connect(server.url, exec=ProxyExecSettings(command=helper.command), clock=Clock()) as upstream:
        await upstream.manifest(NAME, TAG)
        server.faults.refuse(403, "manifest")
        for _ in range(3):
            with pytest.raises(UpstreamAbsentError):
                await upstream.manifest(NAME, TAG)
    assert helper.runs == [f"get {server.host}"]


@pytest.mark.parametrize("is_from_helper", [False, True])
async def test_identity_token_is_exchanged_for_a_token(server, helper, is_from_helper):
    server.sign_in.require_bearer()
    server.sign_in.identity_tokens["refresh-me"] = "robot"
    file = helper.folder / "config.json"
    file.write_text(json.dumps({"auths": {server.host: {"auth": "PHRva2VuPjo=", "identitytoken": "refresh-me"}}}))
    options: dict[str, Any] = {"docker_config": str(file)}
    if is_from_helper:
        program = helper.folder / "identity"
        program.write_text('#!/bin/sh\necho \'{"Username": "<token>", "Secret": "refresh-me"}\'\n')
        program.chmod(0o755)
        options = {"exec": ProxyExecSettings(command=str(program))}
    async with connect(server.url, **options) as upstream:
        await upstream.manifest(NAME, TAG)
        await upstream.manifest(NAME, TAG)
        [seen] = server.requests("token")
        assert seen.kind == "token POST"
        assert not seen.query
        server.sign_in.identity_tokens.clear()
        server.sign_in.revoke_tokens()
        with pytest.raises(UpstreamUnavailableError, match="refused the user name or password"):
            await upstream.manifest(NAME, TAG)


async def test_identity_token_is_no_password(server, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {server.host: {"identitytoken": "refresh-me"}}}))
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url, docker_config=str(file)) as upstream:
        with pytest.raises(UpstreamUnavailableError):
            await upstream.manifest(NAME, TAG)
    assert not any(seen.is_signed_in for seen in server.seen)


async def test_credentials_of_a_helper_have_a_lifetime(server, helper):
    helper.give(PASSWORD)
    server.sign_in.require_basic(robot=PASSWORD)
    clock = Clock()
    program = ProxyExecSettings(command=helper.command, lifetime_seconds=3600)
    async with connect(server.url, exec=program, clock=clock) as upstream:
        for seconds, runs in ((0, 1), (3599, 1), (1, 2)):
            clock.seconds += seconds
            await upstream.manifest(NAME, TAG)
            assert len(helper.runs) == runs


async def test_helper_without_credentials_means_anonymous_access(server, helper):
    server.sign_in.require_bearer(anonymous=True)
    async with connect(server.url, exec=ProxyExecSettings(command=helper.command)) as upstream:
        await upstream.manifest(NAME, TAG)


@pytest.mark.parametrize(("password", "problem"), [("broken", "ended with status 3"), ("", "gave no credentials")])
async def test_failing_helper_is_an_outage_and_its_output_stays_secret(server, helper, caplog, password, problem):
    helper.give(password)
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url, exec=ProxyExecSettings(command=helper.command)) as upstream:
        with pytest.raises(UpstreamUnavailableError, match=problem) as caught:
            await upstream.manifest(NAME, TAG)
    assert "secret output" not in str(caught.value) + caplog.text
    assert PASSWORD not in str(caught.value) + caplog.text


async def test_missing_helper_is_an_outage(server):
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url, exec=ProxyExecSettings(command="/no/such/helper")) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="cannot be run"):
            await upstream.manifest(NAME, TAG)


@pytest.mark.parametrize("key", ["{host}", "http://{host}/v2/", "{host}/some/path"])
@pytest.mark.parametrize("entry", [{"auth": ENCODED}, {"username": "robot", "password": PASSWORD}])
async def test_docker_configuration_has_credentials(server, tmp_path, key, entry):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {"other.test": {"auth": "eDp5"}, key.format(host=server.host): entry}}))
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url, docker_config=str(file)) as upstream:
        await upstream.manifest(NAME, TAG)


async def test_docker_configuration_is_read_again(server, tmp_path):
    file = tmp_path / "config.json"
    file.write_text("{}")
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url, docker_config=str(file)) as upstream:
        with pytest.raises(UpstreamAbsentError):
            await upstream.manifest(NAME, TAG)
        file.write_text(json.dumps({"auths": {server.host: {"auth": ENCODED}}}))
        await upstream.manifest(NAME, TAG)


@pytest.mark.parametrize("member", ["credHelpers", "credsStore"])
async def test_docker_configuration_names_helpers(server, helper, monkeypatch, member):
    helper.give(PASSWORD)
    program = helper.folder / "docker-credential-test"
    program.write_text(f'#!/bin/sh\nexec {helper.command} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.folder), prepend=":")
    file = helper.folder / "config.json"
    file.write_text(
        json.dumps({"auths": {server.host: {}}, member: {server.host: "test"} if member == "credHelpers" else "test"})
    )
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url, docker_config=str(file)) as upstream:
        await upstream.manifest(NAME, TAG)
    assert helper.runs == [f"get {server.host}"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"auths": []}',
        '{"auths": {"h": {"auth": "????"}}}',
        '{"auths": {"h": {"auth": "/w=="}}}',
    ],
)
async def test_broken_docker_configuration_is_an_outage(server, tmp_path, text):
    file = tmp_path / "config.json"
    file.write_text(text)
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url, docker_config=str(file)) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="Docker's configuration"):
            await upstream.manifest(NAME, TAG)


async def test_password_is_not_sent_to_a_foreign_token_server(server, caplog):
    server.sign_in.require_bearer(anonymous=True, robot=PASSWORD)
    server.sign_in.realm = server.token_url("localhost")
    with caplog.at_level(logging.WARNING):
        async with robot(server) as upstream:
            await upstream.manifest(NAME, TAG)
            server.sign_in.revoke_tokens()
            await upstream.manifest(NAME, TAG)
    assert server.count("token") == 2
    assert not any(seen.is_signed_in for seen in server.requests("token"))
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "gets no password" in warning.message
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("with_port", [False, True])
async def test_listed_token_server_gets_the_password(server, with_port):
    server.sign_in.require_bearer(robot=PASSWORD)
    server.sign_in.realm = server.token_url("localhost")
    listed = f"localhost:{server.token_port}" if with_port else "LOCALHOST"
    async with robot(server, realms=(listed,)) as upstream:
        await upstream.manifest(NAME, TAG)
    assert server.requests("token")[0].is_signed_in


@pytest.mark.parametrize(
    ("realm", "upstream", "may"),
    [
        ("https://auth.docker.io/token", "https://registry-1.docker.io", True),
        ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com", True),
        ("https://quay.io/v2/auth", "https://quay.io", True),
        ("https://QUAY.io./v2/auth", "https://quay.io", True),
        ("http://auth.docker.io/token", "https://registry-1.docker.io", False),
        ("https://auth.docker.io.evil.com/", "https://registry-1.docker.io", False),
        ("https://evildocker.io/", "https://registry-1.docker.io", False),
        ("https://evil.co.uk/", "https://registry.example.co.uk", False),
        ("https://auth.example.co.uk/", "https://registry.example.co.uk", True),
        ("https://co.uk/", "https://example.co.uk", False),
        ("https://evil.azurecr.io/", "https://mine.azurecr.io", False),
        ("https://mine.azurecr.io/oauth2/token", "https://mine.azurecr.io", True),
        ("http://10.0.0.2/token", "http://10.0.0.1", False),
        ("http://10.0.0.1:5001/token", "http://10.0.0.1:5000", True),
        ("http://auth/token", "http://registry", False),
        ("http://[::1]:5001/token", "http://[::1]:5000", True),
    ],
)
def test_token_server_must_belong_to_the_upstream(realm, upstream, may):
    assert may_see_password(URL(realm), URL(upstream), ()) is may


async def test_wrong_password_is_an_outage_and_not_sent_again_at_once(server):
    server.sign_in.require_bearer(robot="other")
    clock = Clock()
    async with robot(server, clock=clock) as upstream:
        for _ in range(5):
            with pytest.raises(UpstreamUnavailableError, match="refused the user name or password"):
                await upstream.manifest(NAME, TAG)
        assert server.count("token") == 1
        server.sign_in.rotate("robot", PASSWORD)
        clock.seconds += 61
        await upstream.manifest(NAME, TAG)


async def test_wrong_basic_password_is_an_outage(server):
    server.sign_in.require_basic(robot="other")
    async with robot(server) as upstream:
        with pytest.raises(UpstreamUnavailableError, match="refused the user name or password"):
            await upstream.manifest(NAME, TAG)
        with pytest.raises(UpstreamUnavailableError, match="refused the user name or password"):
            await upstream.check()


async def test_private_repository_is_absent_for_anonymous_clients(server):
    server.sign_in.require_bearer(anonymous=True)
    server.sign_in.private.add(NAME)
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamAbsentError):
            await upstream.manifest(NAME, TAG)
        server.sign_in.anonymous = False
        with pytest.raises(UpstreamAbsentError, match="refuses anonymous access"):
            await upstream.manifest("library/other", TAG)
    server.sign_in.require_basic(robot=PASSWORD)
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamAbsentError):
            await upstream.manifest(NAME, TAG)
        await upstream.check()


async def test_busy_token_server_makes_the_address_busy(server):
    server.sign_in.require_bearer(anonymous=True)
    server.faults.refuse(429, "token", headers={"Retry-After": "50"})
    async with connect(server.url) as upstream:
        for _ in range(2):
            with pytest.raises(UpstreamBusyError):
                await upstream.manifest(NAME, TAG)
    assert (server.count("manifest"), server.count("token")) == (1, 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a b"}', b'{"token": "a\\nb"}',
     b'{"token": "' + b"x" * 30_000 + b'"}', b" " * 300_000 + b"{}"],
)  # fmt: skip
async def test_unusable_token_is_an_outage(server, body):
    server.sign_in.require_bearer(anonymous=True)
    server.faults.refuse(200, "token", body=body)
    async with connect(server.url) as upstream:
        with pytest.raises(UpstreamUnavailableError):
            await upstream.manifest(NAME, TAG)


@pytest.mark.parametrize(
    "realm", ["", "ftp://host/", "/token", "http://u:p@host/", "http://[", "http://h/" + "x" * 9000]
)
async def test_unusable_realm_is_no_sign_in(server, realm):
    server.sign_in.require_bearer(anonymous=True)
    server.sign_in.challenge = f'Bearer realm="{realm}",service="s"'
    async with connect(server.url) as upstream:
        with pytest.raises((UpstreamUnavailableError, UpstreamAbsentError)):
            await upstream.manifest(NAME, TAG)


async def test_scope_of_the_challenge_counts(server):
    server.sign_in.require_bearer(anonymous=True)
    scope = f"repository:{NAME}:pull repository:extra:pull"
    server.sign_in.challenge = f'Bearer realm="{server.token_url()}",service="s",scope="{scope}"'
    async with connect(server.url) as upstream:
        await upstream.manifest(NAME, TAG)
    assert server.requests("token")[0].query["scope"] == scope


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"'],
         [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"})]),
        (['Basic realm="a \\"b\\""'], [("basic", {"realm": 'a "b"'})]),
        (["Basic"], [("basic", {})]),
        (["Negotiate, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (['BEARER Realm = "r" , Service=s', "Basic realm=b"],
         [("bearer", {"realm": "r", "service": "s"}), ("basic", {"realm": "b"})]),
        (['Bearer realm="r",error="invalid_token", Basic realm="b"'],
         [("bearer", {"realm": "r", "error": "invalid_token"}), ("basic", {"realm": "b"})]),
        ([""], []),
        (['"'], []),
    ],
)  # fmt: skip
def test_challenges_are_parsed(headers, expected):
    assert parse_challenges(headers) == [Challenge(scheme, parameters) for scheme, parameters in expected]


def test_bearer_with_a_realm_is_preferred():
    chosen = usable_challenge(['Basic realm="b"', 'Bearer realm="r"'])
    assert chosen is not None
    assert chosen.scheme == "bearer"
    assert usable_challenge(['Bearer service="s"', "Digest x=y"]) is None


async def test_check_asks_for_no_right(server):
    """GitHub's registry names a repository that does not exist in the challenge of its root."""
    server.sign_in.require_bearer(robot=PASSWORD)
    server.sign_in.challenge = f'Bearer realm="{server.token_url()}",service="s",scope="repository:user/image:pull"'
    async with robot(server) as upstream:
        await upstream.check()
    assert [dict(seen.query) for seen in server.requests("token")] == [{"service": "s"}]


@pytest.mark.parametrize("refuses_tokens", [False, True])
async def test_check_succeeds_without_credentials_at_a_closed_root(server, refuses_tokens):
    server.sign_in.require_bearer(anonymous=True)
    server.faults.refuse(401, "root", headers={"WWW-Authenticate": f'Bearer realm="{server.token_url()}"'})
    server.sign_in.anonymous = not refuses_tokens
    async with connect(server.url) as upstream:
        await upstream.check()


@pytest.mark.parametrize("closes_output", [False, True])
async def test_helper_that_hangs_is_ended(tmp_path, closes_output):
    program = tmp_path / "helper"
    program.write_text(f"#!/bin/sh\n{'exec >&-' if closes_output else ''}\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    program.chmod(0o755)
    source = CredentialHelper(str(program), timeout_seconds=2)
    with pytest.raises(UpstreamUnavailableError, match="did not end within 2 s"):
        await source.current("registry.test")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_helper_without_end_of_output_is_ended():
    with pytest.raises(UpstreamUnavailableError, match="helper yes: printed more than"):
        await CredentialHelper("yes").current("registry.test")


async def test_closing_ends_the_request_for_a_token(server):
    server.sign_in.require_bearer(anonymous=True)
    async with SilentServer() as silent:
        server.sign_in.realm = f"{silent.url}/token"
        async with connect(server.url) as upstream:
            waiting = asyncio.create_task(upstream.manifest(NAME, TAG))
            await server.until(lambda: silent.connections)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting


async def test_number_of_tokens_is_bounded(server):
    server.sign_in.require_bearer(anonymous=True)
    asked = [f"library/r{number}" for number in range(1002)]
    for name in asked:
        server.content.repositories[name] = server.content.repositories[NAME]
    async with connect(server.url) as upstream:
        for name in asked:
            await upstream.resolve(name, TAG)
        server.forget()
        for name, tokens in ((asked[-1], 0), (asked[2], 0), (asked[0], 1)):
            await upstream.resolve(name, TAG)
            assert server.count("token") == tokens
