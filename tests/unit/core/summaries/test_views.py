"""Views of repositories: never older than the question, and cheap when nothing changed."""

import asyncio

import pytest

from core.concurrency import map_bounded
from core.errors import NameUnknownError, StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout, summary_keys
from core.summaries import views
from core.summaries.changes import ChangeKind, ChangeLog
from core.summaries.history import History, encode, merge
from tests.support.counted_requests import CountedStorage
from tests.support.quiet import quiet
from tests.support.summaries import NAME, SummarizedStore

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


def targets(view):
    return {str(tag): state.digest for tag, state in view.tags.items()}


def authors(view):
    return {str(tag): state.pushed_by for tag, state in view.tags.items()}


@pytest.fixture
def service(store):
    return store.service()


@pytest.fixture
def large(monkeypatch):
    """Treat each repository as one with many tags."""
    monkeypatch.setattr(views, "WALKED_OBJECTS_MAX", 0)


async def test_a_view_shows_the_tags_in_order_with_their_pushes(store, service):
    await store.tag("v2", ONE, by="alice")
    pushed_at = store.time.now()
    store.time.pass_seconds(100)
    await store.point("v1", TWO)
    view = await service.view(NAME)
    assert targets(view) == {"v1": TWO, "v2": ONE}
    assert list(view.tags) == ["v1", "v2"]
    assert authors(view) == {"v1": "", "v2": "alice"}
    assert view.tags[Tag("v1")].pushed_at == store.time.now()
    assert view.tags[Tag("v2")].pushed_at == pushed_at


async def test_the_record_of_a_push_outlives_a_copy_of_the_store(store, service):
    await store.tag("v1", ONE)
    pushed_at = store.time.now()
    store.time.pass_seconds(1000)
    await store.point("v1", ONE)
    assert (await service.view(NAME)).tags[Tag("v1")].pushed_at == pushed_at


async def test_the_record_of_an_older_target_does_not_count(store, service):
    await store.tag("v1", ONE)
    store.time.pass_seconds(1000)
    await store.point("v1", TWO)
    state = (await service.view(NAME)).tags[Tag("v1")]
    assert (state.pushed_at, state.pushed_by) == (store.time.now(), "")


@pytest.mark.parametrize("has_checksums", [True, False])
async def test_each_change_is_seen_at_once(storage, time, has_checksums):
    store = SummarizedStore(CountedStorage(storage, has_checksums=has_checksums), time)
    service = store.service()
    await store.tag("v1", ONE)
    await store.tag("v2", ONE)
    assert targets(await service.view(NAME)) == {"v1": ONE, "v2": ONE}
    await store.point("v1", TWO)
    assert targets(await service.view(NAME)) == {"v1": TWO, "v2": ONE}
    time.pass_seconds(100)
    await store.untag("v2")
    await store.tag("v3", TWO, by="bob")
    view = await service.view(NAME)
    assert targets(view) == {"v1": TWO, "v3": TWO}
    assert authors(view) == {"v1": "", "v3": "bob"}


async def test_the_version_changes_with_the_tags_and_is_the_same_in_all_processes(store, service):
    await store.tag("v1", ONE)
    first = await service.view(NAME)
    assert (await service.view(NAME)) is first
    assert (await store.service().view(NAME)).version == first.version
    await store.tag("v1", TWO)
    assert (await service.view(NAME)).version != first.version


async def test_1000_tags_with_all_details_cost_two_requests_when_warm(store, service):
    await store.fill(1_000)

    async def list_all():
        view = await service.view(NAME)
        summaries = await service.describe(NAME, {state.digest for state in view.tags.values()}, built_max=1_000)
        assert len(view.tags) == len(summaries) == 1_000
        await service.last_pulls(NAME)

    await list_all()
    store.time.pass_seconds(100)
    await list_all()
    store.storage.count()
    await list_all()
    assert store.storage.count() == 2


async def test_a_cold_view_reads_no_link_if_the_store_lists_checksums(store, service):
    await store.fill(200)
    await service.view(NAME)
    # Listings of changes, tags and manifests, and the history.
    assert store.storage.count() == 4
    assert not [key for key in store.storage.reads() if key.endswith("/link")]


