"""`/v2/_sohu/registry/trash` and `/v2/<name>/_sohu/registry/trash`."""

from datetime import datetime

import pytest

from config.settings import AuditSettings, Settings, StorageSettings
from core.coordination.read_only import ReadOnly, switch_on
from core.errors import AuditUnavailableError
from core.model import media_types
from core.model.access import ADMINISTRATION, AccessPolicy, Rule, RuleAction
from core.model.digest import Digest
from core.ports.audit_log import AuditAction, AuditEvent, AuditLog, Stage
from core.trash.entry import TrashKind
from entrypoints.http.authentication import accesses_of
from entrypoints.http.routes import Resource, match
from tests.http.conftest import error_codes
from tests.support.content import image_manifest
from tests.support.links import links_of

ALL = "/v2/_sohu/registry/trash"
IMAGE = image_manifest(b"{}", [b"layer"])
NEW = image_manifest(b"{}", [b"layer"], annotations={"new": "yes"})
RESTORE = {"action": "restore"}


def of(name):
    return f"/v2/{name}/_sohu/registry/trash"


class ListAuditLog(AuditLog):
    """Keeps events in memory; `is_broken` makes it fail."""

    name = "a list"

    def __init__(self):
        self.events: list[AuditEvent] = []
        self.is_broken = False

    async def record(self, event):
        if self.is_broken:
            raise AuditUnavailableError("broken")
        self.events.append(event)

    def check(self):
        pass


async def push(api, name, *tags, content=IMAGE):
    for blob in (b"{}", b"layer"):
        await api.push_blob(name, blob)
    for tag in tags:
        await api.push_manifest(name, tag, content, media_types.OCI_MANIFEST)


async def delete(api, name, reference):
    async with api.request("DELETE", f"/v2/{name}/manifests/{reference}") as response:
        assert response.status == 202


async def get(api, path):
    async with api.request("GET", path) as response:
        assert response.status == 200, await response.text()
        return await response.json(), response.headers.get("Link")


async def ask(api, method, path, **options):
    async with api.request(method, path, **options) as response:
        if response.status == 200:
            return 200, await response.json()
        return response.status, await error_codes(response)


async def entries_of(api, path=ALL):
    return [entry["entry"] for entry in (await get(api, path))[0]["entries"]]


async def all_pages(api, path):
    found, sizes = [], []
    while path:
        document, link = await get(api, path)
        sizes.append(len(document["entries"]))
        found += [entry["entry"] for entry in document["entries"]]
        path = links_of(link).get("next")
    return found, sizes


async def test_entry_shows_what_was_deleted_when_and_by_whom(api, services):
    await push(api, "team/app", "v1")
    await delete(api, "team/app", "v1")
    document, link = await get(api, ALL)
    [entry] = document["entries"]
    assert (entry["kind"], entry["repository"], entry["by"]) == ("tag", "team/app", "")
    assert entry["tags"] == [{"repository": "team/app", "tag": "v1", "digest": Digest.of(IMAGE)}]
    assert (entry["tagCount"], entry["complete"], link) == (1, True, None)
    lasts = datetime.fromisoformat(entry["expires"]) - datetime.fromisoformat(entry["when"])
    assert lasts == services.trash_keep
    assert await get(api, of("team/app")) == (document, None)


async def test_pages_show_each_entry_once(api):
    tags = [f"v{number:02}" for number in range(40)]
    await push(api, "a", *tags)
    await push(api, "b", *tags)
    for tag in tags:
        await delete(api, "a", tag)
        await delete(api, "b", tag)
    everything, sizes = await all_pages(api, f"{ALL}?n=30")
    assert (len(set(everything)), sizes) == (80, [30, 30, 20])
    assert everything == await entries_of(api) == sorted(everything)
    mine, sizes = await all_pages(api, f"{of('a')}?n=20")
    assert (len(mine), sizes) == (40, [20, 20])
    assert (await all_pages(api, f"{ALL}?n=20&repository=a"))[0] == mine
    assert sorted(mine + await entries_of(api, of("b"))) == everything
    assert await entries_of(api, f"{ALL}?n=0") == []


