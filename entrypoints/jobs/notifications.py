"""Notifications in a server process: the jobs that record and deliver events, and reloadable settings."""

from collections.abc import Callable, Sequence
from typing import Final

from config.notifications import recorder_options
from config.settings import NotificationSettings, OutboxBackend, Settings
from core.notifications.endpoint import EventEndpoint
from core.notifications.notifier import Notifier
from core.notifications.recorder import EventRecorder
from entrypoints.jobs.background import Job

LIVE_NOTIFICATION_KEYS: Final = (
    "notifications.endpoints",
    "notifications.endpoints[",
    "notifications.events.",
    "notifications.outbox.required",
)
"""Keys of the configuration that can change while the registry serves."""
_FLUSH_SECONDS: Final = 1.0
"""Interval at which pull events held in memory are recorded."""
_RETRY_SECONDS: Final = 1.0
"""Delay before delivery restarts after a failure of the outbox."""
_GRACE_SECONDS_MAX: Final = 5.0
"""Maximum time by which the delivery of remaining events delays the end of the process."""


def notification_jobs(
    recorder: EventRecorder, notifier: Notifier, settings: Settings, *, is_first: bool
) -> Sequence[Job]:
    """Return the notification jobs of a process: every process records, and the first of each server delivers.

    A lease selects one deliverer among the servers. If a first process dies, it is replaced, so the other workers need
    not request the lease. With an outbox in memory, every process delivers its own events.
    """
    grace_seconds = min(_GRACE_SECONDS_MAX, settings.http.drain_timeout_seconds)

    async def finish() -> None:
        await recorder.flush()
        await notifier.finish(grace_seconds)

    recording = Job(name="pull event recording", run=recorder.flush, every=_FLUSH_SECONDS, finish=finish)
    if not is_first and settings.notifications.outbox.backend is not OutboxBackend.MEMORY:
        return [recording]
    return [recording, Job(name="event delivery", run=notifier.run, every=_RETRY_SECONDS)]


class NotificationsPart:
    """Passes new endpoints to the notifier after a reload.

    Args:
        notifier: notifier of this process.
        begun: settings from which the notifier was created.
        make_endpoints: creates endpoints from settings.
    """

    def __init__(
        self,
        notifier: Notifier,
        begun: NotificationSettings,
        make_endpoints: Callable[[NotificationSettings], Sequence[EventEndpoint]],
    ) -> None:
        self._notifier = notifier
        self._current = begun
        self._make_endpoints = make_endpoints

    def apply(self, settings: Settings) -> None:
        """Deliver to the new endpoints if the endpoints or the content of events have changed."""
        if settings.notifications != self._current:
            self._current = settings.notifications
            self._notifier.use(self._make_endpoints(self._current), recorder_options(self._current))
