"""Construction of the recording of events and pulls, and of the delivery of events, from the settings."""

import asyncio
import time
from functools import partial

from config.container.schedules import make_lease
from config.container.surroundings import entry_id, new_id, utc_now
from config.notifications import event_source, outbox_bounds, recorder_options
from config.settings import NotificationSettings, Settings
from core.notifications.endpoint import EventEndpoint
from core.notifications.notifier import Notifier
from core.notifications.outbox import Outbox
from core.notifications.recorder import EventRecorder
from core.notifications.upkeep import Upkeep
from core.ports.blob_storage import BlobStorage
from core.retention.pulls import PullRecorder


def event_endpoints(settings: NotificationSettings) -> tuple[EventEndpoint, ...]:
    """Return the endpoints that receive events; called again after a reload."""
    if not settings.endpoints:
        return ()
    from adapters.notifications.http_receiver import HttpEventReceiver  # noqa: PLC0415

    media_type = settings.events_version.media_type
    return tuple(
        EventEndpoint(
            name=each.name,
            receiver=HttpEventReceiver(
                each.url,
                media_type=media_type,
                headers={name: [value.reveal() for value in values] for name, values in each.headers.items()},
                timeout_seconds=each.timeout_seconds,
            ),
            ignored_media_types=frozenset(each.ignored_media_types),
            ignored_actions=frozenset(each.ignored_actions),
            threshold=each.threshold,
            backoff_seconds=each.backoff_seconds,
        )
        for each in settings.endpoints
        if not each.disabled
    )


def event_recorder(outbox: Outbox, settings: Settings) -> EventRecorder:
    """Return the recorder of this process's events."""
    recorder = EventRecorder(
        outbox,
        recorder_options(settings.notifications),
        source=partial(event_source, settings.http.addr, new_id),
        now=utc_now,
        new_id=new_id,
    )
    recorder.use(event_endpoints(settings.notifications))
    return recorder


def make_notifier(
    outbox: Outbox, recorder: EventRecorder, storage: BlobStorage, settings: NotificationSettings
) -> Notifier:
    """Return the notifier, which delivers events in one process at a time."""
    notifier = Notifier(
        outbox,
        recorder,
        make_lease("notifications", storage=storage, ttl=settings.outbox.takeover_seconds),
        Upkeep(outbox, outbox_bounds(settings.outbox), now=utc_now),
        poll_seconds=settings.outbox.poll_seconds,
        # Each attempt costs a request, on every server that does not deliver.
        contend_seconds=settings.outbox.takeover_seconds / 2,
        clock=time.monotonic,
        sleep=asyncio.sleep,
    )
    notifier.use(event_endpoints(settings), recorder_options(settings))
    return notifier


def make_pull_recorder(storage: BlobStorage, settings: Settings) -> PullRecorder | None:
    """Return the recorder of pulls, or None if neither lists nor retention nor the cache show the time of pulls."""
    is_shown = settings.summaries.enabled and not settings.storage.readonly_enabled
    is_kept_by = any(rule.pulled_within is not None for rule in settings.retention.rules)
    if not (is_shown or is_kept_by or settings.proxy is not None):
        return None
    return PullRecorder(storage, clock=time.monotonic, new_id=entry_id)
