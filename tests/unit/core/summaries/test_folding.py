"""Folding: changes move into the history without loss and without duplicates, wherever the job is killed."""

import json
from datetime import timedelta

import pytest

from core.errors import StorageUnavailableError
from core.model.names import RepositoryName, Tag
from core.store import layout, summary_keys
from core.summaries import folding as folding_module
from core.summaries.changes import ChangeKind, ChangeLog
from core.summaries.folding import HISTORY_KEPT, PASS_INTERVAL, RECORD_AGE
from core.summaries.history import read_history
from core.summaries.stored import decode_summaries
from core.summaries.table import RepositorySummary, StoredTable, read_table, write_table
from tests.support.content import image_manifest
from tests.support.summaries import NAME, inline

OTHER = RepositoryName("other")
LONG = RepositoryName("a/" + "b" * 200)
V1 = Tag("v1")


@pytest.fixture
def folding(store):
    return store.folding()


async def entries(store, name=NAME, tag=V1):
    history = await read_history(store.storage.inner, name)
    assert history is not None
    return [(entry.kind, entry.by) for entry in history.of(tag)]


async def rows(store):
    table = await read_table(store.storage.inner, offload=inline)
    return {name: row.tags for name, row in table.rows.items()}


async def unfolded(store):
    return (await ChangeLog(store.storage.inner).listing()).records


async def age(store):
    store.time.pass_seconds(RECORD_AGE.total_seconds())


async def test_changes_move_into_the_history_and_the_table(store, folding):
    image = await store.put_image("web")
    await store.tag("v1", image, by="alice")
    await store.tag("v1", image, name=LONG, by="bob")
    await store.untag("v1")
    await age(store)
    counts = await folding.run(store.time.now())
    assert counts.as_json() == {"records": 3, "repositories": 4}
    assert await unfolded(store) == []
    assert await entries(store) == [(ChangeKind.DELETE, "alice"), (ChangeKind.PUSH, "alice")]
    assert await entries(store, LONG) == [(ChangeKind.PUSH, "bob")]
    assert await rows(store) == {LONG: 1, NAME: 0}
    assert set(decode_summaries(await store.storage.read(summary_keys.manifest_summaries(LONG)))) == {image}


async def test_the_history_describes_manifests_that_may_be_gone_later(store, folding):
    image = await store.put_image()
    await store.tag("v1", image)
    await age(store)
    await folding.run(store.time.now())
    history = await read_history(store.storage, NAME)
    assert history is not None
    [entry] = history.of(V1)
    assert entry.media_type == "application/vnd.oci.image.manifest.v1+json"
    assert entry.size == len(await store.storage.read(layout.blob_data(image)))


async def test_a_young_record_is_left_for_all_processes_to_see(store, folding):
    await store.tag("v1", await store.put_image())
    assert (await folding.run(store.time.now())).records == 0
    assert len(await unfolded(store)) == 1


async def test_all_records_are_folded_in_bounded_portions(store, folding, monkeypatch):
    monkeypatch.setattr(folding_module, "RECORDS_AT_ONCE", 2)
    for number in range(5):
        await store.tag("v1", await store.put_image(str(number)), by=str(number))
    await age(store)
    assert (await folding.run(store.time.now())).records == 5
    assert len(await entries(store)) == 5


async def test_a_change_that_concerns_no_tag_refreshes_the_repository(store, folding):
    await store.point("v1", await store.put_image())
    await store.changes.record(ChangeKind.OTHER, NAME, by="registry copy")
    await age(store)
    await folding.run(store.time.now())
    assert await rows(store) == {NAME: 1}
    assert summary_keys.tag_history(NAME) not in [key async for key, _ in store.storage.walk("/")]


async def test_records_that_cannot_be_read_are_removed_and_foreign_objects_stay(store, folding, caplog):
    await store.storage.inner.write(summary_keys.change("20261129T194007.123456Z-1"), b"damaged")
    await store.storage.inner.write(summary_keys.change("README.txt"), b"")
    await age(store)
    assert (await folding.run(store.time.now())).records == 1
    assert "change ignored" in caplog.text
    assert [key async for key, _ in store.storage.walk(summary_keys.CHANGES)] == [summary_keys.change("README.txt")]


async def test_a_history_of_another_release_stays_with_its_records(store, folding):
    await store.storage.inner.write(summary_keys.tag_history(NAME), b"9\n")
    await store.tag("v1", await store.put_image())
    await store.tag("v1", await store.put_image(), name=OTHER)
    await age(store)
    await folding.run(store.time.now())
    assert [record.repository for record in await unfolded(store)] == [NAME]
    assert await store.storage.read(summary_keys.tag_history(NAME)) == b"9\n"
    assert await rows(store) == {NAME: 1, OTHER: 1}


