"""Users of an identity provider on a store: sign-ins, removal at all replicas, lists, and costs."""

import asyncio
import itertools
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import UnknownError
from core.external_users import service
from core.external_users.service import VIEW_SECONDS_MAX, ExternalUsers
from core.external_users.user import usable_groups
from core.ports.identity_provider import SignInRefusedError
from core.store.access_key_objects import USERS, external_user, external_user_id
from tests.support.counted_requests import CountedStorage
from tests.support.simulated_time import SimulatedTime

ALICE = "oidc:alice"


@pytest.fixture
def time():
    return SimulatedTime()


@pytest.fixture
def storage(time):
    return CountedStorage(InMemoryBlobStorage(now=time.now))


@pytest.fixture
def replica(storage, time):
    """Return the users of one more process."""
    numbers = itertools.count(1)

    def make() -> ExternalUsers:
        return ExternalUsers(
            storage,
            remember=timedelta(days=30),
            entropy=lambda count: next(numbers).to_bytes(count, "big"),
            clock=time.clock,
            now=time.now,
        )

    return make


@pytest.fixture
def users(replica):
    return replica()


async def sign_in(users, name=ALICE, *, groups=frozenset({"oidc:dev"}), provider="p", subject="1"):
    return await users.record(name=name, groups=groups, provider=provider, subject=subject)


async def test_user_who_signed_in_is_found_everywhere(users, replica, storage):
    alice = await sign_in(users)
    assert storage.count() == 2
    assert await users.find(ALICE) == alice
    assert storage.count() == 0
    assert await replica().find(ALICE) == alice
    principal = alice.principal
    assert (principal.name, principal.groups, principal.method) == (ALICE, {"oidc:dev"}, "oidc")


async def test_finding_costs_one_request_in_four_seconds(users, replica, storage, time):
    await sign_in(replica())
    storage.count()
    await asyncio.gather(*(users.find(ALICE) for _ in range(5)))
    assert storage.count() == 1
    time.pass_seconds(VIEW_SECONDS_MAX + 1)
    assert await users.find(ALICE)
    assert storage.count() == 1
    assert await users.find("oidc:bob") is None


async def test_next_sign_in_keeps_the_stamp_and_renews_the_groups(users, replica, time):
    first = await sign_in(users)
    time.jump(timedelta(days=20))
    second = await sign_in(replica(), groups=frozenset())
    assert (second.stamp, second.groups) == (first.stamp, frozenset())
    assert second.signed_in_at - first.signed_in_at == timedelta(days=20)
    time.jump(timedelta(days=20))
    assert await replica().find(ALICE) == second


async def test_user_ends_after_the_time_since_the_last_sign_in(users, time):
    alice = await sign_in(users)
    time.jump(timedelta(days=30))
    assert await users.find(ALICE) is None
    assert not users.is_remembered(alice)
    assert [user async for user in users.listed()] == [alice]


async def test_removed_user_ends_at_all_replicas_and_begins_with_a_new_stamp(users, replica, time):
    other = replica()
    alice = await sign_in(users)
    assert await other.find(ALICE) == alice
    await users.remove(ALICE)
    assert await users.find(ALICE) is None
    time.pass_seconds(VIEW_SECONDS_MAX + 1)
    assert await other.find(ALICE) is None
    with pytest.raises(UnknownError, match="no user oidc:alice"):
        await users.remove(ALICE)
    assert (await sign_in(users)).stamp != alice.stamp


async def test_name_of_another_subject_is_refused_until_its_user_is_removed(users):
    await sign_in(users)
    with pytest.raises(SignInRefusedError, match="another subject"):
        await sign_in(users, subject="2")
    await users.remove(ALICE)
    assert (await sign_in(users, subject="2")).subject == "2"


async def test_another_provider_begins_with_a_new_stamp(users):
    first = await sign_in(users)
    second = await sign_in(users, provider="q", subject="9")
    assert second.stamp != first.stamp
    assert await users.find(ALICE) == second


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"name": 1}', b'{"name": "", "groups": 1}', b"x" * 3 * 1024 * 1024]
)
async def test_unreadable_records_are_no_users(users, storage, content):
    await storage.write(external_user(external_user_id(ALICE)), content)
    await storage.write(f"{USERS}/short", content)
    assert await users.find(ALICE) is None
    assert [user async for user in users.listed()] == []


async def test_copied_record_is_no_user(users, replica, storage):
    await sign_in(users, "oidc:bob")
    bob = await storage.read(external_user(external_user_id("oidc:bob")), limit=10_000)
    await storage.write(external_user(external_user_id(ALICE)), bob)
    assert await replica().find(ALICE) is None


async def test_memory_of_users_is_bounded(users, storage, monkeypatch):
    monkeypatch.setattr(service, "_REMEMBERED_MAX", 2)
    for name in ("oidc:a", "oidc:b", "oidc:c"):
        await sign_in(users, name)
    storage.count()
    assert await users.find("oidc:c")
    assert storage.count() == 0
    assert await users.find("oidc:a")
    assert storage.count() == 1


def test_groups_that_no_rule_can_name_are_left_out():
    assert usable_groups(["dev", "", "a\nb", "x" * 256, "y" * 255]) == {"dev", "y" * 255}
