"""Conversion of notification settings to values of the core."""

import socket
from collections.abc import Callable, Mapping
from datetime import timedelta

from config.settings import NotificationSettings, OutboxSettings
from core.notifications.recorder import RecorderOptions
from core.notifications.upkeep import Bounds


def recorder_options(settings: NotificationSettings) -> RecorderOptions:
    """Return the format of events, and whether their recording is required."""
    return RecorderOptions(
        envelope=settings.events_version,
        include_references=settings.include_references,
        is_required=settings.outbox.required,
    )


def outbox_bounds(settings: OutboxSettings) -> Bounds:
    """Return the limits of the outbox."""
    return Bounds(
        bytes_max=settings.bytes_max,
        age_max=timedelta(seconds=settings.age_max_seconds),
        dead_age_max=timedelta(seconds=settings.dead_age_max_seconds),
    )


def event_source(addr: str, new_id: Callable[[], str]) -> Mapping[str, str]:
    """Return the `source` of events: this machine with the port of `http.addr`, and an id of this process."""
    host, port = socket.gethostname(), addr.rpartition(":")[2]
    return {"addr": f"{host}:{port}" if port.isdigit() else host, "instanceID": new_id()}
