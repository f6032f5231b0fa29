"""The read-only switch: seen soon by every process, ended by the store's time, kept when the store cannot be read."""

import asyncio
from datetime import timedelta

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.coordination.read_only import VIEW_SECONDS_MAX, ReadOnly, ReadOnlySwitch, switch_off, switch_on
from core.errors import ReadOnlyError, StorageUnavailableError
from core.store import layout
from tests.support.faulty_blob_storage import FaultyBlobStorage

HOUR = 3600.0
WRONG_CLOCK = timedelta(days=300)


@pytest.fixture
def storage(time):
    return FaultyBlobStorage(InMemoryBlobStorage(now=time.now))


@pytest.fixture
def make_switch(storage, time):
    """Of a process whose wall clock is wrong by months."""
    return lambda: ReadOnlySwitch(storage, clock=time.clock, now=lambda: time.now() + WRONG_CLOCK)


async def refusal(switch):
    with pytest.raises(ReadOnlyError) as refused:
        await switch.require_writable()
    return refused.value


async def test_registry_is_writable_by_default(make_switch):
    switch = make_switch()
    await switch.require_writable()
    assert not switch.is_on
    assert switch.mode is None
    assert switch.seconds_left is None


async def test_every_process_follows_within_the_lifetime_of_a_view(storage, time, make_switch):
    switches = [make_switch() for _ in range(3)]
    for switch in switches:
        await switch.require_writable()
    await switch_on(storage, ReadOnly(reason="moving house"))
    await time.advance(VIEW_SECONDS_MAX + 0.01)
    for switch in switches:
        error = await refusal(switch)
        assert str(error) == "moving house"
        assert error.retry_after is None
    await switch_off(storage)
    await time.advance(VIEW_SECONDS_MAX + 0.01)
    for switch in switches:
        await switch.require_writable()


async def test_check_costs_one_request_per_view(storage, time, make_switch):
    switch = make_switch()
    for _ in range(100):
        await switch.require_writable()
    assert storage.operations == [f"read {layout.READ_ONLY}"]
    await time.advance(VIEW_SECONDS_MAX + 0.01)
    await switch.require_writable()
    assert len(storage.operations) == 2


async def test_concurrent_checks_share_one_request(storage, make_switch):
    """A burst of pushes to a process that has not looked for a while is one request, and all are refused."""
    await switch_on(storage, ReadOnly(reason="moving house"))
    storage.operations.clear()
    storage.delay_rate = 1.0
    switch = make_switch()
    refused = await asyncio.gather(*(switch.require_writable() for _ in range(10)), return_exceptions=True)
    assert [str(error) for error in refused] == ["moving house"] * 10
    assert storage.operations == [f"read {layout.READ_ONLY}"]


async def test_mode_expires(storage, time, make_switch):
    early = make_switch()
    await early.look()
    await switch_on(storage, ReadOnly(reason="backup", seconds=HOUR))
    await time.advance(5)
    assert (await refusal(early)).retry_after == 3595
    await time.advance(HOUR - 6)
    late = make_switch()
    assert (await refusal(late)).retry_after == 1
    assert (await refusal(early)).retry_after == 1
    await time.advance(1.01)
    await early.require_writable()
    await late.require_writable()
    assert (early.is_on, late.is_on, early.seconds_left) == (False, False, None)
    # The object is still there, for one that starts now.
    newest = make_switch()
    await newest.require_writable()


async def test_same_mode_written_again_restarts_its_time(storage, time, make_switch):
    switch = make_switch()
    for number in range(3):
        await switch_on(storage, ReadOnly(reason="backup", seconds=60, id=str(number)))
        await time.advance(50)
        assert (await refusal(switch)).retry_after == 10


async def test_unreadable_store_changes_nothing(storage, time, make_switch, caplog):
    switch = make_switch()
    await switch_on(storage, ReadOnly(reason="backup", seconds=60))
    await refusal(switch)
    storage.error_rate = 1.0
    await time.advance(30)
    assert (await refusal(switch)).retry_after == 30
    assert "cannot read the read-only switch" in caplog.text
    await time.advance(31)
    await switch.require_writable()


async def test_unreadable_store_at_the_start_refuses_nothing(storage, make_switch):
    storage.error_rate = 1.0
    switch = make_switch()
    await switch.require_writable()


async def test_mode_on_a_store_without_writes_is_dated_by_the_own_clock(storage, time, make_switch):
    await switch_on(storage, ReadOnly(reason="full", seconds=WRONG_CLOCK.total_seconds() + 60))
    switch = make_switch()
    storage.fail_at(3)
    assert (await refusal(switch)).retry_after == 60


async def test_unknown_age_is_read_again(storage, time, make_switch):
    await switch_on(storage, ReadOnly(reason="backup", seconds=60))
    switch = make_switch()
    storage.fail_at(2)
    assert (await refusal(switch)).retry_after is None
    await time.advance(VIEW_SECONDS_MAX + 1)
    assert (await refusal(switch)).retry_after == 56


async def test_mode_removed_during_the_read_is_off(storage, time, make_switch):
    await switch_on(storage, ReadOnly(reason="backup", seconds=60))
    switch = make_switch()
    read = storage.inner.read

    async def read_and_end(key, *, limit):
        content = await read(key, limit=limit)
        await storage.inner.delete([key])
        return content

    storage.inner.read = read_and_end
    await switch.require_writable()
    assert not switch.is_on


@pytest.mark.parametrize(
    ("content", "reason", "left"),
    [
        (b"", ReadOnly().reason, None),
        (b"  moving to new disks \n", "moving to new disks", None),
        (b"[1, 2]", "[1, 2]", None),
        (b'"text"', '"text"', None),
        (b'{"reason": "x"}', '{"reason": "x"}', None),
        (b'{"reason": "x", "seconds": NaN}', "x", None),
        (b'{"reason": "x", "seconds": Infinity}', "x", None),
        (b'{"reason": "x", "seconds": 10, "more": 1}', "x", 10),
        (b"\xff\xfe", "\ufffd\ufffd", None),
        (b"x" * 100_000, ReadOnly().reason, None),
        (b"y" * 2_000, "y" * 1000, None),
    ],
)
async def test_unreadable_mode_is_on_with_its_text_as_reason(storage, make_switch, content, reason, left):
    """An operator can write one with a shell only."""
    await storage.write(layout.READ_ONLY, content)
    error = await refusal(make_switch())
    assert (str(error), error.retry_after) == (reason, left)


async def test_stored_mode_is_read_back():
    mode = ReadOnly(reason="é", by="host", seconds=1.5, id="1")
    assert ReadOnly.decode(mode.encode()) == mode


async def test_switching_fails_where_the_store_does(storage):
    storage.error_rate = 1.0
    with pytest.raises(StorageUnavailableError):
        await switch_on(storage, ReadOnly())