async def test_a_warm_view_of_a_folder_reads_only_links_that_changed(storage, time):
    store = SummarizedStore(CountedStorage(storage, has_checksums=False), time)
    await store.fill(30)
    time.pass_seconds(100)
    service = store.service()
    await service.view(NAME)
    store.storage.operations.clear()
    await store.point("t00007", ONE)
    await service.view(NAME)
    assert [key for key in store.storage.reads() if key.endswith("/link")] == [
        layout.tag_current_link(NAME, Tag("t00007"))
    ]


async def test_a_link_without_a_checksum_may_change_within_the_resolution_of_its_time(storage, time):
    store = SummarizedStore(CountedStorage(storage, has_checksums=False), time)
    service = store.service()
    await store.point("v1", ONE)
    await service.view(NAME)
    await store.point("v1", TWO)
    assert targets(await service.view(NAME)) == {"v1": TWO}


async def test_a_link_with_a_newline_is_read_each_time_and_explains_no_other_link(store, service):
    await store.storage.inner.write(layout.tag_current_link(NAME, Tag("v1")), f"{ONE}\n".encode())
    assert targets(await service.view(NAME)) == {"v1": ONE}
    await store.storage.inner.write(layout.tag_current_link(NAME, Tag("v2")), f"{ONE}\n".encode())
    assert targets(await service.view(NAME)) == {"v1": ONE, "v2": ONE}


async def test_tags_that_cannot_be_pulled_and_foreign_objects_are_left_out(store, service):
    await store.storage.inner.write(layout.tag_current_link(NAME, Tag("torn")), b"sha256:12")
    await store.storage.inner.write(layout.tag_index_link(NAME, Tag("gone"), ONE), ONE.encode())
    await store.storage.inner.write(f"{layout.tags(NAME)}/-foreign/current/link", ONE.encode())
    await store.point("v1", ONE)
    assert targets(await service.view(NAME)) == {"v1": ONE}


async def test_a_repository_without_tags_may_exist(store, service):
    await store.put_image()
    assert (await service.view(NAME)).tags == {}


async def test_an_unknown_repository_is_an_error_also_after_it_was_known(store, service):
    with pytest.raises(NameUnknownError):
        await service.view(NAME)
    await store.point("v1", ONE)
    await service.view(NAME)
    await store.storage.inner.delete_tree(layout.repository(NAME))
    with pytest.raises(NameUnknownError):
        await service.view(NAME)
    await store.point("v1", TWO)
    assert targets(await service.view(NAME)) == {"v1": TWO}


async def test_the_history_names_the_author_after_the_record_was_folded(store, service):
    await store.tag("v1", ONE)
    await store.tag("v2", TWO)
    await store.point("v3", TWO)
    log = ChangeLog(store.storage)
    changes = await log.changes(await log.listing(), NAME)
    history = merge(History(), [(record.id, change) for record, found in changes for change in found])
    await store.storage.inner.write(summary_keys.tag_history(NAME), encode(history))
    await store.storage.inner.delete_tree(summary_keys.CHANGES)
    assert authors(await service.view(NAME)) == {"v1": "alice", "v2": "alice", "v3": ""}


async def test_the_history_is_not_newer_than_a_record(store, service):
    await store.tag("v1", ONE)
    await service.view(NAME)
    log = ChangeLog(store.storage)
    changes = await log.changes(await log.listing(), NAME)
    history = merge(History(), [(record.id, change) for record, found in changes for change in found])
    await store.storage.inner.write(summary_keys.tag_history(NAME), encode(history))
    await store.point("v1", TWO)
    assert authors(await service.view(NAME)) == {"v1": ""}


async def test_a_history_of_another_release_is_ignored(store, service):
    await store.point("v1", ONE)
    await store.storage.inner.write(summary_keys.tag_history(NAME), b"9\n")
    assert authors(await service.view(NAME)) == {"v1": ""}


async def test_a_view_between_a_push_and_its_record_finds_the_author_later(store, service):
    await store.tag("v1", ONE)
    await service.view(NAME)
    await store.point("v1", TWO)
    assert authors(await service.view(NAME)) == {"v1": ""}
    await store.changes.record(ChangeKind.PUSH, NAME, tags=[(Tag("v1"), TWO)], by="bob")
    assert authors(await service.view(NAME)) == {"v1": "bob"}


