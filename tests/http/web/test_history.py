"""The page with the history of a tag."""

import pytest

from adapters.catalog_index.memory import InMemoryCatalogIndex
from adapters.upstream.memory import InMemoryUpstream
from config.settings import AuditSettings, Settings
from core.model.digest import Digest
from core.model.events import Actor
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.pull_through.origins import Origins
from core.pull_through.rules import UpstreamRules
from core.summaries.changes import ChangeKind
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import Visitor
from tests.http.web.content import push_image
from tests.support.content import image_manifest

NAME = "team/app"
ALICE = Actor("alice")


async def test_pushes_moves_deletions_and_restorations(visitor, services):
    first = await push_image(visitor.api, NAME, "a")
    second = await push_image(visitor.api, NAME, "a", label="2")
    async with visitor.api.request("DELETE", f"/v2/{NAME}/manifests/a") as response:
        assert response.status == 202
    page = await visitor.open(f"{NAME}/_history/a")
    changes = [word for word in page.text.split() if word in {"pushed", "moved", "deleted", "restored"}]
    assert sorted(changes) == ["deleted", "moved", "pushed"]
    assert "before:" in page.text
    assert f"/ui/{NAME}/_manifests/{Digest.of(first)}" in page.links
    assert f"/ui/{NAME}/_manifests/{Digest.of(second)}" in page.links
    [removal] = [each async for each in services.trash_service.removals()]
    undo = await visitor.open(f"{NAME}?done=deleted&done-entry={removal.entry.id}")
    await visitor.send(undo.form(f"{NAME}/_restore"))
    assert "restored" in (await visitor.open(f"{NAME}/_history/a")).text


async def test_manifest_that_is_gone_has_no_link(visitor):
    content = await push_image(visitor.api, NAME, "a")
    async with visitor.api.request("DELETE", f"/v2/{NAME}/manifests/{Digest.of(content)}") as response:
        assert response.status == 202
    page = await visitor.open(f"{NAME}/_history/a")
    assert "no longer stored" in page.text
    assert not [link for link in page.links if "_manifests" in link]


async def test_pages(visitor, services):
    name, tag = RepositoryName(NAME), Tag("a")
    registry = services.registry(InMemoryCatalogIndex())
    digests = [Digest.of(str(number).encode()) for number in range(60)]
    for digest in digests:
        await registry.changes.record(ChangeKind.PUSH, name, tags=[(tag, digest)], by="anna")
    page = await visitor.open(f"{NAME}/_history/a")
    shown = [digest for digest in digests if digest in page.html]
    assert page.text.count("anna") == 50
    [older] = [link for link in page.links if "last=" in link]
    page = await visitor.open(older)
    assert page.text.count("anna") == 10
    assert len(shown) + len([digest for digest in digests if digest in page.html]) >= 60
    assert f"/ui/{NAME}/_history/a" in page.links


async def test_unknown_tag_has_no_history(visitor):
    page = await visitor.open(f"{NAME}/_history/none")
    assert (page.status, "No history" in page.text) == (200, True)
    assert (await visitor.open(f"{NAME}/_history/none?last=x")).status == 400


async def test_tag_is_asked_for(visitor):
    await push_image(visitor.api, NAME, "a")
    page = await visitor.open(f"{NAME}/_history")
    assert page.has_form(f"{NAME}/_history")
    assert "History of a" in (await visitor.open(f"{NAME}/_history?tag=a")).text
    page = await visitor.open(f"{NAME}/_history?tag=<script>alert(1)</script>")
    assert (page.status, "<script>alert" in page.html) == (400, False)


async def test_hostile_users_are_shown_as_text(visitor, services):
    registry = services.registry(InMemoryCatalogIndex())
    evil = "<script>alert(1)</script>"
    await registry.changes.record(ChangeKind.PUSH, RepositoryName(NAME), tags=[(Tag("a"), Digest.of(b"x"))], by=evil)
    page = await visitor.open(f"{NAME}/_history/a")
    assert evil in page.text
    assert "<script>alert" not in page.html


