"""The history of one tag: records, folded or not, and what only the links of the tag show."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import InvalidInputError, PaginationInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.store import layout, summary_keys
from core.store.links import Links
from core.store.tag_links import TagLinks
from core.summaries import tag_history
from core.summaries.changes import Change, ChangeKind, ChangeLog, ChangeRecorder
from core.summaries.history import History, complete, encode, merge
from core.summaries.service import SummaryService
from core.summaries.tag_history import (
    HistoryQuery,
    HistoryService,
    TagLinkTimes,
    as_json,
    marker,
    parse_time,
    supplement,
)
from tests.support.core_services import counting_ids
from tests.support.summaries import inline

NAME, OTHER = RepositoryName("team/app"), RepositoryName("team/other")
V1 = Tag("v1")
BEGIN = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
A, B, C = (Digest.of(content) for content in (b"a", b"b", b"c"))
ALL = HistoryQuery()


def at(minute):
    return BEGIN + timedelta(minutes=minute)


def change(minute, digest=A, kind=ChangeKind.PUSH, by="anna"):
    return Change(kind=kind, at=at(minute), repository=NAME, tag=V1, digest=digest, by=by)


def entries(*changes):
    return merge(History(), [(f"id-{number}", change) for number, change in enumerate(changes)]).of(V1)


def shown(found):
    """Each entry as text: the minute, the kind, the manifest, and `?` for one that was not recorded."""
    letters = {A: "A", B: "B", C: "C"}
    return [
        f"{round((entry.at - BEGIN) / timedelta(minutes=1))} {entry.kind} {letters[entry.digest]}"
        + ("" if entry.is_recorded else "?")
        for entry in found
    ]


def links(current=None, **minutes):
    index = {{"a": A, "b": B, "c": C}[letter]: at(minute) for letter, minute in minutes.items()}
    return TagLinkTimes(index, current)


class TestSupplement:
    def test_links_of_an_old_store_are_its_history(self):
        assert shown(supplement((), links((B, at(20)), a=10, b=20))) == ["20 push B?", "10 push A?"]

    def test_without_links_nothing_is_added(self):
        assert shown(supplement(entries(change(0)), TagLinkTimes())) == ["0 push A"]

    def test_a_recorded_push_is_not_shown_again(self):
        recorded = entries(change(0), change(30, B))
        assert shown(supplement(recorded, links((B, at(30)), a=0, b=30))) == ["30 push B", "0 push A"]

    @pytest.mark.parametrize("skew", [-4, 4])
    def test_a_recorded_push_is_not_shown_again_if_the_clocks_differ(self, skew):
        recorded = entries(change(0), change(1, B))
        found = supplement(recorded, links((B, at(1 + skew)), a=skew, b=1 + skew))
        assert shown(found) == ["1 push B", "0 push A"]

    def test_a_push_again_that_moved_nothing_is_not_shown(self):
        assert shown(supplement(entries(change(0)), links((A, at(60)), a=60))) == ["0 push A"]

    def test_what_the_tag_pointed_at_before_the_first_record_is_added(self):
        recorded = entries(change(30, B), change(60, B, ChangeKind.DELETE))
        assert shown(supplement(recorded, links(a=10))) == ["60 delete B", "30 push B", "10 push A?"]

    def test_pushes_of_distribution_in_between_are_added(self):
        recorded = entries(change(0), change(60, C))
        found = supplement(recorded, links((C, at(60)), a=0, b=30, c=60))
        assert shown(found) == ["60 push C", "30 push B?", "0 push A"]

    def test_a_push_of_distribution_after_a_deletion_is_added(self):
        recorded = entries(change(0), change(10, A, ChangeKind.DELETE))
        assert shown(supplement(recorded, links((A, at(20)), a=20))) == ["20 push A?", "10 delete A", "0 push A"]

    def test_moves_by_distribution_there_and_back_are_added(self):
        found = supplement(entries(change(0)), links((A, at(60)), a=60, b=30))
        assert shown(found) == ["60 push A?", "30 push B?", "0 push A"]

    def test_quick_moves_by_distribution_end_at_the_target_of_the_tag(self):
        found = supplement(entries(change(0)), links((A, at(2)), a=2, b=1))
        assert shown(found) == ["2 push A?", "1 push B?", "0 push A"]

    def test_the_target_of_a_tag_is_added_if_a_crash_left_no_link(self):
        assert shown(supplement((), links((A, at(10))))) == ["10 push A?"]
        assert shown(supplement(entries(change(0, B)), links((A, at(10)), b=0))) == ["10 push A?", "0 push B"]

    def test_the_target_is_the_newest_if_a_tool_copied_the_links_in_another_order(self):
        assert shown(supplement((), links((B, at(1)), a=2, b=1, c=0))) == ["1 push B?", "1 push A?", "0 push C?"]

    def test_the_clock_of_another_server_that_is_ahead_does_not_add_the_target_again(self):
        recorded = entries(change(3, B), change(1, A))
        assert shown(supplement(recorded, links((A, at(1)), a=1, b=0))) == ["3 push B", "1 push A"]

    def test_many_links_and_entries_are_compared_in_one_pass(self):
        digests = [Digest.of(str(number).encode()) for number in range(10_000)]
        index = {digest: at(number * 10) for number, digest in enumerate(digests)}
        recorded = entries(*[change(number * 10, digest) for number, digest in enumerate(digests)])
        found = supplement(recorded, TagLinkTimes(index))
        assert len(recorded) == 1_000
        assert [entry.digest for entry in found] == digests[::-1]


class Store:
    """A store with changes of one repository."""

    def __init__(self, storage, time):
        self.storage = storage
        self.time = time
        self.links = Links(storage)
        self.tag_links = TagLinks(storage, self.links)
        self.recorder = ChangeRecorder(storage, now=time.now, new_id=counting_ids())

    def service(self):
        log = ChangeLog(self.storage)
        summaries = SummaryService(
            self.storage, self.tag_links, log=log, clock=self.time.clock, now=self.time.now, offload=inline
        )
        return HistoryService(self.storage, self.tag_links, log=log, summaries=summaries)

    async def page(self, **query):
        return await self.service().page(NAME, V1, HistoryQuery(**query))

    async def record(self, kind, digest, *, name=NAME, tag=V1):
        await self.recorder.record(kind, name, tags=[(tag, digest)], by="anna")

    async def push(self, digest):
        await self.tag_links.point(NAME, V1, digest)
        await self.record(ChangeKind.PUSH, digest)

    async def fold(self):
        """Add the records to the folded history, and leave them there, as a job that is killed does."""
        log = ChangeLog(self.storage)
        changes = [
            (record.id, change) for record, found in await log.changes(await log.listing(), NAME) for change in found
        ]
        await self.storage.write(summary_keys.tag_history(NAME), encode(merge(History(), changes)))


@pytest.fixture
def store(storage, time):
    return Store(storage, time)


async def test_an_unknown_repository_and_tag_have_no_history(store):
    assert (await store.page()).items == []
    await store.storage.write(layout.revision_link(NAME, A), A.encode())
    assert (await store.page()).items == []


async def test_records_are_found_before_while_and_after_they_are_folded(store, time):
    await store.push(A)
    await store.record(ChangeKind.PUSH, B, tag=Tag("v2"))
    await store.record(ChangeKind.PUSH, B, name=OTHER)
    time.pass_seconds(60)
    await store.push(B)
    time.pass_seconds(60)
    await store.record(ChangeKind.DELETE, None)
    await store.tag_links.remove(NAME, [V1])
    expected = [(ChangeKind.DELETE, B), (ChangeKind.PUSH, B), (ChangeKind.PUSH, A)]
    before = (await store.page()).items
    assert [(entry.kind, entry.digest) for entry in before] == expected
    await store.fold()
    assert (await store.page()).items == before
    await store.storage.delete_tree(summary_keys.CHANGES)
    assert (await store.page()).items == before


async def test_pushes_of_distribution_are_found_by_their_links(store, time):
    await store.push(A)
    time.pass_seconds(600)
    await store.tag_links.point(NAME, V1, B)
    found = (await store.page()).items
    assert [(entry.digest, entry.is_recorded, entry.by) for entry in found] == [(B, False, ""), (A, True, "anna")]


async def test_a_tag_whose_link_is_torn_has_the_history_of_its_links(store):
    await store.tag_links.point(NAME, V1, A)
    await store.storage.write(layout.tag_current_link(NAME, V1), b"torn")
    assert [entry.digest for entry in (await store.page()).items] == [A]


async def test_the_number_of_links_that_are_read_is_bounded(store, monkeypatch):
    monkeypatch.setattr(tag_history, "LINKS_MAX", 2)
    for digest in (A, B, C):
        await store.links.write(layout.tag_index_link(NAME, V1, digest), digest)
    assert len((await store.page()).items) == 2


async def test_entries_of_unknown_manifests_are_left_out(store):
    await store.record(ChangeKind.DELETE, None)
    assert (await store.page()).items == []


async def test_a_damaged_history_leaves_the_records_and_links(store, caplog):
    await store.push(A)
    await store.storage.write(summary_keys.tag_history(NAME), b"garbage")
    assert [entry.by for entry in (await store.page()).items] == ["anna"]
    await store.storage.write(summary_keys.tag_history(NAME), b"99\nof another release")
    assert [entry.by for entry in (await store.page()).items] == ["anna"]
    assert "damaged" in caplog.text


async def test_pages_follow_each_other_without_gaps(store, time):
    # Several changes at the same time need more than the time to continue.
    for digest in (A, B, C, A, B):
        await store.push(digest)
    whole = (await store.page()).items
    assert len(whole) == 5
    read, last = [], ""
    while True:
        page = await store.page(n=2, last=last)
        read += page.items
        if not page.has_more:
            break
        last = marker(page.items[-1])
        await store.push(C)  # A newer entry does not move those of later pages.
    assert read == whole


async def test_a_page_of_no_entries_costs_nothing(store):
    await store.push(A)
    page = await store.page(n=0)
    assert (list(page.items), page.has_more) == ([], False)


async def test_a_history_is_limited_to_a_time_and_to_a_manifest(store, time):
    times = []
    for digest in (A, B, A, C):
        times.append(time.now())
        await store.push(digest)
        time.pass_seconds(600)

    async def digests(**query):
        return [entry.digest for entry in (await store.page(**query)).items]

    assert await digests(before=times[2]) == [B, A]
    assert await digests(since=times[1]) == [C, A]
    assert await digests(since=times[0], before=times[2]) == [B]
    assert await digests(digest=A) == [A, A]
    assert await digests(digest=Digest.of(b"other")) == []


@pytest.mark.parametrize("text", ["x", "12", "|id", "999999999999999999|id", "1|" + "x" * 256])
async def test_a_marker_that_is_none_is_refused(store, text):
    with pytest.raises(PaginationInvalidError):
        await store.page(last=text)


def test_pages_are_bounded():
    assert HistoryQuery(n=10**9).size == tag_history.PAGE_MAX
    assert ALL.size == tag_history.PAGE_DEFAULT


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("", None),
        ("2026-11-29T20:00:00Z", BEGIN),
        ("2026-11-29t20:00:00.000000z", BEGIN),
        ("2026-11-29T22:00:00+02:00", BEGIN),
        ("2026-11-29T22:00:00.5 02:00", BEGIN + timedelta(seconds=0.5)),
    ],
)
def test_times_of_rfc_3339_are_understood(text, moment):
    assert parse_time(text) == moment


def test_entries_are_printed_without_what_is_not_known():
    [entry] = entries(change(0))
    assert as_json(entry) == {"time": "2026-11-29T20:00:00.000000Z", "change": "push", "digest": A, "by": "anna"}
    unknown = replace(entry, by="", digest=None, is_recorded=False)
    assert as_json(unknown) == {"time": "2026-11-29T20:00:00.000000Z", "change": "push", "recorded": False}


@pytest.mark.parametrize(
    "text", ["now", "2026-11-29", "2026-11-29T20:00:00", "20261129T200000Z", "2026-13-29T20:00:00Z"]
)
def test_other_times_are_refused(text):
    with pytest.raises(InvalidInputError, match="must have the form"):
        parse_time(text)


def test_entries_that_are_complete_stay_so():
    [entry] = entries(change(0))
    described = replace(entry, media_type="text/plain", size=3)
    assert complete([described], {A: ("other", 5)}) == [described]


async def test_manifests_that_the_repository_still_holds(store):
    await store.links.write(layout.revision_link(NAME, A), A)
    entries_of_all = entries(change(0), change(1, B), change(2, None, ChangeKind.DELETE), change(3))
    assert await store.service().held(NAME, entries_of_all) == {A}
    assert await store.service().held(NAME, [replace(entries_of_all[0], digest=None)]) == frozenset()
