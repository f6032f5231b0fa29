"""The pages of the trash: what was deleted, its restoration, and its permanent removal."""

from dataclasses import replace
from urllib.parse import quote

import pytest

from adapters.upstream.memory import InMemoryUpstream
from config.settings import AuditSettings, Settings, StorageSettings
from core.coordination.read_only import ReadOnly, switch_on
from core.model.access import Rule
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.ports.audit_log import AuditAction
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from core.registry.manifest_references import ManifestPolicy
from core.store import layout
from core.store.links import RemovedLink
from core.trash.entry import TrashKind
from tests.http.test_trash_api import IMAGE, NEW, ListAuditLog, delete, push
from tests.http.web.conftest import EVERYTHING, Visitor
from tests.support.core_services import NOW

HOSTILE = '<script>alert(1)</script>"&'


async def deleted(api, name="team/app", tag="v1"):
    """Push a tag and delete it; return the entry of the trash."""
    await push(api, name, tag)
    await delete(api, name, tag)
    page = await api.services.trash_service.newest(n=1)
    return page.items[0].entry.id


async def content_of(api, name="team/app", reference="v1"):
    async with api.request("GET", f"/v2/{name}/manifests/{reference}") as response:
        return await response.read() if response.status == 200 else response.status


@pytest.fixture
async def with_users(start_with_users):
    """A registry in which everybody may use the API, besides the users; and its audit log."""
    log = ListAuditLog()
    settings = Settings(audit=AuditSettings(stdout=True))
    return await start_with_users(audit_log=log, settings=settings), log


async def record(services, *, name="team/app", **options):
    """Record a deletion of the tag `v1`, which needs no request."""
    repository = RepositoryName(name)
    entry = services.trash.new_entry(TrashKind.TAG, repository=repository, **options)
    link = RemovedLink(layout.tag_current_link(repository, Tag("v1")), Digest.of(IMAGE))
    await services.trash.record(entry, links=[link])
    return entry.id


async def test_empty_trash_shows_the_next_step(visitor):
    page = await visitor.open("_trash")
    assert (page.status, "The trash is empty" in page.text) == (200, True)


async def test_trash_that_is_off_is_not_shown_as_empty(visitor, services):
    services.trash.keep -= services.trash.keep
    assert "The trash is turned off" in (await visitor.open("_trash")).text


async def test_tag_is_restored(start):
    api = await start(now=lambda: NOW)
    visitor = Visitor(api)
    entry = await deleted(api)
    page = await visitor.open("_trash")
    for text in ("team/app", "v1", Digest.of(IMAGE).encoded[:12], "7 days"):
        assert text in page.text
    page = await visitor.send(page.form(f"_trash-entry/{entry}"))
    assert "1 tag was restored: team/app:v1" in page.text
    assert "/ui/team/app/_tags/v1" in page.links
    assert "The trash is empty" in page.text
    assert await content_of(api) == IMAGE


async def test_image_without_a_tag_is_restored(api, visitor):
    await push(api, "team/app", "v1")
    await delete(api, "team/app", "v1")
    await delete(api, "team/app", Digest.of(IMAGE))
    for _ in range(2):
        page = await visitor.open("_trash")
        form = next(form for form in page.forms if "_trash-entry" in form.action)
        page = await visitor.send(form)
    assert await content_of(api) == IMAGE


async def test_deleted_repository_is_restored_on_its_own_page(api, visitor):
    await push(api, "team/app", "v1", "v2")
    async with api.request("DELETE", "/v2/team/app/_sohu/registry/repository") as response:
        assert response.status == 200
    page = await visitor.open("team/app/_removed")
    assert "Whole repository" in page.text
    form = next(form for form in page.forms if "_removed" in form.action)
    page = await visitor.send(form)
    assert "2 tags were restored: team/app:v1 team/app:v2" in page.text
    assert page.path.startswith("/ui/team/app/_removed")