@pytest.mark.parametrize("query", ["n=x", "n=-1", "last=x", "last=20261124T034756.000000Z-tag-x/y"])
async def test_malformed_page_is_refused(api, query):
    assert await ask(api, "GET", f"{ALL}?{query}") == (400, ["PAGINATION_NUMBER_INVALID"])


async def test_illegal_name_is_refused(api):
    assert await ask(api, "GET", f"{ALL}?repository=A") == (400, ["NAME_INVALID"])
    assert await ask(api, "GET", of("A")) == (400, ["NAME_INVALID"])
    assert await ask(api, "POST", f"{of('A')}/x", json=RESTORE) == (400, ["NAME_INVALID"])


async def test_entry_of_a_collection_is_shown_to_operators_only(api, services):
    await push(api, "a", "v1")
    collection = services.trash.new_entry(TrashKind.COLLECTION)
    await services.trash.record(collection, blobs=[Digest.of(b"layer")], blob_bytes=5)
    [entry] = (await get(api, ALL))[0]["entries"]
    assert (entry["entry"], entry["repository"], entry["blobs"], entry["bytes"]) == (collection.id, None, 1, 5)
    assert await entries_of(api, of("a")) == []
    assert await ask(api, "POST", f"{of('a')}/{collection.id}", json=RESTORE) == (404, ["NAME_UNKNOWN"])


async def test_tag_is_restored_by_an_operator_or_in_its_repository(api):
    await push(api, "a", "v1")
    for url in (ALL, of("a")):
        await delete(api, "a", "v1")
        [entry] = await entries_of(api)
        status, document = await ask(api, "POST", f"{url}/{entry}", json=RESTORE)
        assert (status, document["entry"], document["repositories"]) == (200, entry, ["a"])
        assert document["tags"] == [{"repository": "a", "tag": "v1", "digest": Digest.of(IMAGE)}]
        assert await entries_of(api) == []
        async with api.request("GET", "/v2/a/manifests/v1") as response:
            assert await response.read() == IMAGE


async def test_last_deletion_of_a_tag_is_restored_by_its_name(api):
    await push(api, "team/app", "v1")
    await delete(api, "team/app", "v1")
    status, document = await ask(api, "POST", f"{ALL}/team/app:v1", json=RESTORE)
    assert (status, document["manifests"]) == (200, 1)


async def test_deleted_repository_is_restored_by_its_users(api):
    await push(api, "a", "v1")
    async with api.request("DELETE", "/v2/a/_sohu/registry/repository") as response:
        assert response.status == 200
    [entry] = await entries_of(api, of("a"))
    status, document = await ask(api, "POST", f"{of('a')}/{entry}", json=RESTORE)
    assert (status, [tag["tag"] for tag in document["tags"]]) == (200, ["v1"])


async def test_moved_tag_is_restored_with_force_only(api):
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    await push(api, "a", "v1", content=NEW)
    [entry] = await entries_of(api)
    for body in (RESTORE, RESTORE | {"force": False}):
        assert await ask(api, "POST", f"{of('a')}/{entry}", json=body) == (403, ["DENIED"])
    assert (await ask(api, "POST", f"{of('a')}/{entry}", json=RESTORE | {"force": True}))[0] == 200
    async with api.request("GET", "/v2/a/manifests/v1") as response:
        assert await response.read() == IMAGE


async def test_entry_of_another_repository_looks_like_none(api, services):
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    [entry] = await entries_of(api)
    answers = []
    for path in (f"{of('b')}/{entry}", f"{of('b')}/{entry[:-1]}0x", f"{of('b')}/x"):
        async with api.request("POST", path, json=RESTORE) as response:
            text = await response.text()
            answers.append((response.status, text.replace(path.rpartition("/")[2], "")))
    assert len(set(answers)) == 1
    assert answers[0][0] == 404
    assert await entries_of(api, of("b")) == []
    assert await entries_of(api) == [entry]


