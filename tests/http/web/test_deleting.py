"""Deletion of tags and repositories on the page, and its undoing."""

from datetime import timedelta

import pytest

from config.settings import AuditSettings, Settings, StorageSettings
from core.model.access import Rule, RuleAction
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.registry.manifest_references import ManifestPolicy
from tests.http.test_trash_api import ListAuditLog
from tests.http.web.conftest import EVERYTHING, Visitor
from tests.http.web.content import push_image
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices

NAME = "team/app"


@pytest.fixture
def services():
    return CoreServices(policy=ManifestPolicy(is_immutable=lambda _name, tag: tag.startswith("v")))


async def names(api, name=NAME):
    async with api.request("GET", f"/v2/{name}/tags/list") as response:
        return (await response.json()).get("tags") if response.status == 200 else None


async def pulls(api, reference, name=NAME):
    async with api.request("GET", f"/v2/{name}/manifests/{reference}") as response:
        return response.status == 200


async def delete(visitor, *tags, name=NAME):
    """Check the boxes of the list, and confirm."""
    page = await visitor.open(name)
    page = await visitor.send(page.form(f"{name}/_delete"), tag=list(tags))
    return await visitor.send(page.form(f"{name}/_delete"))


async def test_tags_are_deleted_after_a_confirmation_and_come_back(visitor):
    api = visitor.api
    content = await push_image(api, NAME, "1", "10", "1.2", "also-1")
    page = await visitor.send((await visitor.open(NAME)).form(f"{NAME}/_delete"), tag=["1", "1.2"])
    assert page.status == 200
    assert "Delete 2 tags from team/app?" in page.text
    assert "10 , also-1" in page.text
    assert "can be restored until" in page.text
    assert await names(api) == ["1", "1.2", "10", "also-1"]
    page = await visitor.send(page.form(f"{NAME}/_delete"))
    assert (page.status, "2 tags deleted" in page.text) == (200, True)
    assert await names(api) == ["10", "also-1"]
    assert await pulls(api, Digest.of(content))
    page = await visitor.send(page.form(f"{NAME}/_restore"))
    assert "2 tags are back" in page.text
    assert await names(api) == ["1", "1.2", "10", "also-1"]
    assert await pulls(api, "1")
    assert not page.has_form(f"{NAME}/_restore")


async def test_one_tag_is_deleted_by_a_link(visitor):
    await push_image(visitor.api, NAME, "1", "10")
    page = await visitor.open(f"{NAME}/_delete?tag=1")
    assert "Delete 1 tag from team/app?" in page.text
    page = await visitor.send(page.form(f"{NAME}/_delete"))
    assert "1 tag deleted" in page.text
    assert await names(visitor.api) == ["10"]


async def test_undoing_twice_and_undoing_another_deletion(visitor):
    await push_image(visitor.api, NAME, "a")
    await push_image(visitor.api, "team/other", "b")
    other = await delete(visitor, "b", name="team/other")
    page = await delete(visitor, "a")
    undo = page.form(f"{NAME}/_restore")
    [entry] = [value for key, value in other.form("team/other/_restore").fields if key == "entry"]
    assert (await visitor.send(undo, entry=entry)).status == 404
    assert (await visitor.send(undo)).status == 200
    assert (await visitor.send(undo)).status == 404
    assert (await visitor.send(undo, entry="../../x")).status == 404
    page = await visitor.open(f"{NAME}?done=deleted&done-count=3&done-entry={entry}")
    assert not page.has_form(f"{NAME}/_restore")
    assert await names(visitor.api, "team/other") == []


async def test_tag_that_moved_since_the_confirmation_stays(visitor):
    await push_image(visitor.api, NAME, "a", "b")
    page = await visitor.open(f"{NAME}/_delete?tag=a&tag=b")
    await push_image(visitor.api, NAME, "a", label="newer")
    page = await visitor.send(page.form(f"{NAME}/_delete"))
    assert "1 tag deleted" in page.text
    assert "1 tag was left alone" in page.text
    assert await names(visitor.api) == ["a"]


