"""Notifications in a server: the recording and delivering processes, and the effects of a reload."""

from dataclasses import replace

import pytest

from config.container import Observers, build_server, build_server_parts, event_endpoints
from config.settings import EndpointSettings, NotificationSettings, OutboxBackend, OutboxSettings, Settings
from core.model.events import EventAction
from entrypoints.jobs.notifications import NotificationsPart, notification_jobs
from entrypoints.opening import opened


def settings(*names):
    endpoints = tuple(EndpointSettings(name=name, url="http://127.0.0.1:1/") for name in names)
    return replace(Settings(), notifications=NotificationSettings(endpoints=endpoints))


def server(begun):
    return build_server(build_server_parts(begun), Observers())


def jobs(begun, *, is_first):
    application = server(begun)
    return notification_jobs(application.events, application.notifier, begun, is_first=is_first)


@pytest.mark.parametrize(
    ("backend", "is_first", "count"),
    [
        (OutboxBackend.STORAGE, True, 2),
        (OutboxBackend.STORAGE, False, 1),
        (OutboxBackend.LOCAL, False, 1),
        (OutboxBackend.MEMORY, False, 2),
    ],
)
def test_first_process_delivers_from_storage_and_each_from_its_memory(tmp_path, backend, is_first, count):
    begun = settings("a")
    outbox = OutboxSettings(backend=backend, path=str(tmp_path))
    begun = replace(begun, notifications=replace(begun.notifications, outbox=outbox))
    assert len(jobs(begun, is_first=is_first)) == count


async def test_shutdown_records_pulls_and_releases_the_lease():
    begun = settings("a")
    application = server(begun)
    async with opened(application):
        [recording, _] = notification_jobs(application.events, application.notifier, begun, is_first=True)
        await recording.run()
        await recording.finish()
        assert not application.notifier.stats().is_delivering


def test_reload_changes_endpoints_only_where_they_differ():
    begun = settings("a")
    application = server(begun)
    made = []

    def make(notifications):
        made.append(notifications)
        return event_endpoints(notifications)

    part = NotificationsPart(application.notifier, begun.notifications, make)
    part.apply(begun)
    assert made == []
    part.apply(settings("b", "c"))
    assert [each.name for each in application.notifier.stats().endpoints] == ["b", "c"]
    part.apply(settings())
    assert not application.events.wants(EventAction.PUSH)
    assert len(made) == 2
