"""Stored hints for searches, and how long they count: a search sees every recorded change at once."""

import zlib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import NameUnknownError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.model.pagination import Page
from core.store import layout, summary_keys
from core.summaries import changes as changes_module
from core.summaries import search as search_module
from core.summaries.changes import ChangeKind
from core.summaries.folding import RECORD_AGE
from core.summaries.hints import RepositoryHint
from core.summaries.names import page_of
from core.summaries.query import parse_query
from core.summaries.search import Search
from core.summaries.service import SummaryService
from core.summaries.shards import (
    LISTING_SECONDS,
    RELOAD_SECONDS,
    SHARDS,
    decode_shard,
    encode_shard,
    read_shard,
    shard_of,
    update_shards,
)
from core.summaries.stored import SummariesUnreadableError
from tests.support.content import image_manifest
from tests.support.counted_requests import CountedStorage
from tests.support.simulated_time import SimulatedTime
from tests.support.summaries import NAME, SummarizedStore, inline

OTHER = RepositoryName("other")
LONG = RepositoryName("a/" + "b" * 200)
HINT = RepositoryHint("\ntßv1\nla\0\ud800\n".encode("utf-8", "surrogatepass"), b",0a1b2c,")
LONGER = RepositoryHint(b"\n" + b"x" * 100 + b"\n", b",,")


@pytest.fixture(autouse=True)
def _every_repository_needs_a_hint(monkeypatch):
    monkeypatch.setattr(search_module, "UNHINTED_MAX", 0)


async def fold(store):
    store.time.pass_seconds(RECORD_AGE.total_seconds())
    await store.folding().run(store.time.now())


async def hits(service: SummaryService, text: str, *names: RepositoryName) -> list[str]:
    """Return the hits of a search in these repositories."""

    async def read(count: int, after: str) -> Page[RepositoryName]:
        return page_of(sorted(names), min(count, 2), after, None)

    page = await Search(service).page(parse_query(text), names=read)
    assert page.last is None
    return [f"{hit.repository}:{hit.tag}" for hit in page.hits]


async def opened(store, service: SummaryService, text: str, *names: RepositoryName) -> bool:
    """Whether a search opens repositories in which nothing matches."""
    store.storage.count()
    assert await hits(service, text, *names) == []
    return store.storage.count() > 1


def test_a_shard_is_read_as_written():
    shard = {NAME: HINT, OTHER: RepositoryHint(b"\n\n", b",,")}
    assert decode_shard(encode_shard(shard)) == shard
    assert decode_shard(encode_shard({})) == {}


def test_the_longest_hints_are_left_out_of_a_full_shard():
    shard = {NAME: HINT, LONG: LONGER, OTHER: HINT}
    assert decode_shard(encode_shard(shard, shard_max=90)).keys() == {NAME, OTHER}


@pytest.mark.parametrize("text", ["[]", "1", "{", '["UPPER", "", ""]', '["a", ""]', '["a", 1, ""]'])
def test_content_that_is_no_shard_is_refused(text):
    with pytest.raises(SummariesUnreadableError):
        decode_shard(b"1\n" + zlib.compress(text.encode()))


@pytest.mark.parametrize("content", [b"9\n", b" " * (16 * 1024 * 1024 + 1)], ids=["version", "size"])
async def test_an_unreadable_shard_counts_as_missing(storage, content, caplog):
    await storage.write(summary_keys.search_hints(0), content)
    assert await read_shard(storage, 0, offload=inline) == {}
    assert "will be built again" in caplog.text


async def test_only_shards_that_change_are_written(counted):
    await update_shards(counted, {NAME: HINT, OTHER: LONGER}, offload=inline)
    counted.count()
    await update_shards(counted, {NAME: HINT, LONG: None}, offload=inline)
    assert counted.count() == len({shard_of(NAME), shard_of(LONG)})
    await update_shards(counted, {NAME: None}, offload=inline)
    assert await read_shard(counted, shard_of(NAME), offload=inline) in ({}, {OTHER: LONGER})


