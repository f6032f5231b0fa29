"""Much of everything: tables that grow, batches, and orphans in several parts."""

import json
from collections.abc import AsyncIterable
from dataclasses import replace

import pytest
from typing_extensions import override

from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import CatalogLostError, CatalogUnavailableError, PaginationInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.store import layout
from core.verification import journal as journal_module
from core.verification.digest_table import DigestTable, fingerprint_of
from core.verification.findings import Finding, Kind, Outcome
from core.verification.journal import Checkpoint, Journal
from core.verification.orphans import OrphanSearch
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices
from tests.support.verifications import OPTIONS, REPAIR, Verifications
from tests.unit.core.verification.conftest import NAME, Store


def test_table_returns_stored_values() -> None:
    table = DigestTable(10_000)
    for number in range(5_000):
        table.put(f"text {number}", number)
    table.put("text 7", 8)
    assert len(table) == 5_000
    assert table.get("text 7") == 8
    assert all(table.get(f"text {number}") == number for number in range(8, 5_000))
    assert "another text" not in table
    assert fingerprint_of("text") != 0


def test_full_table_rejects_entries_and_reports_it() -> None:
    table = DigestTable(2)
    for text in ("a", "b", "c"):
        table.put(text, 1)
    assert table.is_full
    assert ("a" in table, "c" in table) == (True, False)
    table.put("a", 2)
    assert table.get("a") == 2


async def test_large_repository_is_read_in_batches() -> None:
    services = CoreServices()
    name = RepositoryName("large")
    for number in range(300):
        config = b'{"number": %d}' % number
        await services.push_blob(name, config)
        await services.manifests.put(name, image_manifest(config), "", tags=[Tag(f"v{number}")])
    verifications = Verifications(services)
    await verifications.index.add(name)
    assert await verifications.run() == []
    assert (verifications.counted.blobs, verifications.counted.manifests) == (600, 300)


async def test_long_content_is_hashed_beside_the_loop(store: Store) -> None:
    digest = await store.services.push_blob(NAME, bytes(200_000))
    assert await store.verifications.run() == []
    await store.services.storage.write(layout.blob_data(digest), bytes(200_001))
    assert await store.verifications.kinds() == [Kind.CORRUPT_DATA]


async def test_many_orphans_are_reported_in_parts(store: Store) -> None:
    for number in range(1_200):
        content = b"orphan %d" % number
        await store.services.storage.write(layout.blob_data(Digest.of(content)), content)
    await store.services.storage.write(f"{layout.REPOSITORIES}/Not-A-Name/_layers/thing", b"?")
    findings = await store.verifications.run()
    assert {finding.kind for finding in findings} == {Kind.ORPHAN}
    assert len({finding.key for finding in findings}) == 1_200


async def test_orphans_are_found_part_by_part(store: Store) -> None:
    for number in range(20):
        content = b"orphan %d" % number
        await store.services.storage.write(layout.blob_data(Digest.of(content)), content)
    run = await store.verifications.verifier().context(OPTIONS)
    search = OrphanSearch(run, blobs=28, linked_max=7)
    steps = [step async for step in search.steps(after="")]
    assert [step.cursor for step in steps] == ["1", "2", "3", "4", "5"]
    assert len([finding for step in steps for finding in step.findings]) == 20
    rest = [step async for step in search.steps(after="3")]
    assert [step.cursor for step in rest] == ["4", "5"]


async def test_part_with_more_links_than_fit_reports_no_orphan(store: Store) -> None:
    await store.services.storage.write(layout.blob_data(Digest.of(b"orphan")), b"orphan")
    run = await store.verifications.verifier().context(OPTIONS)
    for linked_max, expected in ((100, 1), (1, 0)):
        search = OrphanSearch(run, blobs=0, linked_max=linked_max)
        findings = [finding async for step in search.steps(after="") for finding in step.findings]
        assert len(findings) == expected


async def test_lost_index_is_rebuilt(store: Store) -> None:
    class Losing(InMemoryCatalogIndex):
        is_lost = True

        async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
            if self.is_lost:
                raise CatalogLostError("the table was dropped")
            return await super().page(after=after, limit=limit)

        async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
            await super().replace_all(names)
            self.is_lost = False

    store.verifications = Verifications(store.services, index=Losing())
    [finding] = await store.verifications.run(REPAIR)
    assert (finding.kind, finding.outcome) == (Kind.CATALOG_UNREADABLE, Outcome.REBUILT)


