"""The audit log of a real server: actor, action, client and outcome, with rotation and full disks."""

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests.support.commands import Completed, run_registry
from tests.support.oci import digest_of, make_image
from tests.support.processes import RegistryServer, ServerError
from tests.support.registry_client import Answer, RegistryClient

pytestmark = pytest.mark.e2e

PASSWORDS = {"alice": "alice-c4n4ry", "bob": "bob-c4n4ry"}
RULES = [
    {"who": ["alice"], "repositories": ["**"], "actions": ["pull", "push", "delete"]},
    {"who": ["anonymous"], "repositories": ["public/**"], "actions": ["pull"]},
]


class User(RegistryClient):
    """A client with credentials."""

    def __init__(self, host: str, name: str, password: str | None = None) -> None:
        super().__init__(host)
        credentials = base64.b64encode(f"{name}:{password or PASSWORDS[name]}".encode()).decode()
        self._identity = {"Authorization": f"Basic {credentials}", "X-Forwarded-For": "192.0.2.7"}

    def request(self, method: str, target: str, *, body: Any = None, headers: Any = None) -> Answer:
        return super().request(method, target, body=body, headers={**self._identity, **(headers or {})})


def audited(
    folder: Path, *, audit: dict[str, Any] | None = None, config: dict[str, Any] | None = None
) -> RegistryServer:
    users = folder / "htpasswd"
    users.write_text(
        "".join(
            f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n" for name, word in PASSWORDS.items()
        )
    )
    document = {
        "http": {"workers": 2, "trustedproxies": ["127.0.0.0/8"]},
        "auth": {"htpasswd": {"realm": "test", "path": str(users)}},
        "access": {"rules": RULES},
        "audit": {"file": str(folder / "audit.jsonl")} if audit is None else audit,
        **(config or {}),
    }
    return RegistryServer(folder / "server", folder / "storage", config=document)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server that several tests share."""
    return tmp_path_factory.mktemp("audited")


@pytest.fixture(scope="module")
def shared_server(folder: Path) -> Iterator[RegistryServer]:
    with audited(folder) as started:
        yield started


@pytest.fixture
def log(folder: Path, shared_server: RegistryServer) -> Path:
    """The audit log of the shared server, empty."""
    path = folder / "audit.jsonl"
    path.write_text("")
    return path


@pytest.fixture
def server(shared_server: RegistryServer, log: Path) -> RegistryServer:
    """The shared server, whose audit log is empty."""
    return shared_server


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(path: Path) -> list[tuple[Any, ...]]:
    return [(each["action"], each["allowed"], each.get("status")) for each in events(path)]


def test_changes_are_recorded_completely(server, log) -> None:
    alice, image = User(server.host, "alice"), make_image(40)
    alice.push("team/app", "v1", image)
    layer = image.blobs[0].digest
    alice.request("POST", f"/v2/team/copy/blobs/uploads/?mount={layer}&from=team/app").expect(201)
    alice.request("DELETE", f"/v2/team/copy/blobs/{layer}").expect(202)
    alice.request("DELETE", "/v2/team/app/manifests/v1", headers={"X-Request-Id": "the-last"}).expect(202)
    alice.request("DELETE", f"/v2/team/app/manifests/{image.digest}").expect(202)
    found = events(log)
    blobs = [each for each in found if each["action"] == "blob.push"]
    assert {each["digest"] for each in blobs} == {blob.digest for blob in image.blobs}
    [push, mount, unlink, untag, delete] = [each for each in found if each["action"] != "blob.push"]
    common = {
        "log": "audit", "stage": "done", "allowed": True, "actor": "alice", "login": "htpasswd", "client": "192.0.2.7"
    }  # fmt: skip
    for each in found:
        assert each.pop("time").endswith("Z")
        assert each.items() >= common.items()
    assert push.pop("request_id")
    assert push == {
        **common,
        "action": "manifest.push",
        "repository": "team/app",
        "tags": ["v1"],
        "digest": image.digest,
        "method": "PUT",
        "status": 201,
    }
    assert (mount["action"], mount["repository"], mount["source"]) == ("blob.mount", "team/copy", "team/app")
    assert (mount["digest"], unlink["action"], unlink["digest"]) == (layer, "blob.delete", layer)
    assert (untag["action"], untag["tags"], untag["request_id"]) == ("tag.delete", ["v1"], "the-last")
    assert (delete["action"], delete["digest"]) == ("manifest.delete", image.digest)


def test_refusals_and_failed_logins_are_recorded_and_challenges_are_not(server, log) -> None:
    nobody, bob = RegistryClient(server.host), User(server.host, "bob")
    nobody.request("GET", "/v2/").expect(401)
    nobody.request("POST", "/v2/team/app/blobs/uploads/").expect(401)
    assert not log.read_text()
    bob.request("GET", "/v2/").expect(200)
    bob.request("GET", "/v2/team/app/manifests/v1").expect(403)
    bob.request("POST", "/v2/team/app/blobs/uploads/").expect(403)
    bob.request("DELETE", "/v2/team/app/manifests/v1").expect(403)
    User(server.host, "alice", "wrong-c4n4ry").request("GET", "/v2/").expect(401)
    User(server.host, "alice", "wrong-c4n4ry").request("GET", "/auth/token?service=x").expect(401)
    User(server.host, "c4n4ry in the wrong field", "x").request("GET", "/v2/").expect(401)
    nobody.request("GET", "/v2/", headers={"Authorization": "Bearer c4n4ry"}).expect(401)
    assert told(log) == [
        ("manifest.pull", False, 403),
        ("upload.start", False, 403),
        ("tag.delete", False, 403),
        ("login", False, 401),
        ("token.issue", False, 401),
        ("login", False, 401),
        ("login", False, 401),
    ]
    found = events(log)
    assert [each.get("actor") for each in found] == ["bob"] * 3 + [None] * 4
    assert [each.get("claimed") for each in found] == [None, None, None, "alice", "alice", None, None]
    assert {each["error"] for each in found} == {"DENIED", "UNAUTHORIZED"}
    assert "c4n4ry" not in log.read_text()


def test_tokens_are_recorded_with_their_user(server, log) -> None:
    User(server.host, "alice").request("GET", "/auth/token?service=x&account=mallory").expect(200)
    RegistryClient(server.host).request("GET", "/auth/token?service=x").expect(200)
    [issued] = events(log)
    assert (issued["action"], issued["actor"], issued["allowed"]) == ("token.issue", "alice", True)


def test_pulls_are_recorded_if_configured(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    with audited(tmp_path, audit={"file": str(path), "pulls": True}) as server:
        image = make_image(41)
        User(server.host, "alice").push("public/app", "v1", image)
        path.write_text("")
        RegistryClient(server.host).pull("public/app", "v1")
        # The last line is written when the last byte has gone, which the client may see first.
        ends = time.monotonic() + 60
        while len(found := events(path)) < 1 + len(image.blobs):
            assert time.monotonic() < ends
            time.sleep(0.02)
        assert [each["action"] for each in found] == ["manifest.pull"] + ["blob.pull"] * len(image.blobs)
        assert [each.get("actor") for each in found] == [None] * len(found)


def test_refusal_in_read_only_mode_is_recorded(tmp_path) -> None:
    config = {"storage": {"maintenance": {"readonly": {"enabled": True}}}}
    with audited(tmp_path, config=config) as server:
        User(server.host, "alice").request("DELETE", "/v2/team/app/manifests/v1").expect(405)
        assert told(tmp_path / "audit.jsonl") == [("tag.delete", False, 405)]


def test_switch_by_configuration_is_recorded_once(tmp_path) -> None:
    log = tmp_path / "audit.jsonl"
    with audited(tmp_path) as server:
        document = json.loads(server.config_path.read_text())
        for enabled in (True, False):
            document["storage"]["maintenance"] = {"readonly": {"enabled": enabled, "reason": "moving"}}
            server.config_path.write_text(json.dumps(document))
            server.signal(signal.SIGHUP)
            ends = time.monotonic() + 60
            while len(told(log)) < (1 if enabled else 2):
                assert time.monotonic() < ends
                time.sleep(0.05)
        on, off = events(log)
        assert (on["action"], on["reason"], off["action"]) == ("readonly.on", "moving", "readonly.off")


def registry(server: RegistryServer, *words: str) -> Completed:
    return run_registry(*words, str(server.config_path))


def test_commands_that_change_something_are_recorded(tmp_path) -> None:
    log = tmp_path / "audit.jsonl"
    with audited(tmp_path) as server:
        User(server.host, "alice").push("team/app", "v1", make_image(45))
        log.write_text("")
        assert registry(server, "readonly", "status").returncode == 0
        assert registry(server, "repository", "delete", "--dry-run", "team/app").returncode == 0
        assert events(log) == []
        assert registry(server, "readonly", "on", "--reason", "moving").returncode == 0
        assert registry(server, "repository", "delete", "no/such").returncode == 3
        asked_on, done_on, asked_delete, done_delete = events(log)
        assert asked_on["command"] == done_on["command"] == f"readonly on --reason moving {server.config_path}"
        assert (asked_on["stage"], done_on["stage"], asked_on["action"]) == ("asked", "done", "command")
        assert f"uid {os.getuid()}" in asked_on["actor"]
        assert (done_delete["status"], "not known" in done_delete["error"]) == (3, True)
        assert asked_delete["command"].startswith("repository delete no/such")


@pytest.mark.parametrize("command", [("retention", "apply"), ("garbage-collect",)], ids=lambda words: words[0])
def test_tags_that_retention_deletes_are_recorded_one_by_one(tmp_path, command) -> None:
    rules = {"rules": [{"keeplast": 1}], "interval": "0s"}
    with audited(tmp_path, config={"retention": rules}) as server:
        for number in range(3):
            User(server.host, "alice").push("team/app", f"v{number}", make_image(46 + number))
        (tmp_path / "audit.jsonl").write_text("")
        done = registry(server, *command)
        assert done.returncode == 0, done.stderr
        found = events(tmp_path / "audit.jsonl")
    assert [each["action"] for each in found] == ["command", "tag.delete", "tag.delete", "command"]
    assert sorted(each["tags"] for each in found[1:3]) == [["v0"], ["v1"]]
    assert {(each["actor"], each["reason"]) for each in found[1:3]} == {("the command line", "retention")}


def test_command_is_refused_if_the_required_log_fails(tmp_path) -> None:
    with audited(tmp_path, audit={"file": "/dev/full", "required": True}) as server:
        done = registry(server, "readonly", "on")
        assert done.returncode == 4
        assert "No space left on device" in done.stderr
        assert registry(server, "readonly", "status").stdout == "writable\n"


def test_rotation_loses_no_record(server, log) -> None:
    alice, moved = User(server.host, "alice"), log.with_suffix(".1")
    for number in range(10):
        alice.push_blob("team/app", b"before %d" % number)
    log.rename(moved)
    server.signal(signal.SIGHUP)
    for number in range(30):
        User(server.host, "alice").push_blob("team/app", b"after %d" % number)
    assert len(events(moved)) == 10
    assert len(events(log)) == 30


def test_changes_wait_for_a_required_log_and_pulls_do_not(tmp_path) -> None:
    image = make_image(42)
    with audited(tmp_path) as server:
        User(server.host, "alice").push("team/app", "v1", image)
    with audited(tmp_path, audit={"file": "/dev/full", "required": True, "pulls": True}) as server:
        alice = User(server.host, "alice")
        assert image.digest in alice.pull("team/app", "v1")
        alice.request("GET", "/auth/token?service=x").expect(200)
        location = alice.start_upload("team/app").header("Location")
        for refused in (
            alice.request("DELETE", "/v2/team/app/manifests/v1"),
            alice.request("PUT", "/v2/team/app/manifests/v2", body=image.manifest.data),
            alice.finish_upload(location, digest_of(b"x"), b"x"),
        ):
            assert refused.status == 503
            assert b'"the audit log is unavailable' in refused.body
            assert b"/dev/full" not in refused.body
        assert alice.tags("team/app") == ["v1"]
        log = server.log()
    assert 'msg="write request rejected: the audit log /dev/full cannot be written: No space left on device"' in log
    assert log.count("audit event not recorded") >= 1 + len(image.blobs) + 1
    assert "c4n4ry" not in log


def test_required_log_records_each_request_before_and_after(tmp_path) -> None:
    path = tmp_path / "audit.jsonl"
    with audited(tmp_path, audit={"file": str(path), "required": True, "fsync": True}) as server:
        User(server.host, "alice").request("DELETE", "/v2/team/app/manifests/v1").expect(404)
        User(server.host, "bob").request("DELETE", "/v2/team/app/manifests/v1").expect(403)
    asked, done, refused = events(path)
    assert (asked["stage"], asked["actor"], asked["allowed"], asked.get("status")) == ("asked", "alice", True, None)
    assert (done["stage"], done["status"], done["error"]) == ("done", 404, "MANIFEST_UNKNOWN")
    assert asked["request_id"] == done["request_id"]
    assert (refused["stage"], refused["status"]) == ("done", 403)


def test_full_disk_stops_nothing_if_the_log_is_optional(tmp_path) -> None:
    with audited(tmp_path, audit={"file": "/dev/full"}) as server:
        User(server.host, "alice").push("team/app", "v1", make_image(43))
        assert "manifest.push" in server.log()
        reason = "the audit log /dev/full cannot be written: No space left on device"
        assert f'msg="audit event not recorded, logged here instead: {reason}"' in server.log()


def test_audit_log_can_be_standard_output(tmp_path) -> None:
    with audited(tmp_path, audit={"stdout": True}) as server:
        User(server.host, "alice").push("team/app", "v1", make_image(44))
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith('{"log": "audit"')]
    assert lines[-1]["action"] == "manifest.push"


def test_audit_log_that_cannot_be_written_stops_the_start(tmp_path) -> None:
    server = audited(tmp_path, audit={"file": str(tmp_path / "nowhere" / "audit.jsonl")})
    with pytest.raises(ServerError, match=r"audit\.jsonl cannot be written: No such file or directory"), server:
        pytest.fail("it serves")
