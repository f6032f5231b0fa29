"""Order of storage writes, events, audit records and answers, for each operation over HTTP.

An event follows the writes that it reports, and precedes the answer (ADR 16). With `audit.required`, a record precedes
the change, and a second one follows it (ADR 18).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from config.settings import AuditSettings, Settings
from core.errors import AuditUnavailableError, StorageUnavailableError
from core.model.digest import Digest
from core.model.events import EventAction, Occurrence, Origin
from core.model.media_types import OCI_MANIFEST, OCTET_STREAM
from core.ports.audit_log import AuditEvent, AuditLog, Stage
from core.ports.event_sink import EventSink
from core.store import summary_keys
from tests.http.conftest import Api
from tests.support.content import image_manifest
from tests.support.core_services import NOW, CoreServices
from tests.support.faulty_blob_storage import MUTATIONS, FaultyBlobStorage

# Other tests run the same lines; measuring coverage here would double the time of this file.
pytestmark = pytest.mark.unmeasured

NAME = "a/b"
LAYER = b"layer"
LAYER_DIGEST = Digest.of(LAYER)
IMAGE = image_manifest(b"{}", [LAYER])
DIGEST = Digest.of(IMAGE)
NEW = image_manifest(b"{}", [LAYER], annotations={"new": "yes"})
NEW_DIGEST = Digest.of(NEW)
EMPTY = Digest.of(b"")
MANIFESTS = f"/v2/{NAME}/manifests"
BLOBS = f"/v2/{NAME}/blobs"


@dataclass
class Journal:
    """The steps of an operation, in order. Adjacent storage writes are one step."""

    steps: list[str] = field(default_factory=list)

    def note(self, step: str) -> None:
        if self.steps[-1:] != [step]:
            self.steps.append(step)

    def take(self) -> list[str]:
        steps, self.steps = self.steps, []
        return steps


class JournalStorage(FaultyBlobStorage):
    """Notes each write, except the cleanup of finished uploads, which is no part of a request."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(InMemoryBlobStorage(now=lambda: NOW))
        self._journal = journal

    @override
    async def carry_out(self, operation, key, call):
        result = await super().carry_out(operation, key, call)
        if operation in MUTATIONS and not (operation.startswith("delete") and "/_uploads/" in key):
            self._journal.note("change record" if key.startswith(summary_keys.CHANGES) else "storage")
        return result


class JournalIndex(InMemoryCatalogIndex):
    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._steps = journal

    @override
    async def add(self, name):
        self._steps.note("catalog add")
        return await super().add(name)

    @override
    async def remove(self, name):
        self._steps.note("catalog remove")
        await super().remove(name)


class JournalSink(EventSink):
    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.origins: list[Origin] = []
        self.fails = False

    @override
    def wants(self, action, media_type=""):
        return True

    @property
    @override
    def wants_references(self):
        return False

    @override
    async def emit(self, occurrences: Sequence[Occurrence], origin: Origin) -> None:
        # Only events of changes are durable, so only these can fail.
        if self.fails and occurrences[0].action is not EventAction.PULL:
            self.journal.note("event failed")
            raise StorageUnavailableError("no space left on device")
        self.origins.append(origin)
        for occurrence in occurrences:
            self.journal.note(f"event {describe(occurrence)}")


def describe(occurrence: Occurrence) -> str:
    kind = "blob" if occurrence.media_type == OCTET_STREAM else "manifest" if occurrence.media_type else ""
    named = [occurrence.tag, occurrence.digest and short(occurrence.digest)]
    source = occurrence.from_repository and f"from {occurrence.from_repository}"
    return " ".join(filter(None, [occurrence.action, kind, occurrence.repository, *named, source]))


def short(digest: str) -> str:
    names: dict[str, str] = {DIGEST: "IMAGE", NEW_DIGEST: "NEW", LAYER_DIGEST: "LAYER", EMPTY: "EMPTY"}
    return names.get(digest, digest)


class JournalAuditLog(AuditLog):
    name = "the journal"

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.events: list[AuditEvent] = []
        self.fails = False

    @override
    async def record(self, event: AuditEvent) -> None:
        if self.fails:
            self._journal.note("audit failed")
            raise AuditUnavailableError("the disk is full")
        self.events.append(event)
        status = f" {event.status}" if event.stage is Stage.DONE else ""
        self._journal.note(f"{event.stage} {event.action}{status}")

    @override
    def check(self) -> None:
        return


