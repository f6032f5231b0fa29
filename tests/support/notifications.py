"""Events, and event receivers that tests control."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.model.events import EventAction, Occurrence, Origin
from core.notifications.envelope import EnvelopeType, EventDocument, event_document
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder, RecorderOptions
from core.ports.event_receiver import EventReceiver, ReceiverUnavailableError

Answer = int | str
"""A status, or the reason why there is none."""


def make_event(event_id: str, repository: str = "a", **occurrence: Any) -> EventDocument:
    """Return an event in its recorded form."""
    return event_document(
        Occurrence(action=EventAction.PUSH, repository=repository, **occurrence),
        Origin(),
        event_id=event_id,
        happened_at=datetime(2026, 11, 24, tzinfo=UTC),
        source={"addr": "test:5000", "instanceID": "test"},
        envelope=EnvelopeType.V1,
    )


def recorder_without_endpoints() -> EventRecorder:
    """Return the sink of a process that has no endpoints."""

    def now() -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC)

    outbox = Outbox(InMemoryBlobStorage(now=now), process=lambda: "test", now=now)
    return EventRecorder(outbox, RecorderOptions(), source=dict, now=now, new_id=lambda: "id")


class ScriptedReceiver(EventReceiver):
    """Receiver that keeps every received event, in order; `answer` returns the status for an event."""

    def __init__(self, answer: Callable[[Any], Answer] = lambda _event: 200) -> None:
        self.answer = answer
        self.tries: list[Any] = []
        self.taken: list[Any] = []

    @override
    async def post(self, body: bytes) -> int:
        [event] = json.loads(body)["events"]
        self.tries.append(event)
        answer = self.answer(event)
        if isinstance(answer, str):
            raise ReceiverUnavailableError(answer)
        if answer < 400:
            self.taken.append(event)
        return answer

    def taken_ids(self, repository: str | None = None) -> list[str]:
        """Return the ids of the accepted events, in order, for one repository or for all."""
        return [each["id"] for each in self.taken if repository in {None, each["target"]["repository"]}]


def each_in_turn(*answers: Answer) -> Callable[[Any], Answer]:
    """Return an `answer` function that returns these answers in turn, and repeats the last one."""
    left: Iterator[Answer] = iter(answers)
    return lambda _event: next(left, answers[-1])
