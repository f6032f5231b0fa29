"""Content that changes during a verification is checked again, and a kill costs only a few seconds of work."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
from typing_extensions import override

from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout
from core.trash.entry import TrashKind
from core.verification.findings import Finding, Kind, Outcome, VerificationPhase
from tests.support.core_services import CoreServices
from tests.support.verifications import OPTIONS, REPAIR, Verifications
from tests.unit.core.verification.conftest import LAYER, NAME, Interposing, Store

T = TypeVar("T")
ABSENT = Digest.of(b"nobody has this")


async def test_push_during_the_check_is_no_damage(store: Store) -> None:
    storage = store.services.storage
    await storage.write(layout.blob_data(store.layer), b"half")
    await storage.delete([layout.layer_link(NAME, store.config)])
    await store.services.tag_links.point(NAME, Tag("new"), ABSENT)
    await store.services.storage.write(layout.tag_current_link(NAME, Tag("v1")), b"")

    async def finish() -> None:
        await store.services.push_blob(NAME, LAYER)
        await store.services.links.write(layout.layer_link(NAME, store.config), store.config)
        await store.services.tag_links.point(NAME, Tag("new"), store.image)
        await store.services.tag_links.point(NAME, Tag("v1"), store.image)

    store.verifications.before_second_look = finish
    # The history of `new` was true.
    assert await store.verifications.kinds(REPAIR) == [Kind.HISTORY_STALE]


async def test_delete_during_the_check_is_no_damage(store: Store) -> None:
    await store.services.storage.delete([layout.blob_data(store.config), layout.blob_data(store.index)])

    async def delete() -> None:
        for manifest in (store.image, store.child, store.index, store.signature):
            await store.services.storage.delete_tree(layout.revision(NAME, manifest))
        await store.services.storage.delete_tree(layout.repository(NAME))

    store.verifications.before_second_look = delete
    findings = await store.verifications.run()
    assert {finding.kind for finding in findings} <= {Kind.ORPHAN, Kind.CATALOG_GHOST}


async def test_data_healed_before_it_is_moved_is_put_back(store: Store, interposing: Interposing) -> None:
    key = layout.blob_data(store.layer)
    await store.services.storage.write(key, b"damaged")
    interposing.before["move", key] = lambda: store.services.push_blob(NAME, LAYER)
    assert await store.verifications.run(REPAIR) == []
    assert await store.services.read_blob(NAME, store.layer) == LAYER
    assert [entry async for entry in store.verifications.trash.entries()] == []


async def test_removed_link_that_is_needed_again_is_put_back(store: Store, interposing: Interposing) -> None:
    absent = Digest.of(b"pushed meanwhile")
    key = layout.layer_link(NAME, absent)
    await store.services.links.write(key, absent)
    interposing.before["delete", key] = lambda: store.services.push_blob(NAME, b"pushed meanwhile")
    assert await store.verifications.run(REPAIR) == []
    assert await store.services.read_blob(NAME, absent) == b"pushed meanwhile"


async def test_image_completed_before_it_is_set_aside_stays(store: Store, interposing: Interposing) -> None:
    await store.services.storage.delete([layout.blob_data(Digest.of(LAYER))])
    await store.services.manifests.delete(NAME, store.child)
    key = layout.revision_link(NAME, store.image)
    interposing.before["delete", key] = lambda: store.services.push_blob(NAME, LAYER)
    findings = await store.verifications.run(REPAIR)
    assert Kind.BLOB_LOST not in {finding.kind for finding in findings}
    assert (await store.services.manifests.get(NAME, Tag("v1"))).digest == store.image


async def test_failing_store_ends_the_run_and_the_next_resumes_it(store: Store, interposing: Interposing) -> None:
    await store.services.storage.write(layout.blob_data(store.layer), b"damaged")

    async def fail() -> None:
        raise StorageUnavailableError("gone")

    interposing.before["walk", layout.layers(NAME)] = fail
    with pytest.raises(StorageUnavailableError):
        await store.verifications.run()
    findings = await store.verifications.run()
    resumed = [progress for progress in store.verifications.progress if progress.is_resumed]
    assert [progress.phase for progress in resumed] == [VerificationPhase.DATA]
    assert {finding.kind for finding in findings} == {Kind.CORRUPT_DATA, Kind.BLOB_LOST}
    assert store.verifications.counted.blobs == 8


async def test_finished_verification_is_not_resumed(store: Store) -> None:
    await store.verifications.run()
    await store.verifications.run()
    assert not any(progress.is_resumed for progress in store.verifications.progress)
    assert {key for key in await store.services.keys() if "_control" in key} == {
        layout.STORE_TIME,
        layout.CLOCK,
        layout.verification_checkpoint("full"),
    }


async def test_run_cancelled_anywhere_finds_all_when_resumed(store: Store) -> None:
    """The last finding reported before a kill is reported again, and so are all later ones."""
    for number in range(3):
        content = b"%d" % number
        digest = await store.services.push_blob(RepositoryName(f"repo{number}"), content)
        await store.services.storage.write(layout.blob_data(digest), b"damaged")
        await store.services.tag_links.point(RepositoryName(f"repo{number}"), Tag("x"), ABSENT)
    expected = {finding.identity for finding in await store.verifications.run()}
    assert len(expected) == 6
    for stop_after in range(1, 7):
        seen: list[Finding] = []

        def stop(finding: Finding, seen: list[Finding] = seen, after: int = stop_after) -> None:
            seen.append(finding)
            if len(seen) == after:
                raise KeyboardInterrupt

        verifier = store.verifications.verifier()
        with pytest.raises(KeyboardInterrupt):
            await verifier.run(OPTIONS, on_finding=stop, on_progress=lambda _progress: None)
        again = await store.verifications.run()
        assert {finding.identity for finding in again} == expected


async def test_restart_discards_the_checkpoint_of_a_killed_run(store: Store, interposing: Interposing) -> None:
    async def fail() -> None:
        raise StorageUnavailableError("gone")

    await store.services.storage.write(layout.blob_data(store.layer), b"damaged")
    interposing.before["walk", layout.layers(NAME)] = fail
    with pytest.raises(StorageUnavailableError):
        await store.verifications.run()
    await store.services.push_blob(NAME, LAYER)
    assert await store.verifications.run(replace(OPTIONS, restart=True)) == []


@pytest.mark.parametrize("what", ["layer", "image"])
async def test_data_that_cannot_be_read_is_damaged(store: Store, interposing: Interposing, what: str) -> None:
    unreadable: Digest = getattr(store, what)

    class Unreadable(Interposing):
        @override
        async def begin(self, operation: str, key: str) -> None:
            # Wherever it is moved to: its sectors are bad.
            if operation == "open_reader" and unreadable.encoded in key:
                raise StorageUnavailableError("input/output error")
            await super().begin(operation, key)

    store.verifications = Verifications(CoreServices(storage=Unreadable(interposing)), index=store.verifications.index)
    findings = await store.verifications.run(REPAIR)
    [data] = [finding for finding in findings if finding.kind is Kind.CORRUPT_DATA]
    assert (data.detail, data.outcome) == ("cannot be read beyond 0 bytes", Outcome.FOUND)
    # The trouble may be on the way to it: it stays.
    await store.services.storage.stat(layout.blob_data(unreadable))
    assert {finding.outcome for finding in findings} == {Outcome.FOUND}
    assert (await store.services.manifests.get(NAME, Tag("v1"))).digest == store.image


async def test_index_that_fails_is_one_finding(store: Store) -> None:
    class Failing(type(store.verifications.index)):  # type: ignore[misc] # the in-memory index of the fixture
        is_away = True

        @override
        async def page(self, *, after: str, limit: int) -> object:
            if self.is_away:
                raise StorageUnavailableError("MySQL is away")
            return await super().page(after=after, limit=limit)

    store.verifications = Verifications(store.services, index=Failing())
    [finding] = await store.verifications.run()
    assert (finding.kind, finding.outcome) == (Kind.CATALOG_UNREADABLE, Outcome.FOUND)
    assert "MySQL is away" in finding.detail


async def test_young_referrer_without_its_manifest_is_not_reported(store: Store) -> None:
    await store.services.links.write(layout.referrer_link(NAME, store.image, ABSENT), ABSENT)
    assert await store.verifications.run(replace(REPAIR, grace=timedelta(hours=1))) == []
    assert await store.verifications.kinds() == [Kind.REFERRER_STALE]


async def test_data_pushed_after_the_second_check_stays(store: Store, interposing: Interposing) -> None:
    key = layout.blob_data(store.layer)
    await store.services.storage.write(key, b"damaged")
    # The stats of both looks and of the repair.
    interposing.at_call["stat", key] = (2, lambda: store.services.push_blob(NAME, LAYER))
    assert await store.verifications.run(REPAIR) == []
    assert not [operation for operation in interposing.operations if operation.startswith("move")]
    assert await store.services.read_blob(NAME, store.layer) == LAYER


async def test_store_that_fails_after_the_move_proves_nothing(store: Store, interposing: Interposing) -> None:
    key = layout.blob_data(store.layer)
    await store.services.storage.write(key, b"damaged")

    class Failing(Interposing):
        @override
        async def begin(self, operation: str, key: str) -> None:
            if operation in {"open_reader", "check"} and ("quarantine" in key or self.operations[-1:] == ["fail"]):
                self.operations.append("fail")
                raise StorageUnavailableError("gone")
            await super().begin(operation, key)

        @override
        async def carry_out(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
            if operation == "check":
                await self.begin(operation, key)
            return await super().carry_out(operation, key, call)

    storage = Failing(store.services.storage)
    store.verifications = Verifications(CoreServices(storage=storage), index=store.verifications.index)
    findings = await store.verifications.run(REPAIR)
    assert Kind.CORRUPT_DATA not in {finding.kind for finding in findings}
    assert await store.services.storage.read(key) == b"damaged"
    assert [entry async for entry in store.verifications.trash.entries()] == []


async def test_sound_data_that_a_killed_repair_set_aside_comes_back(store: Store) -> None:
    trash = store.verifications.trash
    for digest in (store.layer, store.config):
        entry = trash.new_entry(TrashKind.QUARANTINE)
        await trash.record(entry, blobs=[digest])
        await trash.quarantine_blob(digest, entry)
    damaged = trash.new_entry(TrashKind.QUARANTINE)
    await store.services.storage.write(layout.quarantined_copy(store.layer, damaged.id), b"damaged")
    findings = await store.verifications.run(REPAIR)
    assert {finding.outcome for finding in findings} == {Outcome.RESTORED}
    assert await store.verifications.run() == []


async def test_data_that_vanishes_before_it_is_moved_is_no_finding(store: Store, interposing: Interposing) -> None:
    key = layout.blob_data(store.layer)
    await store.services.storage.write(key, b"damaged")
    interposing.before["move", key] = lambda: store.services.storage.delete([key])
    findings = await store.verifications.run(REPAIR)
    assert Kind.CORRUPT_DATA not in {finding.kind for finding in findings}
    assert [entry async for entry in store.verifications.trash.entries()] == []


async def test_quarantine_of_other_blobs_is_skipped(store: Store) -> None:
    key = layout.blob_data(store.layer)
    await store.services.storage.write(key, b"damaged")
    neighbour = Digest(f"sha256:{store.layer.encoded[:-1]}{'f' if store.layer.encoded[-1] != 'f' else 'e'}")
    for other in (neighbour, Digest(f"sha256:{store.layer.encoded[:2]}{'f' * 62}")):
        await store.services.storage.write(layout.quarantined_copy(other, "entry"), LAYER)
    outcomes = {finding.outcome for finding in await store.verifications.run(REPAIR)}
    assert outcomes == {Outcome.QUARANTINED, Outcome.NEEDS_PUSH}