class JournalServices(CoreServices):
    journal: Journal

    @override
    def registry(self, index):
        return super().registry(JournalIndex(self.journal))


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def services(journal, sink, audit_log) -> CoreServices:
    services = JournalServices(storage=JournalStorage(journal), events=sink, audit_log=audit_log)
    services.journal = journal
    return services


@pytest.fixture
def sink(journal) -> JournalSink:
    return JournalSink(journal)


@pytest.fixture
def audit_log(journal) -> JournalAuditLog:
    return JournalAuditLog(journal)


AUDIT = AuditSettings(stdout=True, required=True, pulls=True)


@pytest.fixture
async def api(start, journal, audit_log) -> Api:
    """A server with one image in `a/b`, tagged `v1` and `v2`."""
    return await filled(await start(Settings(audit=AUDIT), audit_log=audit_log), journal)


async def filled(api: Api, journal: Journal) -> Api:
    await api.push_blob(NAME, b"{}")
    await api.push_blob(NAME, LAYER)
    for tag in ("v1", "v2"):
        await api.push_manifest(NAME, tag, IMAGE, OCI_MANIFEST)
    journal.take()
    return api


@dataclass(frozen=True)
class Operation:
    """A request, its status, and its steps before the answer."""

    method: str
    path: str
    status: int
    steps: Sequence[str]
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, api: Api) -> int:
        kind = {"Content-Type": OCI_MANIFEST} if "/manifests/" in self.path and self.body else {}
        async with api.request(self.method, self.path, data=self.body, headers=kind | self.headers) as response:
            await response.read()
            return response.status