async def test_entry_of_an_older_version_is_shown_and_restored_in_its_repository_only(api, services):
    """Older versions did not write the repository into the name of an entry."""
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    [entry] = await entries_of(api)
    old = f"{entry.partition('-tag-')[0]}-tag-0123456789abcdef"
    keys = await services.keys("/docker/registry/v2/_trash")
    for key in keys:
        content = await services.storage.read(key)
        await services.storage.write(key.replace(entry, old), content.replace(entry.encode(), old.encode()))
    await services.storage.delete(list(keys))
    assert await entries_of(api, of("a")) == await entries_of(api) == [old]
    assert await entries_of(api, of("b")) == []
    assert await ask(api, "POST", f"{of('b')}/{old}", json=RESTORE) == (404, ["NAME_UNKNOWN"])
    assert (await ask(api, "POST", f"{of('a')}/{old}", json=RESTORE))[0] == 200


async def test_entry_is_removed_permanently(api):
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    [entry] = await entries_of(api)
    assert await ask(api, "DELETE", f"{ALL}/{entry}") == (200, {"entries": 1, "blobs": 0, "bytes": 0})
    assert await ask(api, "DELETE", f"{ALL}/{entry}") == (404, ["NAME_UNKNOWN"])
    assert await entries_of(api) == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(ALL, "GET"), (f"{ALL}/x", "POST, DELETE"), (of("a"), "GET"), (f"{of('a')}/x", "POST")],
)
async def test_other_methods_are_refused(api, path, allowed):
    async with api.request("PATCH", path) as response:
        assert (response.status, response.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "options",
    [
        {"data": b'{"action": "restore"}'},
        {"data": b'{"action": "restore"}', "headers": {"Content-Type": "text/plain"}},
        {"data": {"action": "restore"}},
        {"data": b"{", "headers": {"Content-Type": "application/json"}},
        {"data": b"[" * 4000, "headers": {"Content-Type": "application/json"}},
        {"data": b"\xff", "headers": {"Content-Type": "application/json"}},
        {"data": b" " * 5000, "headers": {"Content-Type": "application/json"}},
        {"json": []},
        {"json": {}},
        {"json": {"action": "delete"}},
        {"json": {"action": 1}},
        {"json": RESTORE | {"force": 1}},
        {"json": RESTORE | {"forced": True}},
    ],
    ids=str,
)
async def test_other_bodies_are_refused(api, options):
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    [entry] = await entries_of(api)
    for url in (ALL, of("a")):
        assert await ask(api, "POST", f"{url}/{entry}", **options) == (400, ["UNSUPPORTED"])
    assert await entries_of(api) == [entry]


async def test_read_only_registry_refuses_changes(start, services):
    api = await start()
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    [entry] = await entries_of(api)
    await switch_on(services.storage, ReadOnly(reason="moving"))
    api = await start()
    for url in (ALL, of("a")):
        assert await ask(api, "POST", f"{url}/{entry}", json=RESTORE) == (405, ["UNSUPPORTED"])
    assert await ask(api, "DELETE", f"{ALL}/{entry}") == (405, ["UNSUPPORTED"])
    assert await entries_of(api) == [entry]


async def test_disabled_deletion_refuses_permanent_removal_only(start):
    api = await start()
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    [entry] = await entries_of(api)
    api = await start(Settings(storage=StorageSettings(delete_enabled=False)))
    assert await ask(api, "DELETE", f"{ALL}/{entry}") == (405, ["UNSUPPORTED"])
    assert (await ask(api, "POST", f"{of('a')}/{entry}", json=RESTORE))[0] == 200


def anonymous(*actions, repositories=("**",)):
    return Rule(who=("anonymous",), repositories=repositories, actions=tuple(map(RuleAction, actions)))


async def test_operators_need_the_right_to_administer_and_no_other(start):
    api = await start()
    await push(api, "a", "v1")
    await delete(api, "a", "v1")
    [entry] = await entries_of(api)
    users = await start(policy=AccessPolicy(rules=(anonymous("pull", "push", "delete", "catalog"),)))
    for method, path in (("GET", ALL), ("POST", f"{ALL}/{entry}"), ("DELETE", f"{ALL}/{entry}")):
        assert await ask(users, method, path, json=RESTORE) == (403, ["DENIED"])
        assert accesses_of(match(path), method, None) == (ADMINISTRATION,)
    operators = await start(policy=AccessPolicy(rules=(anonymous("admin"),)))
    for method, path in (("GET", of("a")), ("POST", f"{of('a')}/{entry}")):
        assert await ask(operators, method, path, json=RESTORE) == (403, ["DENIED"])
    assert await entries_of(operators) == [entry]
    assert (await ask(operators, "POST", f"{ALL}/{entry}", json=RESTORE))[0] == 200