async def test_a_push_without_a_record_is_searched_for_a_minute(store, service):
    await store.tag("v1", ONE)
    await service.view(NAME)
    await store.point("v1", TWO)
    await service.view(NAME)
    store.time.pass_seconds(views.EXPLAINED_SECONDS)
    store.storage.count()
    await service.view(NAME)
    assert store.storage.count() == 1


class GatedStorage(CountedStorage):
    """Holds back the results of listings until the gate is open."""

    def __init__(self, inner):
        super().__init__(inner)
        self.has_listed, self.gate = asyncio.Event(), asyncio.Event()

    async def walk(self, prefix):
        listed = [item async for item in super().walk(prefix)]
        self.has_listed.set()
        await self.gate.wait()
        for item in listed:
            yield item


class TestLargeRepository:
    """A repository whose tree of tags costs many requests."""

    @pytest.fixture(autouse=True)
    def _large(self, large):
        pass

    async def test_without_changes_a_view_costs_one_request(self, store, service):
        await store.tag("v1", ONE)
        first = await service.view(NAME)
        store.storage.count()
        assert await service.view(NAME) is first
        assert store.storage.count() == 1

    async def test_recorded_changes_are_seen_at_once(self, store, service):
        await store.tag("v1", ONE)
        await store.tag("v2", ONE)
        await store.tag("v3", ONE)
        await service.view(NAME)
        await store.untag("v1")
        await store.tag("v2", TWO, by="bob")
        await store.tag("v4", ONE)
        store.storage.operations.clear()
        view = await service.view(NAME)
        assert targets(view) == {"v2": TWO, "v3": ONE, "v4": ONE}
        assert authors(view) == {"v2": "bob", "v3": "alice", "v4": "alice"}
        assert not [operation for operation in store.storage.operations if operation.startswith("walk")]

    async def test_a_change_without_a_record_is_seen_within_a_minute(self, store, service):
        await store.tag("v1", ONE)
        await service.view(NAME)
        await store.point("v1", TWO)
        assert targets(await service.view(NAME)) == {"v1": ONE}
        store.time.pass_seconds(views.WALK_SECONDS)
        assert targets(await service.view(NAME)) == {"v1": TWO}

    async def test_the_next_walk_runs_in_the_background_if_there_are_callers(self, store, service):
        await store.tag("v1", ONE)
        await service.view(NAME)
        await store.point("v1", TWO)
        store.time.pass_seconds(views.EARLY_WALK_SECONDS)
        assert targets(await service.view(NAME)) == {"v1": ONE}
        await store.tag("v2", ONE)
        await quiet()
        await store.tag("v3", ONE)
        store.storage.operations.clear()
        assert targets(await service.view(NAME)) == {"v1": TWO, "v2": ONE, "v3": ONE}
        assert not [operation for operation in store.storage.operations if operation.startswith("walk")]
        store.time.pass_seconds(views.EARLY_WALK_SECONDS - 1)
        await store.point("v1", ONE)
        await service.view(NAME)
        await quiet()
        assert targets(await service.view(NAME))["v1"] == TWO, "the last walk is young"

    async def test_one_walk_at_a_time_runs_in_the_background(self, storage, time):
        gated = GatedStorage(storage)
        store = SummarizedStore(gated, time)
        service = store.service()
        await store.tag("v1", ONE)
        gated.gate.set()
        await service.view(NAME)
        gated.gate.clear()
        time.pass_seconds(views.EARLY_WALK_SECONDS)
        gated.operations.clear()
        for _ in range(3):
            await service.view(NAME)
            await quiet()
        assert len([operation for operation in gated.operations if operation.startswith("walk")]) == 1
        gated.gate.set()
        await quiet()

    async def test_a_walk_that_a_caller_has_overtaken_is_not_used(self, storage, time):
        gated = GatedStorage(storage)
        store = SummarizedStore(gated, time)
        service = store.service()
        await store.tag("v1", ONE)
        gated.gate.set()
        await service.view(NAME)
        time.pass_seconds(views.EARLY_WALK_SECONDS)
        gated.gate.clear()
        await service.view(NAME)
        await quiet()
        await store.point("v1", TWO)
        time.pass_seconds(views.WALK_SECONDS)
        overtaking = asyncio.create_task(service.view(NAME))
        await quiet()
        gated.gate.set()
        assert targets(await overtaking) == {"v1": TWO}
        assert targets(await service.view(NAME)) == {"v1": TWO}

    async def test_a_failing_walk_in_the_background_is_repeated_by_a_caller(self, store, service):
        await store.tag("v1", ONE)
        await service.view(NAME)
        await store.point("v1", TWO)
        store.time.pass_seconds(views.EARLY_WALK_SECONDS)
        # After the listing of the caller, and that of the walk.
        store.storage.fail_at(3)
        await service.view(NAME)
        await quiet()
        assert targets(await service.view(NAME)) == {"v1": ONE}
        store.time.pass_seconds(views.WALK_SECONDS)
        assert targets(await service.view(NAME)) == {"v1": TWO}

    @pytest.mark.parametrize("tags", [[None], [f"n{number}" for number in range(101)]], ids=["none", "many"])
    async def test_a_change_that_concerns_many_tags_leads_to_a_walk(self, store, service, tags):
        await store.tag("v1", ONE)
        await service.view(NAME)
        await store.point("v1", TWO)
        named = [(tag and Tag(tag), ONE) for tag in tags]
        await store.changes.record(ChangeKind.OTHER, NAME, tags=named, by="")
        assert targets(await service.view(NAME)) == {"v1": TWO}

    async def test_changes_of_other_repositories_cost_nothing(self, store, service):
        await store.tag("v1", ONE)
        await service.view(NAME)
        await store.tag("v1", TWO, name=RepositoryName("other"))
        store.storage.count()
        await service.view(NAME)
        assert store.storage.count() == 1


