"""Recording of events: filters of endpoints, durability, and failures of the outbox."""

import asyncio
import itertools

import pytest

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.errors import StorageUnavailableError
from core.model.events import EventAction, Occurrence, Origin
from core.model.media_types import OCI_MANIFEST, OCTET_STREAM
from core.notifications import recorder as recorder_module
from core.notifications.endpoint import EndpointStats, EventEndpoint
from core.notifications.envelope import EnvelopeType
from core.notifications.outbox import Outbox
from core.notifications.recorder import GROUP_ITEMS_MAX, EventRecorder, GroupCommit, RecorderOptions
from tests.support.faulty_blob_storage import FaultyBlobStorage
from tests.support.notifications import ScriptedReceiver
from tests.support.simulated_time import SimulatedTime

PUSH = Occurrence(action=EventAction.PUSH, repository="a", media_type=OCI_MANIFEST)
BLOB = Occurrence(action=EventAction.PUSH, repository="a", media_type=OCTET_STREAM)
PULL = Occurrence(action=EventAction.PULL, repository="a", media_type=OCI_MANIFEST)
UNTAG = Occurrence(action=EventAction.DELETE, repository="a", tag="v1")


def endpoint(name="e", **options):
    return EventEndpoint(name=name, receiver=ScriptedReceiver(), **options)


@pytest.fixture
def storage():
    return FaultyBlobStorage(InMemoryBlobStorage(now=SimulatedTime().now))


def test_names_of_endpoints_are_those_in_use(outbox):
    recorder = EventRecorder(outbox, RecorderOptions(), source=dict, now=SimulatedTime().now, new_id=lambda: "id")
    assert recorder.endpoint_names == frozenset()
    recorder.use([endpoint("a"), endpoint("b")])
    assert recorder.endpoint_names == {"a", "b"}


@pytest.fixture
def outbox(storage):
    return Outbox(storage, process=lambda: "p", now=SimulatedTime().now)


def make(outbox, *endpoints, counts=None, **options):
    ids = (str(number) for number in itertools.count(1))
    recorder = EventRecorder(
        outbox, RecorderOptions(**options), source=dict, now=SimulatedTime().now, new_id=lambda: next(ids)
    )
    recorder.use(endpoints, counts)
    return recorder


async def recorded(outbox, name="e"):
    batches = [await outbox.read(name, batch) for batch in await outbox.queued(name)]
    return [event.document["action"] for events in batches for event in events]


async def test_without_endpoints_no_event_is_wanted_and_no_request_made(outbox, storage):
    recorder = make(outbox)
    assert not recorder.wants(EventAction.PUSH)
    await recorder.emit([PUSH, PULL], Origin())
    await recorder.flush()
    assert storage.operations == []


async def test_push_is_in_the_outbox_when_emit_returns(outbox, storage):
    recorder = make(outbox, endpoint())
    await recorder.emit([PUSH], Origin())
    assert await recorded(outbox) == ["push"]
    assert len(storage.mutations) == 1


async def test_pulls_are_recorded_together_and_later(outbox, storage):
    recorder = make(outbox, endpoint())
    for _ in range(3):
        await recorder.emit([PULL], Origin())
    assert storage.operations == []
    await recorder.flush()
    assert len(storage.mutations) == 1
    assert await recorded(outbox) == ["pull"] * 3


async def test_filters_of_each_endpoint_are_applied(outbox, storage):
    recorder = make(
        outbox,
        endpoint("no-blobs", ignored_media_types=frozenset({OCTET_STREAM})),
        endpoint("no-pushes", ignored_actions=frozenset({"push", "pull"})),
    )
    await recorder.emit([BLOB], Origin())
    assert storage.operations == []
    assert not recorder.wants(EventAction.PUSH, OCTET_STREAM)
    assert recorder.wants(EventAction.PUSH, OCI_MANIFEST)
    await recorder.emit([PUSH, UNTAG], Origin())
    assert await recorded(outbox, "no-blobs") == ["push", "delete"]
    assert await recorded(outbox, "no-pushes") == ["delete"]


async def test_concurrent_events_share_writes(outbox, storage):
    recorder = make(outbox, endpoint())
    await asyncio.wait([asyncio.ensure_future(recorder.emit([PUSH], Origin())) for _ in range(50)])
    assert await recorded(outbox) == ["push"] * 50
    assert len(storage.mutations) <= 2


