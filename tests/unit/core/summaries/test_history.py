"""The history of tags: merging, bounds, the stored form."""

import itertools
import json
import logging
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from core.model.digest import Digest
from core.model.media_types import OCI_MANIFEST
from core.model.names import RepositoryName, Tag
from core.store import summary_keys
from core.summaries.changes import Change, ChangeKind
from core.summaries.history import (
    History,
    HistoryDamagedError,
    HistoryLimits,
    HistoryVersionError,
    complete,
    decode,
    encode,
    merge,
    read_history,
)

NAME = RepositoryName("team/app")
V1, V2 = Tag("v1"), Tag("v2")
BEGIN = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
A, B = Digest.of(b"a"), Digest.of(b"b")


def change(minute, *, tag=V1, kind=ChangeKind.PUSH, digest=A, by="anna"):
    return Change(kind=kind, at=BEGIN + timedelta(minutes=minute), repository=NAME, tag=tag, digest=digest, by=by)


def records(*changes):
    return [(f"id-{number}", change) for number, change in enumerate(changes)]


def minutes(history, tag=V1):
    return [int((entry.at - BEGIN).total_seconds()) // 60 for entry in history.of(tag)]


def stored(*lines, version=b"1"):
    return version + b"\n" + zlib.compress(b"\n".join(lines))


def test_a_history_is_read_back_as_it_was_written():
    history = merge(History(), records(change(1), change(2, kind=ChangeKind.DELETE), change(3, tag=V2, digest=B)))
    assert decode(encode(history)) == history
    assert history.tags == [V1, V2]
    newest = history.of(V1)[0]
    assert (newest.kind, newest.digest, newest.by) == (ChangeKind.DELETE, A, "anna")
    assert not newest.is_creation


def test_an_unknown_tag_has_no_entries():
    assert list(History().of(V1)) == []


def test_a_name_that_is_not_ascii_is_kept():
    history = merge(History(), records(change(1, by="Änne \ud800")))
    assert decode(encode(history)).of(V1)[0].by == "Änne \ud800"


def test_entries_are_sorted_by_time_then_id_whatever_the_order_of_the_records():
    found = [("b", change(1)), ("c", change(0)), ("a", change(1)), ("d", change(2))]
    for order in itertools.permutations(found):
        assert [entry.id for entry in merge(History(), order).of(V1)] == ["d", "b", "a", "c"]


def test_a_record_that_is_merged_twice_appears_once():
    first = merge(History(), records(change(1), change(2)))
    assert merge(first, records(change(1))) is first
    assert minutes(merge(first, [*records(change(1), change(2)), ("new", change(3))])) == [3, 2, 1]


def test_merging_in_two_steps_equals_merging_at_once():
    found = records(*[change(minute, tag=V1 if minute % 2 else V2) for minute in range(20)])
    assert merge(merge(History(), found[10:]), found[:10]) == History(
        {tag: merge(History(), found).lines[tag] for tag in (V2, V1)}
    )


def test_changes_of_no_tag_are_passed_over():
    history = History()
    assert merge(history, records(change(1, tag=None), change(2, kind=ChangeKind.OTHER))) is history


def test_one_record_may_change_several_tags():
    history = merge(History(), [("x", change(1)), ("x", change(1, tag=V2))])
    assert (minutes(history), minutes(history, V2)) == ([1], [1])


def test_a_deletion_gets_the_digest_that_the_tag_pointed_at():
    found = records(
        change(1),
        change(2, digest=B),
        change(3, kind=ChangeKind.DELETE, digest=None),
        change(4, kind=ChangeKind.DELETE),
    )
    history = merge(History(), found)
    assert [entry.digest for entry in history.of(V1)] == [A, B, B, A]


def test_a_deletion_without_anything_before_has_no_digest():
    twice = records(change(1), *[change(minute, kind=ChangeKind.DELETE, digest=None) for minute in (2, 3)])
    assert [entry.digest for entry in merge(History(), twice).of(V1)] == [None, A, A]


def test_descriptions_are_kept_and_apply_to_all_entries_of_a_manifest():
    described = {A: (OCI_MANIFEST, 500)}
    history = merge(History(), records(change(1)), described=described)
    history = decode(encode(merge(history, [("deleted", change(2, kind=ChangeKind.DELETE, digest=None))])))
    assert [(entry.media_type, entry.size) for entry in history.of(V1)] == [(OCI_MANIFEST, 500)] * 2


def test_entries_are_completed_with_descriptions_found_later():
    entries = merge(History(), records(change(1), change(2, digest=B))).of(V1)
    completed = complete(entries, {A: (OCI_MANIFEST, 500)})
    assert [(entry.media_type, entry.size) for entry in completed] == [("", 0), (OCI_MANIFEST, 500)]


def test_a_tag_keeps_its_newest_entries():
    limits = HistoryLimits(per_tag=3)
    history = merge(History(), records(*map(change, range(10))), limits=limits)
    assert minutes(history) == [9, 8, 7]
    assert merge(history, records(change(0)), limits=limits) == history


def test_the_newest_entry_of_each_tag_is_dropped_last():
    changes = [change(minute) for minute in range(10, 20)] + [change(0, tag=Tag(f"old{number}")) for number in range(5)]
    history = merge(History(), records(*changes), limits=HistoryLimits(entries=10))
    assert minutes(history) == [19, 18, 17, 16]
    assert len(history.tags) == 6


def test_tags_with_the_oldest_entries_go_when_there_are_too_many_tags():
    changes = [change(minute, tag=Tag(f"t{minute}")) for minute in range(20)]
    history = merge(History(), records(*changes), limits=HistoryLimits(entries=10))
    assert set(history.tags) == {f"t{minute}" for minute in range(11, 20)}


def test_a_history_is_bounded_in_bytes():
    limits = HistoryLimits(size=3_000)
    # The newest entries are the longest, so that one estimate of the number does not suffice.
    changes = [change(minute, by="x" * (minute * 6)) for minute in range(40)]
    history = merge(History(), records(*changes), limits=limits)
    assert sum(len(line) + 1 for line in history.lines.values()) <= 3_000
    assert minutes(history)[0] == 39
    assert decode(encode(history), limits=limits) == history


def test_texts_are_bounded():
    history = merge(History(), records(change(1, by="x" * 1_000)), described={A: ("y" * 1_000, 1)})
    assert (len(history.of(V1)[0].by), len(history.of(V1)[0].media_type)) == (128, 128)


def test_the_history_of_another_release_is_not_damaged():
    with pytest.raises(HistoryVersionError, match="version 2"):
        decode(stored(version=b"2"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"1\ngarbage",
        encode(merge(History(), records(change(1))))[:-3],
        stored(b"-not-a-tag 1 []"),
        stored(b"\xff 1 []"),
        stored(b"v1 1 [" + b" " * 100_000 + b"]"),
    ],
)
def test_damaged_content_is_recognized_in_bounded_memory(content):
    with pytest.raises(HistoryDamagedError):
        decode(content, limits=HistoryLimits(size=50_000))


@pytest.mark.parametrize(
    "rows",
    [
        b"{",
        b"[1]",
        b"[" * 100_000,
        json.dumps([["i", "2026-11-29T20:00:00", "push", A, "", "", 0]]).encode(),
        json.dumps([["i", "2026-11-29T20:00:00+00:00", "other kind", A, "", "", 0]]).encode(),
        json.dumps([["i", "2026-11-29T20:00:00+00:00", "push", "sha256:0", "", "", 0]]).encode(),
    ],
)
def test_damaged_entries_of_one_tag_are_passed_over(rows, caplog):
    good = merge(History(), records(change(1, tag=V2))).lines[V2]
    history = decode(stored(b"v1 1 " + rows, good))
    with caplog.at_level(logging.WARNING):
        assert list(history.of(V1)) == []
    assert "damaged" in caplog.text
    assert minutes(history, V2) == [1]
    assert minutes(merge(history, records(change(5)))) == [5]


@pytest.mark.parametrize("line", [b"v1", b"v1 many []", b"v1 9999999999 []"])
def test_a_damaged_count_does_no_harm(line):
    history = merge(decode(stored(line)), records(change(1, tag=V2)), limits=HistoryLimits(entries=10))
    assert minutes(history, V2) == [1]


async def test_the_history_of_a_repository_is_read(storage):
    assert await read_history(storage, NAME) == History()
    history = merge(History(), records(change(1)))
    await storage.write(summary_keys.tag_history(NAME), encode(history))
    assert await read_history(storage, NAME) == history


async def test_a_damaged_history_is_logged_and_read_as_empty(storage, caplog):
    await storage.write(summary_keys.tag_history(NAME), b"1\ngarbage")
    assert await read_history(storage, NAME) == History()
    assert "damaged" in caplog.text


async def test_the_history_of_another_release_is_logged_and_not_replaced(storage, caplog):
    await storage.write(summary_keys.tag_history(NAME), stored(version=b"7"))
    assert await read_history(storage, NAME) is None
    assert "another release wrote it (version 7)" in caplog.text
