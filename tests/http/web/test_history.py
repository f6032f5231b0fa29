"""The page with the history of a tag."""

import pytest

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.summaries.changes import ChangeKind
from tests.http.web.conftest import Visitor
from tests.http.web.content import push_image

NAME = "team/app"


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
