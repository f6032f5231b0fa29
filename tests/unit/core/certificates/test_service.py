"""When certificates are ordered and renewed, by which replica, and the result of each failure."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from typing_extensions import override

from adapters.certificates.memory import InMemoryAuthority
from core.certificates.service import ANSWER_SECONDS, JOB
from core.errors import StorageUnavailableError
from core.ports.certificate_authority import Certificate, CertificateOrderError
from core.store import certificate_objects, layout
from tests.support.faulty_blob_storage import MUTATIONS, FaultyBlobStorage
from tests.unit.core.certificates.conftest import HOST, make_records, run_together

DAY = 86400.0
ISSUED = certificate_objects.issued("scope", HOST)
ANSWER = certificate_objects.answer("scope")


async def test_missing_certificate_is_ordered_and_stored(replica, storage, authority):
    first = replica()
    assert first.certificates.missing == [HOST]
    seen: list[Certificate] = []
    first.certificates.watch(seen.append)

    await first.run(5)

    assert authority.ordered == [HOST]
    assert first.outcomes == [True]
    assert first.certificates.missing == []
    assert seen == [first.certificates.held[HOST]] == [await make_records(storage).certificate(HOST)]


async def test_only_the_configured_hosts_are_ordered(replica, authority):
    await replica(hosts=("a.example.com", "b.example.com")).run(10)
    assert authority.ordered == ["a.example.com", "b.example.com"]


async def test_replicas_that_start_together_order_once(replica, authority, time):
    replicas = [replica(name) for name in "abc"]
    await run_together(replicas, time, 30)
    assert authority.ordered == [HOST]
    assert len({each.certificates.held[HOST].chain for each in replicas}) == 1


async def test_restart_orders_nothing(replica, authority, storage):
    await replica().run(5)
    again = replica("b")
    await again.look()
    assert again.certificates.missing == []
    await again.run(60)
    assert authority.ordered == [HOST]
    seen: list[Certificate] = []
    again.certificates.watch(seen.append)
    assert [each.host for each in seen] == [HOST]


async def test_certificate_is_renewed_when_a_third_of_its_life_is_left(replica, authority, time):
    first, second = replica("a"), replica("b")
    await first.run(5)
    before = first.certificates.held[HOST]
    await second.look()

    time.pass_seconds(59 * DAY)
    await first.run(5)
    assert authority.ordered == [HOST]

    time.pass_seconds(2 * DAY)
    await first.run(5)
    renewed = first.certificates.held[HOST]
    assert authority.ordered == [HOST, HOST]
    assert renewed.begins_at > before.begins_at
    # The account is created once.
    assert len(authority.accounts) == 1

    assert second.certificates.held[HOST] == before
    await second.look()
    assert second.certificates.held[HOST] == renewed
    assert authority.ordered == [HOST, HOST]


async def test_failing_authority_leaves_the_old_certificate_in_use(replica, authority, time, caplog):
    first = replica()
    await first.run(5)
    before = first.certificates.held[HOST]
    time.pass_seconds(61 * DAY)
    authority.error = CertificateOrderError("connection refused")

    await first.run(50)

    assert first.certificates.held[HOST] == before
    assert first.certificates.missing == []
    assert first.outcomes == [True, False]
    assert f"no certificate for {HOST}, next order in 60 s (the current one ends at " in caplog.text
    assert "connection refused" in caplog.text

    authority.error = None
    await first.run(30)
    assert first.certificates.held[HOST].begins_at > before.begins_at


async def test_pauses_between_failed_orders_grow_for_all_replicas(replica, authority):
    authority.error = CertificateOrderError("the name leads elsewhere")
    # Each run is one of a new process, as after a restart.
    for number, orders in enumerate([1, 2, 3, 4, 4], start=1):
        await replica(f"p{number}").run([50, 100, 320, 920, 3000][number - 1])
        assert len(authority.ordered) == orders, number


async def test_rate_limit_causes_the_longest_pause(replica, authority):
    authority.error = CertificateOrderError("too many certificates", is_rate_limited=True)
    await replica("a").run(3000)
    await replica("b").run(500)
    assert len(authority.ordered) == 1
    await replica("b").run(200)
    assert len(authority.ordered) == 2


async def test_pause_is_kept_by_the_process_that_failed(replica, authority, storage):
    authority.error = CertificateOrderError("the name leads elsewhere")
    first = replica()
    await first.run(50)
    assert len(authority.ordered) == 1
    await first.run(100)
    assert len(authority.ordered) == 2


async def test_answer_is_found_by_every_replica_during_the_order_only(replica, authority, time):
    first, second = replica("a"), replica("b")
    assert await second.certificates.answer() is None
    order = asyncio.create_task(first.look())
    await time.advance(ANSWER_SECONDS)
    answer = await second.certificates.answer()
    assert answer is not None
    assert answer.host == HOST
    assert answer.key_authorization.startswith(f"{answer.token}.")
    await time.advance(5)
    await order
    assert await second.certificates.answer() is None


async def test_questions_for_the_answer_cost_one_request_a_second(replica, storage, time):
    store = FaultyBlobStorage(storage)
    one = replica(store=store)
    await asyncio.gather(*(one.certificates.answer() for _ in range(20)))
    assert store.operations == [f"read {ANSWER}"]
    store.error_rate = 1.0
    time.pass_seconds(ANSWER_SECONDS)
    with pytest.raises(StorageUnavailableError):
        await one.certificates.answer()
    assert await one.certificates.answer() is None
    assert len(store.operations) == 2


async def test_looks_cost_nothing_while_no_certificate_is_due(replica, storage, time):
    await replica().run(5)
    store = FaultyBlobStorage(storage)
    other = replica("b", store=store)
    await other.run(1800)
    assert len(store.operations) == 1
    await other.run(3600)
    assert len(store.operations) == 2


async def test_failing_store_is_asked_at_the_same_interval(replica, storage, time):
    store = FaultyBlobStorage(storage, error_rate=1.0)
    one = replica(store=store)
    with pytest.raises(StorageUnavailableError):
        await one.certificates.refresh()
    await one.certificates.refresh()
    assert len(store.operations) == 1


@pytest.mark.parametrize("last", range(1, 12))
async def test_kill_between_two_writes_delays_the_order_and_loses_nothing_else(replica, storage, authority, time, last):
    """The process dies before its n-th change of the store; the next one continues."""
    store = FaultyBlobStorage(storage)
    store.stop_after(last)
    task = asyncio.create_task(replica(store=store).look())
    await time.advance(20)
    await asyncio.wait([task])
    assert isinstance(task.exception(), StorageUnavailableError | None)
    before = len(authority.ordered)
    # The lease of the dead process ends, and the pause after its order.
    other = replica("b")
    await other.run(120)
    assert other.certificates.missing == []
    is_stored = ISSUED in [key async for key, _ in storage.walk("/")]
    assert is_stored
    assert len(authority.ordered) <= max(1, before + 1)
    assert len(authority.accounts) == 1


async def test_certificate_that_could_not_be_stored_is_stored_later_and_not_ordered_again(
    replica, storage, authority, time
):
    store = FaultyBlobStorage(storage)
    first = replica(store=store)
    order = asyncio.create_task(first.look())
    await time.advance(1)
    assert authority.ordered == [HOST]
    store.error_rate = 1.0
    await time.advance(3)
    with pytest.raises(StorageUnavailableError):
        await order
    store.error_rate = 0.0
    await time.advance(30)
    await first.run(60)
    assert authority.ordered == [HOST]
    assert first.certificates.missing == []
    assert await make_records(storage).certificate(HOST) == first.certificates.held[HOST]


async def test_lost_lease_ends_the_orders(replica, storage, authority, time):
    first = replica(hosts=("a.example.com", "b.example.com"))
    order = asyncio.create_task(first.look())
    await time.advance(1)
    # The process was suspended, and another one took over.
    await storage.write(layout.lease(JOB), b'{"owner": "z", "counter": 1}')
    time.pass_seconds(31)
    await time.advance(31)
    await order
    assert authority.ordered == ["a.example.com"]


async def test_expired_certificate_is_missing(replica, time):
    first = replica()
    await first.run(5)
    time.jump(timedelta(days=91))
    assert first.certificates.missing == [HOST]


async def test_older_certificate_replaces_no_newer_one(replica, storage, authority, time):
    first = replica()
    await first.run(5)
    old = first.certificates.held[HOST]
    time.pass_seconds(61 * DAY)
    await first.run(5)
    new = first.certificates.held[HOST]
    await make_records(storage).save(old)
    await first.run(2 * 3600)
    assert first.certificates.held[HOST] == new


async def test_wrong_clock_orders_no_certificate_after_another(replica, authority, time, caplog):
    """With a clock that is 70 days ahead of the authority's, each certificate is due when it is issued."""
    true_time = time.now
    authority = InMemoryAuthority(now=lambda: true_time() - timedelta(days=70))
    first = replica(authority=authority)
    await first.run(3600)
    await replica("b", authority=authority).run(3600)
    assert authority.ordered == [HOST]
    assert "the new certificate is due already, check the clock" in caplog.text
    assert caplog.text.count("check the clock") == 2


async def test_removed_certificate_is_ordered_again(replica, storage, authority):
    await replica().run(5)
    await storage.delete([ISSUED])
    await replica("b").run(10)
    assert authority.ordered == [HOST, HOST]


async def test_store_that_cannot_be_written_is_tried_every_ten_seconds(replica, storage, authority, time):
    class UnwritableStorage(FaultyBlobStorage):
        @override
        async def carry_out(self, operation, key, call):
            if operation in MUTATIONS:
                self.operations.append(operation)
                raise StorageUnavailableError("read-only file system")
            return await super().carry_out(operation, key, call)

    store = UnwritableStorage(storage)
    one = replica(store=store)
    for _ in range(30):
        with suppress(StorageUnavailableError):
            await one.look()
        time.pass_seconds(1)
    assert len([each for each in store.operations if each in MUTATIONS]) == 3
    assert authority.ordered == []