@pytest.mark.parametrize("path", ["_history", "_history/a"])
async def test_history_requires_the_right_to_pull(start_with_users, path):
    visitor = Visitor(await start_with_users())
    assert "Sign in" in (await visitor.open(f"{NAME}/{path}")).text
    assert OCI_MANIFEST not in (await visitor.open(f"public/app/{path}")).text


async def test_tag_is_put_back(visitor):
    first, second = [await push_image(visitor.api, NAME, "a", label=label) for label in "12"]
    page = await visitor.open(f"{NAME}/_history/a")
    [link] = [link for link in page.links if "back=" in link]
    assert str(Digest.of(first).encoded) in link
    page = await visitor.open(link)
    assert "Put a back?" in page.text
    form = page.form(f"{NAME}/_history/a")
    page = await visitor.send(form)
    assert "a points at the older image again" in page.text
    assert await visitor.api.services.manifests.tag_target(RepositoryName(NAME), Tag("a")) == Digest.of(first)
    page = await visitor.send(form)
    assert "changed in the meantime" in page.text
    assert str(Digest.of(second)) in page.html
    assert (await visitor.send(form, current=Digest.of(first), digest=Digest.of(b"none"))).status == 404
    assert (await visitor.send(form, digest="<script>")).status == 400


async def test_deleted_tag_is_put_back(visitor):
    content = await push_image(visitor.api, NAME, "a")
    async with visitor.api.request("DELETE", f"/v2/{NAME}/manifests/a") as response:
        assert response.status == 202
    page = await visitor.open(f"{NAME}/_history/a?back={Digest.of(content)}")
    await visitor.send(page.form(f"{NAME}/_history/a"))
    assert await visitor.api.services.manifests.tag_target(RepositoryName(NAME), Tag("a")) == Digest.of(content)


async def test_visitor_without_the_right_cannot_put_back(start_with_users):
    visitor = Visitor(await start_with_users())
    services, name, tag = visitor.api.services, RepositoryName("public/app"), Tag("a")
    image = image_manifest(b"{}")
    await services.push_blob(name, b"{}")
    for content in (image, image_manifest(b"{}", annotations={"n": "2"})):
        await services.registry(InMemoryCatalogIndex()).push_manifest(name, content, OCI_MANIFEST, by=ALICE, tags=[tag])
    page = await visitor.open(f"{name}/_history/a?back={Digest.of(image)}")
    assert "Put" not in page.text
    token = dict(page.form("_preferences").fields)["form_token"]
    fields = [("form_token", token), ("digest", Digest.of(image))]
    assert (await visitor.post(f"{name}/_history/a", fields)).status == 403
    await visitor.sign_in("alice", "secret")
    assert "Put a back?" in (await visitor.open(f"{name}/_history/a?back={Digest.of(image)}")).text


async def test_cached_tag_is_not_put_back(start, services):
    origins = Origins([(UpstreamRules(prefix="docker.io"), InMemoryUpstream("docker.io"))])
    visitor = Visitor(await start(origins=origins))
    name, digest = RepositoryName("docker.io/library/alpine"), Digest.of(b"x")
    await services.tag_links.point(name, Tag("3"), digest)
    page = await visitor.open(f"{name}/_history/3?back={digest}")
    token = dict(page.form("_preferences").fields)["form_token"]
    answer = await visitor.post(f"{name}/_history/3", [("form_token", token), ("digest", digest)])
    assert ("Put" in page.text, answer.status) == (False, 405)


async def test_pushes_of_the_page_are_audited(start):
    log = ListAuditLog()
    visitor = Visitor(await start(Settings(audit=AuditSettings(stdout=True, required=True)), audit_log=log))
    first = await push_image(visitor.api, NAME, "a")
    await push_image(visitor.api, NAME, "a", label="2")
    page = await visitor.open(f"{NAME}/_history/a?back={Digest.of(first)}")
    log.events.clear()
    await visitor.send(page.form(f"{NAME}/_history/a"))
    asked, done = log.events
    assert (asked.stage, done.action, done.repository, done.tags) == ("asked", "manifest.push", NAME, ("a",))