async def test_a_search_opens_only_repositories_in_which_something_may_match(store):
    await store.tag("v1", await store.put_image("web"))
    await store.tag("v1", await store.put_image("api", name=OTHER), name=OTHER)
    service = store.service()
    assert await hits(service, "label:l=web", NAME, OTHER) == [f"{NAME}:v1"]
    await fold(store)
    for each in (service, store.service()):
        assert await hits(each, "label:l=web", NAME, OTHER) == [f"{NAME}:v1"]
        assert not await opened(store, each, "label:l=none", NAME, OTHER)
    assert await opened(store, service, "label:l=none", NAME, OTHER, LONG), "nothing is known of it"


async def test_the_first_search_reads_the_shards_and_the_next_ones_list_the_records(store):
    await store.tag("v1", await store.put_image("web"))
    await fold(store)
    service = store.service()
    store.storage.count()
    assert await hits(service, "none", NAME) == []
    assert store.storage.count() == 1 + SHARDS
    assert await hits(service, "none", NAME) == []
    assert store.storage.count() == 1


async def test_a_push_is_found_at_once_and_after_it_is_folded(store):
    image = await store.put_image("web")
    await store.tag("v1", image)
    await store.tag("v1", await store.put_image(name=LONG), name=LONG)
    await fold(store)
    service = store.service()
    assert await hits(service, "tag:new", NAME, LONG) == []
    await store.tag("new", image)
    await store.tag("new", await store.put_image(name=LONG), name=LONG)
    assert await hits(service, "tag:new", NAME, LONG) == sorted([f"{NAME}:new", f"{LONG}:new"])
    # The records are listed often enough, so only the shards of folded ones are read again.
    for _ in range(4):
        store.time.pass_seconds(LISTING_SECONDS / 2)
        assert len(await hits(service, "tag:new", NAME, LONG)) == 2
    await store.folding().run(store.time.now())
    assert len(await hits(service, "tag:new", NAME, LONG)) == 2
    assert not await opened(store, service, "tag:gone", NAME, LONG)


async def test_hints_are_read_again_after_a_pause(store):
    image = await store.put_image()
    await store.tag("v1", image)
    await fold(store)
    service = store.service()
    assert await hits(service, "tag:new", NAME) == []
    await store.tag("new", image)
    await fold(store)
    assert await hits(service, "tag:new", NAME) == [f"{NAME}:new"]


async def test_a_change_by_another_program_is_found_after_the_next_pass(store):
    image = await store.put_image()
    await store.tag("v1", image)
    await fold(store)
    service = store.service()
    await store.point("new", image)
    assert await hits(service, "tag:new", NAME) == []
    await store.folding().rebuild(store.time.now())
    for _ in range(int(RELOAD_SECONDS / LISTING_SECONDS * 2)):
        await service.hints()
        store.time.pass_seconds(LISTING_SECONDS / 2)
    assert await hits(service, "tag:new", NAME) == [f"{NAME}:new"]


async def test_all_repositories_are_opened_if_their_changes_are_unknown(store, monkeypatch):
    await store.tag("v1", await store.put_image())
    await fold(store)
    unrecorded = SummaryService(
        store.storage,
        store.tag_links,
        log=changes_module.ChangeLog(store.storage),
        clock=store.time.clock,
        now=store.time.now,
        offload=inline,
        is_recorded=False,
    )
    assert await opened(store, unrecorded, "none", NAME)
    service = store.service()
    monkeypatch.setattr(changes_module, "LISTED_MAX", 1)
    for _ in range(2):
        await store.changes.record(ChangeKind.OTHER, OTHER, by="")
    assert await service.hints() is None
    assert await opened(store, service, "none", NAME)


async def test_a_record_that_is_folded_during_a_search_is_no_gap(store):
    image = await store.put_image(name=LONG)
    await store.tag("v1", image, name=LONG)
    await fold(store)
    service = store.service()
    assert await hits(service, "tag:new", LONG) == []
    # The name of this record does not show its repository, and nothing shows it any more.
    await store.storage.inner.write(summary_keys.change("20261129T194007.123456Z-1"), b"damaged")
    store.storage.count()
    assert await hits(service, "tag:new", LONG) == []
    assert store.storage.count() == 2 + SHARDS