async def test_a_deleted_repository_leaves_the_table(store, folding):
    await store.tag("v1", await store.put_image())
    await age(store)
    await folding.run(store.time.now())
    await store.storage.inner.delete_tree(layout.repository(NAME))
    await store.changes.record(ChangeKind.DELETE, NAME, tags=[(V1, None)], by="bob")
    await age(store)
    await folding.run(store.time.now())
    assert await rows(store) == {}
    assert len(await entries(store)) == 2


async def fill(store):
    image, other = await store.put_image("1"), await store.put_image("2")
    await store.tag("v1", image, by="1")
    await store.tag("v1", other, by="2")
    await store.tag("v1", image, name=OTHER, by="3")
    await age(store)


async def test_a_run_that_is_killed_is_repeated_without_loss_or_duplicates(store):
    await fill(store)
    snapshot = {key: await store.storage.read(key) async for key, _ in store.storage.inner.walk("/")}
    before = len(store.storage.mutations)
    await store.folding().run(store.time.now())
    mutations = len(store.storage.mutations) - before
    assert mutations >= 5
    for number in range(mutations):
        await store.storage.inner.delete_tree("/docker")
        for key, content in snapshot.items():
            await store.storage.inner.write(key, content)
        await age(store)
        store.storage.stop_after(number)
        with pytest.raises(StorageUnavailableError):
            await store.folding().run(store.time.now())
        store.storage.heal()
        assert len((await store.service().view(NAME)).tags) == 1
        await store.folding().run(store.time.now())
        assert await entries(store) == [(ChangeKind.PUSH, "2"), (ChangeKind.PUSH, "1")]
        assert await entries(store, OTHER) == [(ChangeKind.PUSH, "3")]
        assert await unfolded(store) == []
        assert await rows(store) == {NAME: 1, OTHER: 1}


async def test_a_process_that_lost_the_lease_removes_nothing(store, folding):
    await fill(store)
    await folding.run(store.time.now(), is_held=lambda: False)
    assert len(await unfolded(store)) == 3
    assert await rows(store) == {}


async def test_a_process_that_loses_the_lease_during_a_pass_does_not_write_the_table(store, folding):
    await store.point("v1", await store.put_image())
    held = iter([True, False])
    await folding.run(store.time.now(), is_held=lambda: next(held))
    assert await rows(store) == {}


class TestPass:
    """The pass over all repositories, which finds what nobody recorded."""

    async def test_an_old_store_is_summarized_in_several_runs(self, store, folding, monkeypatch):
        monkeypatch.setattr(folding_module, "REPOSITORIES_PER_RUN", 2)
        for number in range(3):
            name = RepositoryName(f"n{number}")
            await store.point("v1", await store.put_image(name=name), name=name)
        await store.storage.inner.write(f"{layout.REPOSITORIES}/UPPER/_layers/x", b"")
        first = await folding.run(store.time.now())
        table = await read_table(store.storage, offload=inline)
        assert (first.repositories, table.built_at) == (1, None)
        # New processes continue.
        for _ in range(2):
            await store.folding().run(store.time.now())
        table = await read_table(store.storage, offload=inline)
        assert (set(table.rows), table.built_at) == ({"n0", "n1", "n2"}, store.time.now())
        assert (await store.service().table()).is_complete

    async def test_the_next_pass_comes_a_day_later_and_finds_changes_without_records(self, store, folding):
        image = await store.put_image()
        await store.point("v1", image)
        await store.point("v1", image, name=OTHER)
        for _ in range(2):
            await folding.run(store.time.now())
        await store.point("v2", image)
        await store.storage.inner.delete_tree(layout.repository(OTHER))
        for each in (folding, store.folding()):
            await each.run(store.time.now())
            assert await rows(store) == {NAME: 1, OTHER: 1}
        store.time.pass_seconds(PASS_INTERVAL.total_seconds())
        await folding.run(store.time.now())
        assert await rows(store) == {NAME: 2}

    async def test_without_work_a_run_costs_one_request(self, store, folding):
        for _ in range(2):
            await folding.run(store.time.now())
        store.storage.count()
        await folding.run(store.time.now())
        assert store.storage.count() == 1

    async def test_a_repository_with_many_images_is_completed(self, store, folding, monkeypatch):
        monkeypatch.setattr(folding_module, "_BUILT_MAX", 2)
        for number in range(5):
            await store.point(f"v{number}", await store.put_image(str(number)))
        await folding.run(store.time.now())
        table = await read_table(store.storage, offload=inline)
        assert table.rows[NAME].is_complete

    async def test_a_repository_with_a_missing_image_does_not_stop_the_pass(self, store, folding):
        await store.point("v1", await store.put_image())
        image = await store.put_image("2")
        await store.point("v2", image)
        await store.storage.inner.delete_tree(layout.blob_data(image))
        await folding.run(store.time.now())
        table = await read_table(store.storage, offload=inline)
        assert (table.rows[NAME].tags, table.rows[NAME].is_complete) == (2, False)
        assert table.built_at is not None