async def test_lost_index_that_cannot_be_rebuilt_stays_found(store: Store) -> None:
    class Lost(InMemoryCatalogIndex):
        @override
        async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
            raise CatalogLostError("the table was dropped")

        @override
        async def replace_all(self, names: AsyncIterable[RepositoryName]) -> None:
            raise CatalogUnavailableError("the table cannot be created")

    store.verifications = Verifications(store.services, index=Lost())
    [finding] = await store.verifications.run(REPAIR)
    assert (finding.kind, finding.outcome) == (Kind.CATALOG_UNREADABLE, Outcome.FOUND)


async def test_index_that_fails_once_is_reported(store: Store) -> None:
    class Stumbling(InMemoryCatalogIndex):
        calls = 0

        async def page(self, *, after: str, limit: int) -> Page[RepositoryName]:
            self.calls += 1
            if self.calls == 1:
                raise CatalogLostError("for a moment")
            return await super().page(after=after, limit=limit)

    store.verifications = Verifications(store.services, index=Stumbling())
    [finding] = await store.verifications.run(REPAIR)
    assert (finding.kind, finding.outcome) == (Kind.CATALOG_UNREADABLE, Outcome.REBUILT)
    assert "run the verification again" in finding.detail
    assert await store.verifications.run() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"version": 0}', b'{"version": 1, "phase": "unknown"}', b'{"version": 1, "other": 1}'],
)
async def test_checkpoint_of_another_version_is_ignored(store: Store, content: bytes) -> None:
    await store.services.storage.write(layout.verification_checkpoint("full"), content)
    assert await store.verifications.run() == []
    assert store.verifications.counted.blobs == 8


async def test_findings_survive_in_parts(store: Store) -> None:
    journal = Journal(store.services.storage, "test")
    findings = [
        Finding(kind=Kind.ORPHAN, key=f"/{number}", detail="d", images=("a:b",), repository="a", digest="x")
        for number in range(2_500)
    ]
    checkpoint = replace(store.verifications.counted)
    await journal.save(checkpoint, findings)
    assert checkpoint.parts == 2
    assert [finding async for finding in journal.findings(checkpoint)] == findings
    loaded = await journal.load()
    assert loaded == checkpoint
    assert json.loads(await store.services.storage.read(layout.verification_checkpoint("test")))["version"] == 1
    await journal.clear()
    assert await journal.load() is None


async def test_findings_of_the_last_verification_stay_until_the_next_one(store: Store) -> None:
    verifications, storage = store.verifications, store.services.storage
    digest = await store.services.push_blob(NAME, b"content")
    await storage.write(layout.blob_data(digest), b"damaged")
    found = await verifications.run()
    assert found
    journal = Journal(storage, OPTIONS.scope)
    last = await journal.peek()
    assert last == replace(verifications.counted, is_complete=True)
    assert (await journal.page()).findings == found
    # The next verification begins from the start.
    assert await journal.load() is None
    assert await verifications.run() == found
    assert (await journal.page()).findings == found
    await verifications.run(replace(OPTIONS, repository=RepositoryName("a")))
    assert [key async for key, _ in storage.walk(layout.verification("full-ca978112ca1bbdca"))] == []


async def test_findings_are_read_page_by_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(store.services.storage, "test")
    assert (await journal.page()).findings == []
    findings = [Finding(kind=Kind.ORPHAN, key=f"/{number}", detail="d") for number in range(10)]
    checkpoint = Checkpoint()
    for begin, end in ((0, 3), (3, 4), (4, 10)):
        await journal.save(checkpoint, findings[begin:end])

    async def pages(n: int | None) -> list[list[Finding]]:
        found, last = [], ""
        while True:
            page = await journal.page(n=n, last=last)
            found.append(list(page.findings))
            last = page.last
            if not last:
                return found

    assert await pages(None) == [findings]
    assert await pages(0) == [[]]
    assert await pages(4) == [findings[:4], findings[4:8], findings[8:]]
    assert await pages(3) == [findings[:3], findings[3:6], findings[6:9], findings[9:]]
    monkeypatch.setattr(journal_module, "_PAGE_PARTS_MAX", 2)
    assert await pages(None) == [findings[:4], findings[4:]]
    await store.services.storage.delete([layout.verification_findings("test", 1)])
    assert await pages(None) == [findings[:3]]
    for last in ("x", "1", "-1.0", "1.2.3"):
        with pytest.raises(PaginationInvalidError):
            await journal.page(last=last)