async def test_users_need_the_rights_to_pull_and_push_in_their_repository(start):
    api = await start()
    for name in ("a", "b"):
        await push(api, name, "v1")
        await delete(api, name, "v1")
    first, second = await entries_of(api)
    readers = await start(policy=AccessPolicy(rules=(anonymous("pull", repositories=("a",)),)))
    assert await entries_of(readers, of("a")) == [first]
    assert await ask(readers, "GET", of("b")) == (403, ["DENIED"])
    assert await ask(readers, "POST", f"{of('a')}/{first}", json=RESTORE) == (403, ["DENIED"])
    writers = await start(policy=AccessPolicy(rules=(anonymous("pull", "push", repositories=("a",)),)))
    assert await ask(writers, "POST", f"{of('b')}/{second}", json=RESTORE) == (403, ["DENIED"])
    assert await ask(writers, "POST", f"{of('a')}/{second}", json=RESTORE) == (404, ["NAME_UNKNOWN"])
    assert (await ask(writers, "POST", f"{of('a')}/{first}", json=RESTORE))[0] == 200


async def test_changes_are_audited_before_they_happen(start):
    log = ListAuditLog()
    api = await start(Settings(audit=AuditSettings(stdout=True, required=True)), audit_log=log)
    await push(api, "a", "v1", "v2")
    for tag in ("v1", "v2"):
        await delete(api, "a", tag)
    first, second = await entries_of(api)
    log.events.clear()
    await ask(api, "POST", f"{of('a')}/{first}", json=RESTORE)
    await ask(api, "DELETE", f"{ALL}/{second}")
    recorded = [(event.action, event.stage, event.entry, event.repository) for event in log.events]
    assert recorded == [
        (AuditAction.TRASH_RESTORE, Stage.ASKED, first, "a"),
        (AuditAction.TRASH_RESTORE, Stage.DONE, first, "a"),
        (AuditAction.TRASH_DELETE, Stage.ASKED, second, ""),
        (AuditAction.TRASH_DELETE, Stage.DONE, second, ""),
    ]
    await delete(api, "a", "v1")
    [third] = await entries_of(api)
    log.is_broken = True
    assert await ask(api, "DELETE", f"{ALL}/{third}") == (503, ["UNAVAILABLE"])
    assert await ask(api, "POST", f"{ALL}/{third}", json=RESTORE) == (503, ["UNAVAILABLE"])
    log.is_broken = False
    assert await entries_of(api) == [third]


@pytest.mark.parametrize(
    ("path", "resource", "name", "reference"),
    [
        ("/v2/_sohu/registry/trash", Resource.TRASH, "", ""),
        ("/v2/_sohu/registry/trash/", Resource.TRASH, "", ""),
        ("/v2/_sohu/registry/trash/e", Resource.TRASH_ENTRY, "", "e"),
        ("/v2/_sohu/registry/trash/a/b:v1", Resource.TRASH_ENTRY, "", "a/b:v1"),
        ("/v2/a/_sohu/registry/trash", Resource.REPOSITORY_TRASH, "a", ""),
        ("/v2/a/b/_sohu/registry/trash/e", Resource.REPOSITORY_TRASH_ENTRY, "a/b", "e"),
        ("/v2/a/manifests/trash", Resource.MANIFEST, "a", "trash"),
        ("/v2/trash/tags/list", Resource.TAG_LIST, "trash", ""),
    ],
)
def test_paths(path, resource, name, reference):
    target = match(path)
    assert target is not None
    assert (target.resource, target.name, target.reference) == (resource, name, reference)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/a/trash/e",
        "/v2/a/_sohu/trash/e",
        "/v2/a/_sohu/registry/trash/e/f",
        "/v2/a/_sohu/registry/other/e",
        "/v2/a/_other/registry/trash/e",
        "/v2/_other/registry/trash",
        "/v2/_sohu/registry/readonly/x",
        "/v2/registry/trash",
    ],
)
def test_other_paths_are_none_of_ours(path):
    assert match(path) is None
