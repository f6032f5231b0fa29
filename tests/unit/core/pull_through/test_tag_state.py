"""The record beside a cached tag."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.model.digest import Digest
from core.model.names import RepositoryName, Tag
from core.pull_through.tag_state import TagState, TagStates
from core.store import layout
from core.store.link_keys import parse_link_key
from tests.support.simulated_time import SimulatedTime

NAME = RepositoryName("docker.io/library/alpine")
TAG = Tag("3.20")


@pytest.fixture
def state(time: SimulatedTime) -> TagState:
    return TagState(digest=Digest.of(b"x"), checked_at=time.now(), etag='"abc"', media_type="a/b")


async def test_record_survives_a_restart(storage: InMemoryBlobStorage, state: TagState):
    await TagStates(storage).write(NAME, TAG, state)
    states = TagStates(storage)
    assert states.recall(NAME, TAG) is None
    assert await states.read(NAME, TAG) == state
    assert states.recall(NAME, TAG) == state


async def test_absence_is_recorded(storage: InMemoryBlobStorage, state: TagState):
    absent = replace(state, is_absent=True, etag=None)
    await TagStates(storage).write(NAME, TAG, absent)
    assert await TagStates(storage).read(NAME, TAG) == absent


async def test_missing_record_is_forgotten(storage: InMemoryBlobStorage, state: TagState):
    states = TagStates(storage)
    await states.write(NAME, TAG, state)
    await storage.delete([layout.upstream_tag(NAME, TAG)])
    assert await states.read(NAME, TAG) is None
    assert states.recall(NAME, TAG) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[" * 10_000,
        b'{"digest": "sha256:x", "checked": "2026-11-29T10:00:00+00:00", "etag": null, "mediaType": "", "absent": 0}',
        b'{"digest": "sha256:x", "checked": "2026-11-29T10:00:00", "etag": null, "mediaType": "", "absent": 0}',
        b'{"digest": "sha256:x", "checked": 5}',
        b" " * 20_000,
    ],
)
async def test_torn_record_counts_as_none(storage: InMemoryBlobStorage, content: bytes):
    await storage.write(layout.upstream_tag(NAME, TAG), content)
    assert await TagStates(storage).read(NAME, TAG) is None


async def test_very_long_validator_is_dropped(storage: InMemoryBlobStorage, state: TagState):
    await TagStates(storage).write(NAME, TAG, replace(state, etag="x" * 5000))
    found = await TagStates(storage).read(NAME, TAG)
    assert found is not None
    assert found.etag is None


def test_age_and_freshness(time: SimulatedTime, state: TagState):
    time.pass_seconds(60)
    assert state.age(time.now()) == 60
    assert state.is_fresh(time.now(), 61)
    assert not state.is_fresh(time.now(), 60)
    assert not state.is_fresh(state.checked_at, 0)
    assert state.is_fresh(state.checked_at - timedelta(seconds=30), 60)
    assert not state.is_fresh(state.checked_at - timedelta(seconds=90), 60)


async def test_removal_of_tags_and_of_a_repository(storage: InMemoryBlobStorage, state: TagState):
    states = TagStates(storage)
    other = RepositoryName("docker.io/library/alpine-git")
    for name in (NAME, other):
        for tag in ("a", "b"):
            await states.write(name, Tag(tag), state)
    await states.remove(NAME, [])
    await states.remove(NAME, [Tag("a"), Tag("c")])
    assert [states.recall(NAME, Tag(tag)) for tag in ("a", "b")] == [None, state]
    await states.remove_all(NAME)
    assert states.recall(NAME, Tag("b")) is None
    keys = {key async for key, _ in storage.walk(layout.REPOSITORIES)}
    assert keys == {layout.upstream_tag(other, Tag(tag)) for tag in ("a", "b")}


async def test_memory_is_bounded(storage: InMemoryBlobStorage, state: TagState):
    states = TagStates(storage, entries_max=2)
    for tag in ("a", "b", "a", "c"):
        states.remember(NAME, Tag(tag), state)
    assert [tag for tag in "abc" if states.recall(NAME, Tag(tag))] == ["a", "c"]


def test_record_is_no_link_whatever_the_tag():
    key = layout.upstream_tag(NAME, Tag("link"))
    assert not key.endswith(layout.LINK)
    assert parse_link_key(key) is None