async def test_failing_outbox_refuses_pushes_and_keeps_pulls(outbox, storage):
    recorder = make(outbox, endpoint())
    storage.fail_at(1)
    with pytest.raises(StorageUnavailableError):
        await recorder.emit([PUSH, PULL], Origin())
    storage.fail_at(1)
    with pytest.raises(StorageUnavailableError):
        await recorder.flush()
    await recorder.flush()
    assert await recorded(outbox) == ["pull"]


async def test_not_required_events_wait_in_memory_in_order(outbox, storage):
    recorder = make(outbox, endpoint(), is_required=False)
    storage.fail_at(1)
    await recorder.emit([PUSH], Origin())
    await recorder.emit([PULL], Origin())
    await recorder.flush()
    assert await recorded(outbox) == ["push", "pull"]


async def test_memory_is_bounded_and_losses_are_counted(outbox, monkeypatch, caplog):
    monkeypatch.setattr(recorder_module, "_BUFFERED_MAX", 2)
    recorder = make(outbox, endpoint())
    for _ in range(5):
        await recorder.emit([PULL], Origin())
    assert recorder.lost == 3
    assert caplog.text.count("events lost") == 1
    await recorder.flush()
    assert await recorded(outbox) == ["pull", "pull"]


async def test_recorder_counts_and_reports_recorded_events(outbox):
    counts, told = {"e": EndpointStats("e")}, []
    recorder = make(outbox, endpoint(), counts=counts)
    recorder.call_when_recorded(lambda: told.append(True))
    await recorder.emit([PUSH, PUSH], Origin())
    assert (counts["e"].recorded, told) == (2, [True])


async def test_options_can_change_at_run_time(outbox):
    recorder = make(outbox, endpoint())
    assert not recorder.wants_references
    recorder.configure(RecorderOptions(include_references=True, envelope=EnvelopeType.V2))
    assert recorder.wants_references
    await recorder.emit([UNTAG], Origin())
    [batch] = await outbox.queued("e")
    [event] = await outbox.read("e", batch)
    assert event.document["target"]["mediaType"] == ""


async def test_group_keeps_order_and_is_bounded():
    groups, gate = [], asyncio.Event()

    async def write(items):
        await gate.wait()
        groups.append(list(items))

    commit = GroupCommit(write)
    tasks = [asyncio.ensure_future(commit.add([number])) for number in range(GROUP_ITEMS_MAX + 10)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait(tasks)
    assert [number for group in groups for number in group] == list(range(GROUP_ITEMS_MAX + 10))
    assert max(map(len, groups)) == GROUP_ITEMS_MAX


async def test_cancelled_caller_leaves_its_items_to_be_written():
    written, gate = [], asyncio.Event()

    async def write(items):
        await gate.wait()
        written.extend(items)

    commit = GroupCommit(write)
    gone, stays = (asyncio.ensure_future(commit.add([name])) for name in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    await stays
    assert written == ["gone", "stays"]


async def test_cancelled_caller_gets_no_error_of_its_group():
    """The others of its group get their error too, and later events are written."""
    written, gate = [], asyncio.Event()

    async def write(items):
        await gate.wait()
        if "gone" in items:
            raise StorageUnavailableError("full")
        written.extend(items)

    commit = GroupCommit(write)
    gone, stays = (asyncio.ensure_future(commit.add([name])) for name in ("gone", "stays"))
    await asyncio.sleep(0)
    gone.cancel()
    gate.set()
    with pytest.raises(StorageUnavailableError):
        await asyncio.wait_for(stays, 60)
    assert gone.cancelled()
    await asyncio.wait_for(commit.add(["later"]), 60)
    assert written == ["later"]


async def test_failed_group_raises_to_all_its_callers_and_the_next_succeeds():
    async def write(items):
        if "bad" in items:
            raise StorageUnavailableError("full")

    commit = GroupCommit(write)
    done = [asyncio.ensure_future(commit.add([name])) for name in ("bad", "with it")]
    await asyncio.wait(done)
    assert [type(each.exception()) for each in done] == [StorageUnavailableError] * 2
    await commit.add(["good"])


async def test_text_that_cannot_be_encoded_blocks_no_other_event(outbox):
    """Old manifests hold half of a surrogate pair, and a pull of one shares its batch with other events."""
    recorder = make(outbox, endpoint(), include_references=True)
    odd = Occurrence(
        action=EventAction.PULL, repository="a", media_type=OCI_MANIFEST, references=({"mediaType": "x\ud800"},)
    )
    await recorder.emit([odd, PULL], Origin())
    await recorder.flush()
    await recorder.emit([PUSH], Origin())
    assert await recorded(outbox) == ["pull", "pull", "push"]
