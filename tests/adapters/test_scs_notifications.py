"""The number of requests that events cost on SCS."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from core.model.events import EventAction, Occurrence, Origin
from core.model.media_types import OCI_MANIFEST, OCTET_STREAM
from core.notifications.delivery import EndpointDelivery
from core.notifications.endpoint import EndpointStats, EventEndpoint
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder, RecorderOptions
from tests.support.core_services import counting_ids
from tests.support.notifications import ScriptedReceiver

PUSH = Occurrence(action=EventAction.PUSH, repository="a", media_type=OCI_MANIFEST)
BLOB = Occurrence(action=EventAction.PUSH, repository="a", media_type=OCTET_STREAM)
PULL = Occurrence(action=EventAction.PULL, repository="a", media_type=OCI_MANIFEST)


def now():
    return datetime.now(UTC)


@pytest.fixture
def endpoint():
    return EventEndpoint(name="e", receiver=ScriptedReceiver(), ignored_media_types=frozenset({OCTET_STREAM}))


@pytest.fixture
def outbox(storage):
    return Outbox(storage, process=lambda: "p", now=now)


@pytest.fixture
def recorder(outbox, endpoint):
    recorder = EventRecorder(outbox, RecorderOptions(), source=dict, now=now, new_id=counting_ids())
    recorder.use([endpoint])
    return recorder


async def deliver(endpoint, outbox):
    delivery = EndpointDelivery(endpoint, outbox, EndpointStats("e"), clock=time.monotonic, sleep=asyncio.sleep)
    while await delivery.deliver_some():
        pass


async def test_push_costs_one_request_and_an_ignored_blob_none(server, recorder):
    await recorder.emit([BLOB], Origin())
    assert len(server.log) == 0
    await recorder.emit([PUSH], Origin())
    assert len(server.log) == 1


async def test_concurrent_pushes_and_pulls_of_one_second_share_requests(server, recorder):
    await asyncio.wait([asyncio.ensure_future(recorder.emit([PUSH], Origin())) for _ in range(100)])
    assert len(server.log) <= 2
    server.log.clear()
    for _ in range(400):
        await recorder.emit([PULL], Origin())
    await recorder.flush()
    assert len(server.log) == 1


async def test_delivery_by_the_recording_process_costs_two_requests_and_a_listing(server, recorder, outbox, endpoint):
    for _ in range(20):
        await recorder.emit([PUSH], Origin())
    server.log.clear()
    await deliver(endpoint, outbox)
    # A list, a delete of all together, and a list that finds nothing more.
    assert len(server.log) == 3
    assert len(endpoint.receiver.taken) == 20


async def test_delivery_by_another_process_reads_each_batch(server, storage, recorder, endpoint):
    for _ in range(20):
        await recorder.emit([PUSH], Origin())
    server.log.clear()
    await deliver(endpoint, Outbox(storage, process=lambda: "q", now=now))
    assert len(server.log) == 3 + 20
