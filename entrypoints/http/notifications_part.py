"""What a server does with notifications: the jobs that record and deliver, and what changes while it serves."""

from collections.abc import Callable, Sequence
from typing import Final

from config.notifications import recorder_options
from config.settings import NotificationSettings, OutboxBackend, Settings
from core.notifications.endpoint import Endpoint
from core.notifications.notifier import Notifier
from core.notifications.recorder import EventRecorder
from entrypoints.http.background import Job

LIVE_NOTIFICATION_KEYS: Final = (
    "notifications.endpoints",
    "notifications.endpoints[",
    "notifications.events.",
    "notifications.outbox.required",
)
"""What changes while serving."""
_FLUSH_SECONDS: Final = 1.0
"""How often pulls that wait in memory are recorded."""
_RETRY_SECONDS: Final = 1.0
"""How soon delivering begins again after the outbox failed."""
_GRACE_SECONDS_MAX: Final = 5.0
"""How long the end of the process may be held up by events that could still be delivered."""


def notification_jobs(
    recorder: EventRecorder, notifier: Notifier, settings: Settings, *, is_first: bool
) -> Sequence[Job]:
    """Return the jobs of a process: all record, and the first of each server delivers, if a lease lets it.

    A first process that dies is replaced; so not all others need to ask for the lease all the time. Each delivers what
    it has in a memory of its own.
    """
    grace_seconds = min(_GRACE_SECONDS_MAX, settings.http.drain_timeout_seconds)

    async def finish() -> None:
        await recorder.flush()
        await notifier.finish(grace_seconds)

    recording = Job(name="events of pulls are recorded", run=recorder.flush, every=_FLUSH_SECONDS, finish=finish)
    if not is_first and settings.notifications.outbox.backend is not OutboxBackend.MEMORY:
        return [recording]
    return [recording, Job(name="events are delivered", run=notifier.run, every=_RETRY_SECONDS)]


class NotificationsPart:
    """Hands new endpoints to the notifier after a reload.

    Args:
        notifier: that of this process.
        begun: the settings that it was made from.
        make_endpoints: makes endpoints from settings.
    """

    def __init__(
        self,
        notifier: Notifier,
        begun: NotificationSettings,
        make_endpoints: Callable[[NotificationSettings], Sequence[Endpoint]],
    ) -> None:
        self._notifier = notifier
        self._current = begun
        self._make_endpoints = make_endpoints

    def apply(self, settings: Settings) -> None:
        """Deliver to the new endpoints, if they or what events look like have changed."""
        if settings.notifications != self._current:
            self._current = settings.notifications
            self._notifier.use(self._make_endpoints(self._current), recorder_options(self._current))