async def test_restoration_does_not_move_a_tag(visitor):
    await push_image(visitor.api, NAME, "a")
    page = await delete(visitor, "a")
    await push_image(visitor.api, NAME, "a", label="newer")
    answer = await visitor.send(page.form(f"{NAME}/_restore"))
    assert (answer.status, "points to another manifest" in answer.text) == (403, True)


async def test_immutable_tags_are_kept(visitor):
    content = await push_image(visitor.api, NAME, "v1", "b")
    page = await visitor.open(f"{NAME}/_delete?tag=v1&tag=b")
    assert "1 tag is immutable and stays: v1" in page.text
    form = page.form(f"{NAME}/_delete")
    assert [value for key, value in form.fields if key == "confirmed"] == [f"b@{Digest.of(content)}"]
    answer = await visitor.send(form, confirmed=[f"b@{Digest.of(content)}", f"v1@{Digest.of(content)}"])
    assert (answer.status, "immutable" in answer.text) == (403, True)
    assert await names(visitor.api) == ["b", "v1"]
    page = await visitor.open(f"{NAME}/_delete?tag=v1")
    assert not page.has_form(f"{NAME}/_delete")


async def test_nothing_to_delete(visitor):
    await push_image(visitor.api, NAME, "a")
    assert "No tag was selected" in (await visitor.open(f"{NAME}/_delete")).text
    assert "No tag was selected" in (await visitor.send((await visitor.open(NAME)).form(f"{NAME}/_delete"))).text
    assert "already gone" in (await visitor.open(f"{NAME}/_delete?tag=gone")).text
    assert (await visitor.open("team/none/_delete?tag=a")).status == 404


@pytest.mark.parametrize("value", ["a", "a@sha256:1", "<b>@x", "@"])
async def test_malformed_targets_are_refused(visitor, value):
    await push_image(visitor.api, NAME, "a")
    form = (await visitor.open(f"{NAME}/_delete?tag=a")).form(f"{NAME}/_delete")
    answer = await visitor.send(form, confirmed=value)
    assert (answer.status, "<b>" in answer.html) == (400, False)
    assert await names(visitor.api) == ["a"]


async def test_too_many_tags_are_refused(visitor):
    await push_image(visitor.api, NAME, "a")
    form = (await visitor.open(NAME)).form(f"{NAME}/_delete")
    assert (await visitor.send(form, tag=[f"t{number}" for number in range(1_001)])).status == 400


async def test_hostile_tags_are_refused(visitor):
    page = await visitor.open(f"{NAME}/_delete?tag=<script>alert(1)</script>")
    assert (page.status, "<script>alert" in page.html) == (400, False)


async def test_repository_is_deleted_and_comes_back(visitor):
    await push_image(visitor.api, NAME, "a", "b")
    page = await visitor.open(f"{NAME}/_delete?all=1")
    assert "2 tags go." in page.text
    assert "1 manifest goes" in page.text
    page = await visitor.send(page.form(f"{NAME}/_delete"))
    assert "The repository was deleted" in page.text
    assert not await pulls(visitor.api, "a")
    page = await visitor.send(page.form(f"{NAME}/_restore"))
    assert "2 tags are back" in page.text
    assert await pulls(visitor.api, "a")


async def test_repository_with_immutable_tags_is_kept(visitor):
    await push_image(visitor.api, NAME, "v1")
    page = await visitor.open(f"{NAME}/_delete?all=1")
    assert (page.status, "immutable" in page.text) == (403, True)


async def test_without_a_trash_there_is_no_undoing(start, services):
    services.trash.keep = timedelta()
    visitor = Visitor(await start())
    await push_image(visitor.api, NAME, "a", "b")
    page = await visitor.open(f"{NAME}/_delete?tag=a")
    assert "cannot be undone" in page.text
    page = await visitor.send(page.form(f"{NAME}/_delete"))
    assert "1 tag deleted" in page.text
    assert not page.has_form(f"{NAME}/_restore")
    assert "cannot be undone" in (await visitor.open(f"{NAME}/_delete?all=1")).text


async def test_deletion_that_is_disabled_is_refused(start):
    visitor = Visitor(await start(Settings(storage=StorageSettings(delete_enabled=False))))
    await push_image(visitor.api, NAME, "a")
    assert (await visitor.open(f"{NAME}/_delete?tag=a")).status == 405