async def test_concurrent_views_share_one_look_at_the_store(store, service):
    await store.tag("v1", ONE)
    await service.view(NAME)
    store.time.pass_seconds(100)
    store.storage.count()
    found = await map_bounded(service.view, [NAME] * 20, at_once=20)
    assert len({id(view) for view in found}) == 1
    assert store.storage.count() == 1


async def test_a_view_does_not_share_a_look_that_began_before_it(storage, time):
    gated = GatedStorage(storage)
    store = SummarizedStore(gated, time)
    service = store.service()
    await store.tag("v1", ONE)
    early = asyncio.create_task(service.view(NAME))
    await gated.has_listed.wait()
    await store.point("v2", TWO)
    late = asyncio.create_task(service.view(NAME))
    gated.gate.set()
    assert targets(await early) == {"v1": ONE}
    assert targets(await late) == {"v1": ONE, "v2": TWO}


async def test_a_view_goes_on_for_the_others_when_one_client_leaves(store, service):
    await store.tag("v1", ONE)
    store.storage.delay_rate = 1.0
    leaving = asyncio.create_task(service.view(NAME))
    staying = asyncio.create_task(service.view(NAME))
    await asyncio.sleep(0)
    leaving.cancel()
    assert targets(await staying) == {"v1": ONE}
    assert leaving.cancelled()


async def test_a_failing_store_fails_the_view_and_is_asked_again(store, service):
    await store.tag("v1", ONE)
    store.storage.fail_at(1)
    with pytest.raises(StorageUnavailableError):
        await service.view(NAME)
    first = await service.view(NAME)
    store.storage.fail_at(1)
    with pytest.raises(StorageUnavailableError):
        await service.view(NAME)
    assert await service.view(NAME) is not None
    assert targets(await service.view(NAME)) == targets(first)


async def test_the_number_of_tags_in_memory_is_bounded(store, service, monkeypatch):
    monkeypatch.setattr(views, "TAGS_REMEMBERED_MAX", 3)
    other = RepositoryName("other")
    await store.point("v1", ONE)
    await store.point("v1", ONE, name=other)
    first = await service.view(NAME)
    await service.view(other)
    again = await service.view(NAME)
    assert again is not first
    assert again == first


async def test_a_time_within_a_second_is_the_same(store, service):
    await store.tag("v1", ONE)
    first = await service.view(NAME)
    store.time.pass_seconds(0.5)
    await store.point("v1", ONE)
    assert await service.view(NAME) is first
    store.time.pass_seconds(2)
    await store.point("v1", ONE)
    assert (await service.view(NAME)).tags == first.tags
