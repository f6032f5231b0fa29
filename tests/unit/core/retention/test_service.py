"""Retention on a store: images that are judged, removed, and saved by a concurrent push."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.memory import InMemoryCatalogIndex
from core.errors import DeniedError, NameUnknownError, StorageUnavailableError
from core.model import media_types
from core.model.digest import Digest
from core.model.events import UNNAMED, Actor
from core.model.names import RepositoryName, Tag
from core.registry.facade import Registry
from core.registry.manifest_references import ManifestPolicy
from core.retention import service
from core.retention.pulls import PullRecorder
from core.retention.rules import RetentionRule
from core.store import layout
from core.store.clock import StoreClock
from core.store.tag_links import TagTarget
from core.trash.entry import TrashKind
from tests.support.content import image_manifest
from tests.support.core_services import CoreServices, counting_ids
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.invariants import tags_of

NAME = RepositoryName("team/app")
OTHER = RepositoryName("team/other")
DAY = timedelta(days=1)
DAY_SECONDS = 24 * 3600.0


@pytest.fixture
def storage(time):
    return FaultyBlobStorage(InMemoryBlobStorage(now=time.now), splits_trees=True)


def registry_of(storage, *rules: RetentionRule, keeps=(), hides_md5=False) -> Registry:
    policy = ManifestPolicy(is_immutable=lambda _name, tag: tag in keeps)
    services = CoreServices(storage=storage, retention_rules=rules, policy=policy)
    return services.registry(InMemoryCatalogIndex())


def image(number: int) -> bytes:
    return image_manifest(str(number).encode())


async def push(storage, time, name: RepositoryName, tags: Sequence[str]):
    """Push an image of its own under each tag, a day apart, the last one just now."""
    services = CoreServices(storage=storage)
    for number, tag in enumerate(tags):
        await services.push_blob(name, str(number).encode())
        await services.manifests.put(name, image(number), media_types.OCI_MANIFEST, tags=[Tag(tag)])
        if number + 1 < len(tags):
            await time.advance(DAY_SECONDS)


async def apply(registry, **options):
    return [plan async for plan in registry.apply_retention(by=Actor("test"), **options)]


async def left(storage, name=NAME):
    return await tags_of(CoreServices(storage=storage), name)


async def test_tags_without_a_rule_are_deleted_and_can_be_restored(storage, time):
    await push(storage, time, NAME, ["a", "b", "c", "d"])
    await push(storage, time, OTHER, ["a", "b"])
    registry = registry_of(storage, RetentionRule(repositories=("team/app",), keep_last=2))
    [plan] = await apply(registry)
    assert (plan.name, [state.tag for state in plan.going]) == (NAME, ["a", "b"])
    assert (await left(storage), await left(storage, OTHER)) == (["c", "d"], ["a", "b"])
    [removal] = [removal async for removal in registry.trash.removals()]
    assert (removal.entry.kind, removal.entry.by, removal.entry.reason) == (TrashKind.TAG, "test", "retention")
    await registry.restore("team/app:a", by=UNNAMED)
    assert await left(storage) == ["a", "c", "d"]


async def test_dry_run_and_registry_without_rules_change_nothing(storage, time):
    await push(storage, time, NAME, ["a", "b"])
    before = await CoreServices(storage=storage).keys(layout.REPOSITORIES)
    [plan] = await apply(registry_of(storage, RetentionRule(keep_last=1)), dry_run=True)
    assert [state.tag for state in plan.going] == ["a"]
    assert await apply(registry_of(storage)) == []
    assert await CoreServices(storage=storage).keys(layout.REPOSITORIES) == before


async def test_pulls_keep_old_images_once_they_are_known_for_long_enough(storage, time):
    rule = RetentionRule(pulled_within=7 * DAY)
    await push(storage, time, NAME, ["pulled", "unused"])
    await time.advance(30 * DAY_SECONDS)
    # No pulls are recorded yet, so it may have been pulled.
    assert [plan.going for plan in await apply(registry_of(storage, rule))] == [[]]
    recorder = PullRecorder(storage, clock=time.clock, new_id=counting_ids())
    await recorder.flush()
    for _ in range(8):
        await time.advance(DAY_SECONDS * 0.9)
        recorder.note(NAME, Digest.of(image(0)))
        await recorder.flush()
        # As servers do.
        await StoreClock(storage).look()
    await apply(registry_of(storage, rule))
    assert await left(storage) == ["pulled"]


async def test_immutable_tags_stay(storage, time):
    await push(storage, time, NAME, ["a", "b", "c"])
    registry = registry_of(storage, RetentionRule(keep_last=1), keeps={"a"})
    await apply(registry)
    assert await left(storage) == ["a", "c"]
    with pytest.raises(DeniedError):
        await registry.manifests.delete_tags(NAME, {Tag("c"): Digest.of(b""), Tag("a"): Digest.of(b"")})
    assert await left(storage) == ["a", "c"]


async def test_tag_pushed_during_the_run_stays(storage, time):
    """A CI pushes `a` again between its judgement and its deletion."""
    await push(storage, time, NAME, ["a", "b", "c"])
    registry = registry_of(storage, RetentionRule(keep_last=1))
    plans = registry.retention.plans(merges_pulls=False)
    plan = await anext(plans)
    await push(storage, time, NAME, ["a"])
    await CoreServices(storage=storage).manifests.delete(NAME, Tag("b"))
    assert await registry.retention.unchanged(NAME, plan.going) == []
    [later] = [plan async for plan in plans] or [plan]
    assert later is plan


async def test_tags_that_are_all_pushed_before_their_deletion_stay(storage, time):
    """Nothing is left to delete, and nothing is reported or recorded as deleted."""
    await push(storage, time, NAME, ["a", "b"])

    class LateStorage(FaultyBlobStorage):
        """Pushes the tag again at its last check."""

        async def stat(self, key):
            if key == layout.tag_current_link(NAME, Tag("a")):
                await push(storage, time, NAME, ["a"])
            return await super().stat(key)

    registry = registry_of(LateStorage(storage.inner), RetentionRule(keep_last=1))
    [plan] = await apply(registry)
    assert [state.tag for state in plan.going] == ["a"]
    assert list(plan.removed) == []
    assert await left(storage) == ["a", "b"]
    assert [removal async for removal in registry.trash.removals()] == []


@pytest.mark.parametrize(
    ("changes", "stands"),
    [
        ({}, True),
        ({"modified_at": timedelta(milliseconds=-400)}, True),
        ({"modified_at": timedelta(seconds=2)}, False),
        ({"md5": "another"}, False),
        ({"md5": None}, True),
        ({"md5": None, "modified_at": timedelta(milliseconds=-400)}, False),
    ],
)
async def test_times_are_compared_with_the_precision_of_the_store(storage, time, monkeypatch, changes, stands):
    await push(storage, time, NAME, ["a"])
    services = CoreServices(storage=storage)
    target = (await services.tag_links.targets(NAME, []))[Tag("a")]
    stat = storage.stat

    async def changed_stat(key):
        found = await stat(key)
        moved = found.modified_at + changes.get("modified_at", timedelta(0))
        return replace(found, modified_at=moved, md5=changes.get("md5", found.md5))

    monkeypatch.setattr(storage, "stat", changed_stat)
    assert await services.tag_links.stands(NAME, Tag("a"), target) == stands
    assert not await services.tag_links.stands(NAME, Tag("a"), TagTarget(None, None))
    assert not await services.tag_links.stands(NAME, Tag("gone"), target)


async def test_history_without_a_link_and_other_folders_are_skipped(storage, time):
    await push(storage, time, NAME, ["a", "b"])
    await storage.delete([layout.tag_current_link(NAME, Tag("a"))])
    await storage.write(layout.tag_current_link(NAME, Tag("torn")), b"")
    await storage.write(f"{layout.tags(NAME)}/-x/current/link", b"")
    await storage.write(f"{layout.REPOSITORIES}/Somebody/_layers/x", b"")
    await storage.write(f"{layout.REPOSITORIES}/untagged/_layers/x", b"")
    [plan] = await apply(registry_of(storage, RetentionRule(keep_last=1)))
    assert [verdict.state.tag for verdict in plan.verdicts] == ["b"]


async def test_tag_costs_no_read_on_a_store_with_checksums(storage, time):
    await push(storage, time, NAME, ["a", "b", "c"])
    registry = registry_of(storage, RetentionRule(keep_last=9))
    storage.operations.clear()
    await apply(registry, dry_run=True)
    read = {operation for operation in storage.operations if operation.startswith("read ")}
    assert read == {f"read {layout.CLOCK}"}


async def test_next_run_completes_a_run_killed_at_any_point(time):
    mutations, ended = 0, False
    while not ended:
        storage = FaultyBlobStorage(InMemoryBlobStorage(now=time.now), splits_trees=True)
        await push(storage, time, NAME, ["a", "b", "c"])
        registry = registry_of(storage, RetentionRule(keep_last=1))
        storage.stop_after(mutations)
        try:
            await apply(registry)
            ended = True
        except StorageUnavailableError:
            ended = False
        storage.heal()
        gone = {"a", "b", "c"} - set(await left(storage))
        recorded = {tag async for removal in registry.trash.removals() for _, tag, _ in removal.tags}
        assert gone <= recorded <= {"a", "b"}
        await apply(registry)
        assert await left(storage) == ["c"]
        mutations += 1
    assert mutations > 3


async def test_pages_show_each_repository_once(storage, time, monkeypatch):
    covered = [RepositoryName(f"team/{number}") for number in range(5)]
    for name in (*covered, RepositoryName("a"), RepositoryName("z")):
        await push(storage, time, name, ["a", "b"])
    retention = registry_of(storage, RetentionRule(repositories=("team/*",), keep_last=1)).retention

    async def pages(n=None):
        last, found = "", []
        while True:
            page = await retention.page(await retention.known_pulls(), n=n, after=last)
            found.append([plan.name for plan in page.plans])
            last = page.last
            if not last:
                return found

    assert await pages() == [covered]
    assert await pages(2) == [covered[:2], covered[2:4], covered[4:]]
    assert await pages(0) == [[]]
    monkeypatch.setattr(service, "_EXAMINED_MAX", 3)
    assert await pages() == [covered[:2], covered[2:], []]
    monkeypatch.setattr(service, "_PAGE_TAGS_MAX", 4)
    assert await pages() == [covered[:2], covered[2:4], covered[4:]]
    assert (await registry_of(storage).retention.page(None)).plans == []


async def test_plan_of_one_repository_equals_that_of_all(storage, time):
    for name in (NAME, OTHER):
        await push(storage, time, name, ["a", "b"])
    registry = registry_of(storage, RetentionRule(repositories=(NAME,), keep_last=1))
    [expected] = await apply(registry, dry_run=True)
    assert (await registry.retention.plan(NAME, None)).verdicts == expected.verdicts
    assert (await registry.retention.plan(OTHER, None)).verdicts == ()
    await registry.delete_repository(NAME, by=UNNAMED)
    await storage.delete_tree(layout.repository(NAME))
    for name in (NAME, RepositoryName("unknown")):
        with pytest.raises(NameUnknownError):
            await registry.retention.plan(name, None)


def test_rules_are_those_of_the_configuration(storage):
    rules = (RetentionRule(keep_last=1), RetentionRule(keep_last=2))
    assert registry_of(storage, *rules).retention.rules == rules