async def test_visitor_without_the_right_is_refused(start_with_users):
    visitor = Visitor(await start_with_users())
    await visitor.api.services.tag_links.point(RepositoryName(NAME), Tag("a"), Digest.of(b"x"))
    await visitor.sign_in("alice", "secret")
    form = (await visitor.open(f"{NAME}/_delete?tag=a")).form(f"{NAME}/_delete")
    page = await visitor.sign_in("bob", "b")
    token = dict(page.form("_preferences").fields)["form_token"]
    assert (await visitor.open(f"{NAME}/_delete?tag=a")).status == 403
    for fields in ({}, {"all": "1"}, {"confirmed": "a@x", "tag": "a"}):
        assert (await visitor.send(form, form_token=token, **fields)).status in {400, 403}
    assert (await visitor.send(form, form_token=token)).status == 403
    anonymous = Visitor(visitor.api)
    token = dict((await anonymous.open("public/app")).form("_preferences").fields)["form_token"]
    for target in ("_delete", "_restore"):
        assert (await anonymous.post(f"public/app/{target}", [("form_token", token), ("all", "1")])).status == 403
    assert await visitor.api.services.manifests.tag_target(RepositoryName(NAME), Tag("a")) == Digest.of(b"x")


async def test_who_may_delete_but_not_push_is_told_who_may_restore(start_with_users):
    cleaner = Rule(who=("bob",), actions=(RuleAction.PULL, RuleAction.DELETE))
    visitor = Visitor(await start_with_users(cleaner, Rule(who=("alice",), actions=EVERYTHING)))
    await visitor.sign_in("bob", "b")
    await visitor.api.services.tag_links.point(RepositoryName(NAME), Tag("a"), Digest.of(b"x"))
    page = await delete(visitor, "a")
    assert "ask somebody who may push" in page.text
    assert not page.has_form(f"{NAME}/_restore")


async def test_deletions_and_restorations_are_audited(start_with_users):
    log = ListAuditLog()
    settings = Settings(audit=AuditSettings(stdout=True, required=True))
    visitor = Visitor(await start_with_users(settings=settings, audit_log=log))
    await visitor.sign_in("alice", "secret")
    services, image = visitor.api.services, image_manifest(b"{}")
    await services.push_blob(RepositoryName(NAME), b"{}")
    await services.manifests.put(RepositoryName(NAME), image, OCI_MANIFEST, tags=[Tag("a"), Tag("b")])
    log.events.clear()
    page = await delete(visitor, "a", "b")
    asked, done = log.events
    assert (asked.action, asked.stage, asked.allowed) == ("tag.delete", "asked", True)
    assert (done.action, done.actor, done.repository, done.tags, done.status) == (
        "tag.delete",
        "alice",
        NAME,
        ("a", "b"),
        303,
    )
    form = page.form(f"{NAME}/_restore")
    log.events.clear()
    page = await visitor.send(form)
    done = log.events[-1]
    assert (done.action, done.repository, done.entry) == ("trash.restore", NAME, dict(form.fields)["entry"])
    await visitor.send((await visitor.open(f"{NAME}/_delete?all=1")).form(f"{NAME}/_delete"))
    assert log.events[-1].action == "repository.delete"
    await visitor.sign_in("bob", "b")
    token = dict((await visitor.open(NAME)).form("_preferences").fields)["form_token"]
    await visitor.post(f"{NAME}/_delete", [("form_token", token), ("confirmed", f"a@{Digest.of(image)}")])
    refused = log.events[-1]
    assert (refused.action, refused.allowed, refused.actor, refused.tags) == ("tag.delete", False, "bob", ("a",))


async def test_nothing_is_deleted_that_cannot_be_audited(start):
    log = ListAuditLog()
    visitor = Visitor(await start(Settings(audit=AuditSettings(stdout=True, required=True)), audit_log=log))
    await push_image(visitor.api, NAME, "a")
    page = await visitor.open(f"{NAME}/_delete?tag=a")
    log.is_broken = True
    assert (await visitor.send(page.form(f"{NAME}/_delete"))).status == 503
    log.is_broken = False
    assert await names(visitor.api) == ["a"]
