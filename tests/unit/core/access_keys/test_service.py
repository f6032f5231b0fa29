"""API keys on a store: verification, revocation at all replicas, lists, and costs."""

import asyncio
import itertools
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.access_keys import service
from core.access_keys.key import Token, limit_to
from core.access_keys.service import USE_SECONDS, VIEW_SECONDS_MAX, AccessKeys
from core.concurrency import map_bounded
from core.errors import InvalidInputError, StorageUnavailableError, TooManyRequestsError, UnknownError
from core.store.access_key_objects import access_key, last_use
from tests.support.counted_requests import CountedStorage
from tests.support.simulated_time import SimulatedTime

LIMIT = limit_to(["team/**"], ["pull"])


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
def storage(time):
    return CountedStorage(InMemoryBlobStorage(now=time.now))


@pytest.fixture
def replica(storage, time):
    """Return the keys of one more process."""
    numbers = itertools.count(1)

    def make() -> AccessKeys:
        return AccessKeys(
            storage, entropy=lambda count: next(numbers).to_bytes(count, "big"), clock=time.clock, now=time.now
        )

    return make


@pytest.fixture
def keys(replica):
    return replica()


async def create(keys, owner="ci", **members):
    return await keys.create(owner=owner, label="builds", limit=LIMIT, **members)


async def test_created_key_is_verified_everywhere(keys, replica, storage):
    key, token = await create(keys)
    assert storage.count() == 1
    assert await replica().verify(token) == key
    assert token.rpartition("_")[2][:43] not in str(await storage.read(access_key(key.id)))


async def test_verification_costs_one_request_in_four_seconds(keys, storage, time):
    _, token = await create(keys)
    storage.count()
    for _ in range(3):
        await keys.verify(token)
    assert storage.count() == 1
    time.pass_seconds(VIEW_SECONDS_MAX + 1)
    assert await keys.verify(token)
    assert storage.count() == 1


async def test_unknown_and_wrong_keys_are_refused(keys, storage):
    key, token = await create(keys)
    wrong = Token(key.id, "0" * 43).text
    unknown = Token("0" * 11, "0" * 43).text
    storage.count()
    assert [await keys.verify(text) for text in (wrong, unknown, unknown, "srk_x", token[:-1])] == [None] * 5
    assert storage.count() == 2


async def test_unknown_key_takes_the_steps_of_a_wrong_one(replica, storage):
    key, _ = await create(replica())
    costs: dict[str, list[int]] = {}
    for kind, key_id in (("wrong", key.id), ("unknown", Token.new(lambda count: b"u" * count).id)):
        process = replica()
        storage.count()
        for _ in range(2):
            assert await process.verify(Token(id=key_id, secret="0" * 43).text) is None
            costs.setdefault(kind, []).append(storage.count())
    assert costs == {"wrong": [1, 0], "unknown": [1, 0]}


async def test_ten_thousand_keys_do_not_change_the_cost(keys, replica, storage):
    for number in range(10_000):
        await create(keys, owner=f"ci-{number}")
    _, token = await create(keys)
    process = replica()
    storage.count()
    for requests in (1, 0):
        assert await process.verify(token) is not None
        assert storage.count() == requests


async def test_expired_key_is_refused(keys, time):
    key, token = await create(keys, expires_at=time.now() + timedelta(hours=1))
    assert await keys.verify(token) == key
    time.pass_seconds(3600)
    assert await keys.verify(token) is None
    assert [listed.key async for listed in keys.listed()] == [key]


async def test_key_must_end_in_the_future(keys, time):
    with pytest.raises(InvalidInputError):
        await create(keys, expires_at=time.now())


async def test_revoked_key_is_refused_within_five_seconds_by_all(keys, replica, time):
    other = replica()
    key, token = await create(keys)
    assert await other.verify(token)
    assert await keys.revoke(key.id) == key
    assert await keys.verify(token) is None
    time.pass_seconds(VIEW_SECONDS_MAX + 0.5)
    assert await other.verify(token) is None
    with pytest.raises(UnknownError):
        await keys.revoke(key.id)


@pytest.mark.parametrize("key_id", ["", "../x", "0" * 11])
async def test_unknown_key_is_not_revoked(keys, key_id):
    with pytest.raises(UnknownError):
        await keys.revoke(key_id)


async def test_owner_revokes_own_keys_only(keys):
    key, _ = await create(keys, owner="alice")
    with pytest.raises(UnknownError):
        await keys.revoke(key.id, owner="bob")
    assert await keys.revoke(key.id, owner="alice") == key


async def test_list_is_by_owner_and_leaves_out_damage(keys, storage):
    alice, _ = await create(keys, owner="alice")
    bob, _ = await create(keys, owner="bob")
    await storage.write(access_key("z" * 11), b"damaged")
    await storage.write(access_key("y" * 11), b"x" * 100_000)
    await storage.write(access_key("not-an-id"), b"")
    assert [listed.key for listed in [each async for each in keys.listed()]] == [alice, bob]
    assert [listed.key async for listed in keys.listed("bob")] == [bob]


async def test_use_is_recorded_once_in_ten_minutes(keys, storage, time):
    key, token = await create(keys)
    await keys.verify(token)
    await keys.record_uses()
    [listed] = [each async for each in keys.listed()]
    assert listed.used_at == time.now()
    storage.count()
    await keys.verify(token)
    await keys.record_uses()
    await keys.record_uses()
    assert storage.count() == 0
    time.pass_seconds(USE_SECONDS)
    await keys.verify(token)
    await keys.record_uses()
    assert (await storage.stat(last_use(key.id))).modified_at == time.now()
    await keys.verify(token)
    await keys.revoke(key.id)
    await keys.record_uses()
    assert [key async for key, _ in storage.walk("/docker/registry/v2/_access")] == []


async def test_memory_is_bounded(keys, monkeypatch, storage):
    monkeypatch.setattr(service, "_REMEMBERED_MAX", 2)
    tokens = [(await create(keys))[1] for _ in range(3)]
    for token in tokens:
        await keys.verify(token)
    storage.count()
    await keys.verify(tokens[2])
    assert storage.count() == 0
    await keys.verify(tokens[0])
    assert storage.count() == 1


async def test_callers_share_one_look_at_a_key(keys, storage):
    key, token = await create(keys)
    storage.count()
    assert await map_bounded(lambda _: keys.verify(token), range(10)) == [key] * 10
    assert storage.count() == 1


async def test_strangers_cannot_make_a_process_read_many_keys(keys, storage, monkeypatch):
    monkeypatch.setattr(service, "READS_MAX", 2)
    storage.delay_rate = 1.0
    made_up = [Token(str(number) * 11, "0" * 43).text for number in range(3)]
    found = await asyncio.gather(*map(keys.verify, made_up), return_exceptions=True)
    assert [type(each) for each in found] == [type(None), type(None), TooManyRequestsError]
    assert storage.count() == 2


async def test_failed_record_of_a_use_is_written_later(keys, storage):
    key, token = await create(keys)
    await keys.verify(token)
    storage.fail_at(1)
    with pytest.raises(StorageUnavailableError):
        await keys.record_uses()
    await keys.verify(token)
    await keys.record_uses()
    assert await storage.stat(last_use(key.id))


async def test_failing_store_fails_the_verification(keys, storage):
    _, token = await create(keys)
    storage.fail_at(1)
    with pytest.raises(StorageUnavailableError):
        await keys.verify(token)
    assert await keys.verify(token)