async def test_repositories_that_are_not_fully_known_have_no_hint(store):
    await store.point("v1", await store.put_index([b"a manifest that is missing"]))
    await store.point("v1", Digest.of(b"missing"), name=OTHER)
    image = await store.put_image("x", name=LONG)
    await store.point("v1", image, name=LONG)
    await store.folding().rebuild(store.time.now())
    shards = [await read_shard(store.storage, number, offload=inline) for number in range(SHARDS)]
    assert [name for shard in shards for name in shard] == [LONG]


async def test_an_index_has_the_texts_of_its_first_image(store):
    config = b'{"os": "linux", "architecture": "amd64", "config": {"Labels": {"team": "x"}}}'
    await store.put_blob(config)
    image = image_manifest(config)
    await store.put(image)
    await store.point("all", await store.put_index([image]))
    await store.folding().rebuild(store.time.now())
    service = store.service()
    assert await hits(service, "label:team=x", NAME) == [f"{NAME}:all"]
    assert not await opened(store, service, "label:team=y", NAME)


NAMES = [NAME, OTHER, LONG]
STEP = st.one_of(
    st.tuples(st.just("tag"), st.integers(0, 2), st.sampled_from(["v1", "v2"]), st.sampled_from(["x", "y", "z"])),
    st.tuples(st.just("untag"), st.integers(0, 2), st.sampled_from(["v1", "v2"])),
    st.tuples(st.just("remove"), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 61, 121, 700])),
    st.tuples(st.just("fold")),
    st.tuples(st.just("search"), st.sampled_from(["label:l=x", "y", "tag:v2", "label:l", "tag:v1 label:l=z"])),
)


async def carry_out(
    store: SummarizedStore, step: tuple[object, ...], images: Mapping[tuple[RepositoryName, str], Digest]
) -> None:
    match step:
        case ("tag", int(number), str(tag), str(label)):
            await store.tag(tag, images[NAMES[number], label], name=NAMES[number])
        case ("untag", int(number), str(tag)):
            await store.untag(tag, name=NAMES[number])
        case ("remove", int(number)):
            for tag in ("v1", "v2"):
                await store.storage.inner.delete_tree(layout.tag(NAMES[number], Tag(tag)))
            await store.changes.record(ChangeKind.DELETE, NAMES[number], by="bob")
        case ("wait", int(seconds)):
            store.time.pass_seconds(seconds)
        case _:
            await store.folding().run(store.time.now())


@settings(max_examples=60)
@given(steps=st.lists(STEP, min_size=8, max_size=30))
async def test_a_search_with_hints_finds_what_one_without_finds(steps):
    time = SimulatedTime()
    store = SummarizedStore(CountedStorage(InMemoryBlobStorage(now=time.now)), time)
    images = {(name, label): await store.put_image(label, name=name) for name in NAMES for label in ("x", "y", "z")}
    service = store.service()
    for step in steps:
        if step[0] != "search":
            await carry_out(store, step, images)
            continue
        plain = SummaryService(
            store.storage,
            store.tag_links,
            log=changes_module.ChangeLog(store.storage),
            clock=time.clock,
            now=time.now,
            offload=inline,
            is_recorded=False,
        )
        assert await hits(service, step[1], *NAMES) == await hits(plain, step[1], *NAMES)


async def test_a_deleted_repository_leaves_its_shard(store):
    await store.tag("v1", await store.put_image())
    await fold(store)
    await store.storage.inner.delete_tree(layout.repository(NAME))
    await store.changes.record(ChangeKind.DELETE, NAME, by="alice")
    await fold(store)
    with pytest.raises(NameUnknownError):
        await store.service().view(NAME)
    assert await read_shard(store.storage, shard_of(NAME), offload=inline) == {}