CHANGES = {
    "blob in one request": Operation(
        "POST",
        f"{BLOBS}/uploads/?digest={EMPTY}",
        201,
        ["asked blob.push", "storage", f"event push blob {NAME} EMPTY", "done blob.push 201"],
    ),
    "mount": Operation(
        "POST",
        f"/v2/c/blobs/uploads/?mount={LAYER_DIGEST}&from={NAME}",
        201,
        ["asked blob.mount", "storage", f"event mount blob c LAYER from {NAME}", "done blob.mount 201"],
    ),
    "mount from an unnamed repository": Operation(
        "POST",
        f"/v2/c/blobs/uploads/?mount={LAYER_DIGEST}",
        201,
        ["asked blob.mount", "storage", "event mount blob c LAYER", "done blob.mount 201"],
    ),
    "manifest by tag": Operation(
        "PUT",
        f"{MANIFESTS}/v9",
        201,
        [
            "asked manifest.push",
            "storage",
            "catalog add",
            "change record",
            f"event push manifest {NAME} v9 NEW",
            "done manifest.push 201",
        ],
        body=NEW,
    ),
    "manifest by digest": Operation(
        "PUT",
        f"{MANIFESTS}/{NEW_DIGEST}",
        201,
        ["asked manifest.push", "storage", "catalog add", f"event push manifest {NAME} NEW", "done manifest.push 201"],
        body=NEW,
    ),
    "manifest with several tags": Operation(
        "PUT",
        f"{MANIFESTS}/{NEW_DIGEST}?tag=x&tag=y",
        201,
        [
            *("asked manifest.push", "storage", "catalog add", "change record"),
            *(f"event push manifest {NAME} x NEW", f"event push manifest {NAME} y NEW"),
            "done manifest.push 201",
        ],
        body=NEW,
    ),
    "delete of a tag": Operation(
        "DELETE",
        f"{MANIFESTS}/v1",
        202,
        ["asked tag.delete", "storage", "change record", f"event delete {NAME} v1", "done tag.delete 202"],
    ),
    "delete of a manifest": Operation(
        "DELETE",
        f"{MANIFESTS}/{DIGEST}",
        202,
        [
            *("asked manifest.delete", "storage", "catalog remove", "change record"),
            *(f"event delete {NAME} IMAGE", f"event delete {NAME} v1", f"event delete {NAME} v2"),
            "done manifest.delete 202",
        ],
    ),
    "delete of a blob": Operation(
        "DELETE",
        f"{BLOBS}/{LAYER_DIGEST}",
        202,
        ["asked blob.delete", "storage", f"event delete {NAME} LAYER", "done blob.delete 202"],
    ),
    "delete of a repository": Operation(
        "DELETE",
        f"/v2/{NAME}/_sohu/registry/repository",
        200,
        [
            *("asked repository.delete", "storage", "catalog remove", "change record"),
            *(f"event delete {NAME}", "done repository.delete 200"),
        ],
    ),
}
PULLS = {
    "manifest by tag": Operation(
        "GET", f"{MANIFESTS}/v1", 200, [f"event pull manifest {NAME} v1 IMAGE", "done manifest.pull 200"]
    ),
    "manifest by digest": Operation(
        "GET", f"{MANIFESTS}/{DIGEST}", 200, [f"event pull manifest {NAME} IMAGE", "done manifest.pull 200"]
    ),
    "description of a manifest": Operation(
        "HEAD", f"{MANIFESTS}/v1", 200, [f"event pull manifest {NAME} v1 IMAGE", "done manifest.pull 200"]
    ),
    "manifest that the client has": Operation(
        "GET", f"{MANIFESTS}/v1", 304, ["done manifest.pull 304"], headers={"If-None-Match": f'"{DIGEST}"'}
    ),
    "blob": Operation("GET", f"{BLOBS}/{LAYER_DIGEST}", 200, [f"event pull blob {NAME} LAYER", "done blob.pull 200"]),
    "description of a blob": Operation(
        "HEAD", f"{BLOBS}/{LAYER_DIGEST}", 200, [f"event pull blob {NAME} LAYER", "done blob.pull 200"]
    ),
    "part of a blob": Operation(
        "GET",
        f"{BLOBS}/{LAYER_DIGEST}",
        206,
        [f"event pull blob {NAME} LAYER", "done blob.pull 206"],
        headers={"Range": "bytes=1-2"},
    ),
    "last bytes of a blob": Operation(
        "GET",
        f"{BLOBS}/{LAYER_DIGEST}",
        206,
        [f"event pull blob {NAME} LAYER", "done blob.pull 206"],
        headers={"Range": "bytes=-2"},
    ),
    "two parts of a blob": Operation(
        "GET",
        f"{BLOBS}/{LAYER_DIGEST}",
        206,
        [f"event pull blob {NAME} LAYER", "done blob.pull 206"],
        headers={"Range": "bytes=0-0,2-2"},
    ),
    "blob that the client has": Operation(
        "GET",
        f"{BLOBS}/{LAYER_DIGEST}",
        304,
        [f"event pull blob {NAME} LAYER", "done blob.pull 304"],
        headers={"If-None-Match": f'"{LAYER_DIGEST}"'},
    ),
    "two parts of a blob that the client has": Operation(
        "GET",
        f"{BLOBS}/{LAYER_DIGEST}",
        304,
        [f"event pull blob {NAME} LAYER", "done blob.pull 304"],
        headers={"If-None-Match": f'"{LAYER_DIGEST}"', "Range": "bytes=0-0,2-2"},
    ),
}
FAILURES = {
    "push of an invalid manifest": Operation(
        "PUT", f"{MANIFESTS}/v9", 400, ["asked manifest.push", "done manifest.push 400"], body=b"{}"
    ),
    "invalid name": Operation("DELETE", "/v2/A/manifests/v1", 400, ["asked tag.delete", "done tag.delete 400"]),
    "unknown tag": Operation("DELETE", f"{MANIFESTS}/no", 404, ["asked tag.delete", "done tag.delete 404"]),
    "unknown blob": Operation("GET", f"{BLOBS}/{NEW_DIGEST}", 404, ["done blob.pull 404"]),
    "unknown manifest": Operation("GET", f"{MANIFESTS}/no", 404, ["done manifest.pull 404"]),
    "range beyond the end": Operation(
        "GET", f"{BLOBS}/{LAYER_DIGEST}", 416, ["done blob.pull 416"], headers={"Range": "bytes=9-"}
    ),
    "unknown repository": Operation(
        "DELETE",
        "/v2/none/_sohu/registry/repository",
        404,
        ["asked repository.delete", "done repository.delete 404"],
    ),
    "unsupported method": Operation("POST", f"{MANIFESTS}/v1", 405, ["done other 405"]),
}
LISTS = {
    "base": Operation("GET", "/v2/", 200, ["done login 200"]),
    "catalog": Operation("GET", "/v2/_catalog", 200, ["done catalog.list 200"]),
    "tags": Operation("GET", f"/v2/{NAME}/tags/list", 200, ["done tags.list 200"]),
    "referrers": Operation("GET", f"/v2/{NAME}/referrers/{DIGEST}", 200, ["done referrers.list 200"]),
}
ALL = {
    f"{group}: {name}": operation
    for group, operations in (("change", CHANGES), ("pull", PULLS), ("failure", FAILURES), ("list", LISTS))
    for name, operation in operations.items()
}


