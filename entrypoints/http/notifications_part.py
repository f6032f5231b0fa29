"""What a server does with notifications: the jobs that record and deliver, and what changes while it serves."""

from collections.abc import Callable, Sequence
from typing import Final

from config.notifications import recorder_options
from config.settings import NotificationSettings, Settings
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


def notification_jobs(recorder: EventRecorder, notifier: Notifier, settings: Settings) -> Sequence[Job]:
    """Return the jobs of every process; which one delivers is decided by a lease."""
    grace_seconds = min(_GRACE_SECONDS_MAX, settings.http.drain_timeout_seconds)

    async def finish() -> None:
        await recorder.flush()
        await notifier.finish(grace_seconds)

    return [
        Job(name="events of pulls are recorded", run=recorder.flush, every=_FLUSH_SECONDS),
        Job(name="events are delivered", run=notifier.run, every=_RETRY_SECONDS, finish=finish),
    ]


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