class TestRebuild:
    """The command that summarizes all repositories."""

    async def test_all_repositories_are_summarized(self, store, folding, monkeypatch):
        monkeypatch.setattr(folding_module, "REPOSITORIES_PER_RUN", 2)
        gone = RepositorySummary(name=RepositoryName("gone"), tags=1, size=1, pushed_at=None)
        await write_table(store.storage.inner, StoredTable(rows={gone.name: gone}), offload=inline)
        for number in range(4):
            name = RepositoryName(f"n{number}")
            await store.point("v1", await store.put_image(name=name), name=name)
        numbers: list[int] = []
        assert await folding.rebuild(store.time.now(), on_progress=numbers.append) == 4
        assert numbers == [2, 4, 4]
        table = await read_table(store.storage, offload=inline)
        assert (set(table.rows), table.built_at) == ({"n0", "n1", "n2", "n3"}, store.time.now())

    async def test_an_empty_store_has_an_empty_table(self, store, folding):
        assert await folding.rebuild(store.time.now()) == 0
        assert (await store.service().table()).is_complete

    async def test_what_a_killed_rebuild_stored_is_not_read_again(self, store):
        for number in range(3):
            await store.point("v1", await store.put_image(str(number), layers=[b"x"]))
        store.storage.stop_after(1)
        with pytest.raises(StorageUnavailableError):
            await store.folding().rebuild(store.time.now())
        store.storage.heal()
        store.storage.operations.clear()
        await store.folding().rebuild(store.time.now())
        assert not [key for key in store.storage.reads() if key.startswith(layout.BLOBS)]


class TestLeftovers:
    """Summaries of repositories that no longer exist."""

    async def test_they_are_removed_and_the_history_stays_for_a_year(self, store, folding):
        for name in (NAME, OTHER, RepositoryName("zzz")):
            await store.tag("v1", await store.put_image(name=name), name=name)
        await age(store)
        await folding.run(store.time.now())
        await store.storage.inner.delete_tree(layout.repository(OTHER))
        assert await folding.remove_leftovers(store.time.now()) == 1
        kept = [key async for key, _ in store.storage.walk(summary_keys.SUMMARIES)]
        assert summary_keys.manifest_summaries(NAME) in kept
        assert summary_keys.manifest_summaries(OTHER) not in kept
        assert summary_keys.tag_history(OTHER) in kept
        store.time.pass_seconds((HISTORY_KEPT + timedelta(days=1)).total_seconds())
        await folding.remove_leftovers(store.time.now())
        kept = [key async for key, _ in store.storage.walk(summary_keys.SUMMARIES)]
        assert summary_keys.tag_history(OTHER) not in kept
        assert summary_keys.tag_history(NAME) in kept

    @pytest.mark.parametrize("content", [b"9\n", b"damaged"], ids=["another release", "damaged"])
    async def test_a_history_that_cannot_be_read(self, store, folding, content):
        await store.storage.inner.write(summary_keys.tag_history(NAME), content)
        assert await folding.remove_leftovers(store.time.now()) == 1
        kept = [key async for key, _ in store.storage.walk("/")]
        assert (summary_keys.tag_history(NAME) in kept) is (content == b"9\n")

    async def test_foreign_folders_and_records_stay(self, store, folding):
        await store.storage.inner.write(f"{summary_keys.SUMMARIES}/UPPER/_x", b"")
        await store.tag("v1", await store.put_image())
        assert await folding.remove_leftovers(store.time.now()) == 0
        assert len(await unfolded(store)) == 1
        assert f"{summary_keys.SUMMARIES}/UPPER/_x" in [key async for key, _ in store.storage.walk("/")]


async def test_batches_of_pulls_are_merged_each_hour(store):
    folding = store.folding(merges_pulls=True)

    async def batches():
        return [key async for key, _ in store.storage.walk(layout.PULL_BATCHES)]

    async def pull(number):
        content = json.dumps({NAME: {await store.put(image_manifest()): number}}).encode()
        await store.storage.inner.write(layout.pull_batch(f"b{number}"), content)

    await store.storage.inner.write(layout.PULLS_SINCE, b"")
    await store.storage.inner.write(layout.PULLS_LATEST, b"")
    await pull(1)
    await pull(2)
    await folding.run(store.time.now())
    assert len(await batches()) == 1
    await pull(3)
    await folding.run(store.time.now())
    assert len(await batches()) == 2
    store.time.pass_seconds(3600)
    await folding.run(store.time.now())
    assert len(await batches()) == 1