async def test_moved_tag_is_moved_back_after_a_question(api, visitor):
    entry = await deleted(api)
    await push(api, "team/app", "v1", content=NEW)
    page = await visitor.open("team/app/_removed")
    page = await visitor.send(page.form(f"team/app/_removed/{entry}"))
    assert page.status == 403
    assert "The tag team/app:v1 points to another image now" in page.text
    assert Digest.of(NEW).encoded[:12] in page.text
    assert await content_of(api) == NEW
    page = await visitor.send(page.form(f"team/app/_removed/{entry}"))
    assert page.status == 200
    assert await content_of(api) == IMAGE


async def test_immutable_tag_is_not_moved(start, services):
    services.policy = replace(ManifestPolicy(), is_immutable=lambda _name, _tag: True)
    services.__post_init__()
    api = await start()
    visitor = Visitor(api)
    entry = await record(services)
    await push(api, "team/app", "v1", content=NEW)
    page = await visitor.open("_trash")
    page = await visitor.send(page.form(f"_trash-entry/{entry}"))
    assert (page.status, "immutable" in page.text) == (403, True)
    assert not page.has_form(f"_trash-entry/{entry}")


async def test_lost_content_is_reported(api, visitor, services):
    entry = await record(services)
    page = await visitor.open("_trash")
    page = await visitor.send(page.form(f"_trash-entry/{entry}"))
    assert page.status == 404
    assert "neither in the store nor in the trash" in page.text


async def test_entry_is_removed_for_good_after_a_question(api, visitor):
    entry = await deleted(api)
    page = await visitor.open("_trash")
    assert f"/ui/_trash-entry/{entry}" in page.links
    page = await visitor.open(f"_trash-entry/{entry}")
    assert "Nobody can restore it afterwards" in page.text
    page = await visitor.send(page.form(f"_trash-entry/{entry}"))
    assert "removed for good" in page.text
    assert "The trash is empty" in page.text
    assert (await visitor.open(f"_trash-entry/{entry}")).status == 404


async def test_removal_for_good_needs_deletion_to_be_enabled(start):
    api = await start(Settings(storage=StorageSettings(delete_enabled=False)))
    visitor, entry = Visitor(api), await record(api.services)
    assert (await visitor.open(f"_trash-entry/{entry}")).status == 405
    token = dict((await visitor.open("_trash")).form(f"_trash-entry/{entry}").fields)["form_token"]
    page = await visitor.post(f"_trash-entry/{entry}", [("form_token", token), ("action", "remove")])
    assert page.status == 405


async def test_pages_lead_both_ways_newest_first(api, visitor, services):
    ids = [await record(services, name=f"team/n{number:03}") for number in range(60)][::-1]
    page = await visitor.open("_trash")
    shown = [link.rpartition("/")[2] for link in page.links if "_trash-entry" in link]
    assert shown == ids[:50]
    page = await visitor.open(next(link for link in page.links if "last=" in link))
    assert [link.rpartition("/")[2] for link in page.links if "_trash-entry" in link] == ids[50:]
    page = await visitor.open(next(link for link in page.links if "before=" in link))
    assert [link.rpartition("/")[2] for link in page.links if "_trash-entry" in link] == ids[:50]
    assert (await visitor.open("_trash?last=x")).status == 400


async def test_trash_is_filtered_by_repository(visitor, services):
    await record(services, name="team/app")
    await record(services, name="team/other")
    page = await visitor.open("_trash?repository=team/app")
    assert "/ui/team/app" in page.links
    assert "/ui/team/other" not in page.links
    assert "This is not the name of a repository" in (await visitor.open("_trash?repository=A%20B")).text
    assert (await visitor.open("_trash/x")).status == 404


async def test_read_only_registry_restores_nothing(api, visitor, services):
    entry = await record(services)
    form = (await visitor.open("_trash")).form(f"_trash-entry/{entry}")
    await switch_on(services.storage, ReadOnly(reason="moving"))
    await visitor.open("_trash")
    page = await visitor.send(form)
    assert page.status in {404, 405}