def parametrize(operations):
    return pytest.mark.parametrize("operation", operations.values(), ids=operations.keys())


@parametrize(ALL)
async def test_steps_of_an_operation(api, journal, operation):
    assert await operation.send(api) == operation.status
    assert journal.take() == operation.steps


async def test_steps_of_an_upload_in_pieces(api, journal):
    async with api.request("POST", f"{BLOBS}/uploads/") as response:
        location = response.headers["Location"]
    assert journal.take() == ["storage"]
    async with api.request("PATCH", location, data=b"new") as response:
        location = response.headers["Location"]
    assert journal.take() == ["storage"]
    digest = Digest.of(b"new layer")
    async with api.request("PUT", f"{location}&digest={digest}", data=b" layer") as response:
        assert response.status == 201
    pushed = f"event push blob {NAME} {digest}"
    assert journal.take() == ["asked blob.push", "storage", pushed, "done blob.push 201"]


async def test_steps_of_a_cancelled_upload(api, journal):
    async with api.request("POST", f"{BLOBS}/uploads/") as response:
        location = response.headers["Location"]
    journal.take()
    async with api.request("DELETE", location) as response:
        assert response.status == 204
    assert journal.take() == ["asked upload.cancel", "done upload.cancel 204"]


async def test_mount_that_fails_starts_an_upload_without_an_event(api, journal):
    async with api.request("POST", f"/v2/c/blobs/uploads/?mount={NEW_DIGEST}&from={NAME}") as response:
        assert response.status == 202
    assert journal.take() == ["asked blob.mount", "storage", "done blob.mount 202"]


async def test_redirect_is_a_pull(api, journal, services, monkeypatch):
    async def redirect_url(_key, *, method):
        return f"https://store/{method}"

    monkeypatch.setattr(services.storage, "redirect_url", redirect_url)
    assert await PULLS["blob"].send(api) == 307
    assert journal.take() == [f"event pull blob {NAME} LAYER", "done blob.pull 307"]


@parametrize(CHANGES)
async def test_change_whose_event_fails_is_refused_although_it_stands(api, journal, sink, audit_log, operation):
    sink.fails = True
    assert await operation.send(api) == 503
    before_event = [step for step in operation.steps[:-1] if not step.startswith("event ")]
    done = operation.steps[-1].rpartition(" ")[0]
    assert journal.take() == [*before_event, "event failed", f"{done} 503"]
    assert (audit_log.events[-1].allowed, audit_log.events[-1].error) == (True, "UNAVAILABLE")


@parametrize(CHANGES)
async def test_change_is_refused_while_a_required_audit_log_fails(api, journal, audit_log, operation):
    audit_log.fails = True
    assert await operation.send(api) == 503
    assert journal.take() == ["audit failed"]


@parametrize(PULLS)
async def test_pull_works_while_a_required_audit_log_fails(api, journal, audit_log, operation):
    audit_log.fails = True
    assert await operation.send(api) == operation.status
    assert journal.take() == [*operation.steps[:-1], "audit failed"]


@parametrize(CHANGES)
async def test_change_stands_and_is_logged_while_an_optional_audit_log_fails(start, sink, audit_log, caplog, operation):
    settings, journal = Settings(audit=replace(AUDIT, required=False)), sink.journal
    api = await filled(await start(settings, audit_log=audit_log), journal)
    audit_log.fails = True
    with caplog.at_level(logging.ERROR):
        assert await operation.send(api) == operation.status
    assert journal.take() == [*operation.steps[1:-1], "audit failed"]
    [logged] = [record.audit for record in caplog.records if hasattr(record, "audit")]
    assert logged["status"] == str(operation.status)


@parametrize(CHANGES | PULLS)
async def test_origin_of_events_is_that_of_the_audit_record(api, sink, audit_log, operation):
    operation = replace(operation, headers={**operation.headers, "X-Request-Id": "rid", "User-Agent": "crane"})
    sink.origins.clear()
    await operation.send(api)
    for origin in sink.origins:
        assert (origin.method, origin.request_id, origin.user_agent) == (operation.method, "rid", "crane")
        assert origin.address.startswith("127.0.0.1:")
        assert origin.host == api.root.removeprefix("http://")
        assert origin.actor == audit_log.events[-1].actor == ""
    assert (audit_log.events[-1].request_id, audit_log.events[-1].client) == ("rid", "127.0.0.1")