async def test_users_of_a_cached_repository_restore_nothing(start, services):
    """As over the API: only pulls change a cached repository."""
    origins = Origins([(UpstreamRules(prefix="hub"), InMemoryUpstream("docker.io"))])
    visitor = Visitor(await start(origins=origins))
    entry = await record(services, name="hub/library/app")
    page = await visitor.open("hub/library/app/_removed")
    assert "v1" in page.text
    assert not page.has_form(f"hub/library/app/_removed/{entry}")
    token = dict(page.form("_preferences").fields)["form_token"]
    page = await visitor.post(f"hub/library/app/_removed/{entry}", [("form_token", token)])
    assert (page.status, "a cache of docker.io" in page.text) == (405, True)


async def test_operators_see_the_trash_of_all_and_pushers_that_of_their_repositories(with_users, services):
    api, _ = with_users
    mine, other = await record(services), await record(services, name="public/app")
    bob = Visitor(api)
    for path in ("_trash", "team/app/_removed", f"_trash-entry/{mine}"):
        assert (await bob.open(path)).path.startswith("/ui/_sign-in")
    await bob.sign_in("bob", "b")
    assert (await bob.open("_trash")).status == 403
    assert (await bob.open(f"_trash-entry/{mine}")).status == 403
    # Bob may pull from the repository, but not push.
    assert (await bob.open("public/app/_removed")).status == 403
    page = await bob.open("team/app/_removed")
    assert page.has_form(f"team/app/_removed/{mine}")
    assert not any("_trash-entry" in link for link in page.links)
    token = dict(page.form(f"team/app/_removed/{mine}").fields)["form_token"]
    for path in (f"_trash-entry/{mine}", f"public/app/_removed/{other}"):
        assert (await bob.post(path, [("form_token", token)])).status == 403
    assert (await bob.post(f"_trash-entry/{mine}", [("form_token", token), ("action", "remove")])).status == 403
    # An entry of another repository looks like none.
    assert (await bob.post(f"team/app/_removed/{other}", [("form_token", token)])).status == 404


async def test_changes_are_audited(start_with_users, services):
    log = ListAuditLog()
    rules = (Rule(who=("anonymous",), actions=EVERYTHING),)
    settings = Settings(audit=AuditSettings(stdout=True))
    api = await start_with_users(*rules, audit_log=log, settings=settings)
    visitor = Visitor(api)
    await visitor.sign_in("alice", "secret")
    one = await deleted(api)
    page = await visitor.open("team/app/_removed")
    await visitor.send(page.form(f"team/app/_removed/{one}"))
    two = await deleted(api)
    page = await visitor.open(f"_trash-entry/{two}")
    await visitor.send(page.form(f"_trash-entry/{two}"))
    found = [event for event in log.events if event.action in {AuditAction.TRASH_RESTORE, AuditAction.TRASH_DELETE}]
    assert [(event.action, event.actor, event.entry, event.allowed) for event in found] == [
        (AuditAction.TRASH_RESTORE, "alice", one, True),
        (AuditAction.TRASH_DELETE, "alice", two, True),
    ]
    assert found[0].repository == "team/app"


async def test_hostile_texts_are_shown_as_text(visitor, services):
    await record(services, by=HOSTILE, reason=HOSTILE)
    page = await visitor.open(f"_trash?restored={quote(HOSTILE)}:x,a:%3Cb%3E&tags=9&lost={quote(HOSTILE)}")
    assert "<script>alert" not in page.html
    assert "a:<b>" in page.text
    assert page.text.count(HOSTILE) == 2


async def test_trash_speaks_chinese(visitor, services):
    await record(services)
    visitor.language = "zh"
    page = await visitor.open("_trash")
    assert "回收站" in page.text
    assert "恢复" in page.text
