"""Services that many others need: the trash, links, the records of changes and pulls, the events, and the users."""

import secrets

from dependency_injector.providers import Callable, Object, Singleton

from config.container.authenticators import with_access_keys
from config.container.certificates import make_certificates
from config.container.events import event_recorder, make_notifier, make_pull_recorder
from config.container.scheduled import Schedules
from config.container.sign_ins import external_parts
from config.container.surroundings import boot_clock, duration, entry_id, process_name
from core.access_keys.service import AccessKeys
from core.collection.pins import Pins
from core.collection.rounds import Rounds
from core.coordination.read_only import ReadOnlySwitch
from core.notifications.outbox import Outbox
from core.registry.publisher import Publisher
from core.retention.pulls import PullHistory
from core.store.clock import StoreClock
from core.store.links import Links
from core.store.manifest_cache import ManifestCache
from core.store.tag_links import TagLinks
from core.summaries.changes import ChangeLog, ChangeRecorder
from core.trash.store import Trash


class Foundations(Schedules):
    """Services that need no other services but these."""

    settings = Schedules.settings
    sections = Schedules.sections
    storage_section = Schedules.storage_section
    now = Schedules.now
    blob_storage = Schedules.blob_storage
    outbox_storage = Schedules.outbox_storage
    audit_log = Schedules.audit_log
    shared_secret = Schedules.shared_secret

    read_only = Singleton(ReadOnlySwitch, blob_storage, clock=Object(boot_clock), now=now)
    outbox = Singleton(Outbox, storage=outbox_storage, process=Object(process_name), now=now)
    events = Singleton(event_recorder, outbox, settings)
    notifier = Singleton(
        make_notifier,
        outbox,
        events,
        storage=outbox_storage,
        settings=sections.notifications,
    )
    publisher = Singleton(Publisher, events, audit_log, now=now)

    store_clock = Singleton(StoreClock, blob_storage, clock=Object(boot_clock))
    trash = Singleton(
        Trash,
        storage=blob_storage,
        store_clock=store_clock,
        now=now,
        new_id=Object(entry_id),
        keep=Callable(duration, storage_section.trash_keep_seconds),
    )
    links = Singleton(Links, storage=blob_storage)
    tag_links = Singleton(TagLinks, storage=blob_storage, links=links)
    manifest_cache = Singleton(ManifestCache)
    rounds = Singleton(Rounds, storage=blob_storage)
    pins = Singleton(Pins, storage=blob_storage)

    change_log = Singleton(ChangeLog, blob_storage)
    changes = Singleton(
        ChangeRecorder,
        blob_storage,
        now=now,
        new_id=Object(entry_id),
        is_enabled=sections.summaries.enabled,
    )
    pull_recorder = Singleton(make_pull_recorder, blob_storage, settings)
    certificates = Singleton(make_certificates, settings, storage=blob_storage, secret=shared_secret, now=now)
    pull_history = Singleton(PullHistory, storage=blob_storage, new_id=Object(entry_id))

    access_keys = Singleton(
        AccessKeys, blob_storage, entropy=Object(secrets.token_bytes), clock=Object(boot_clock), now=now
    )
    external = Singleton(external_parts, sections.auth, blob_storage, now=now)
    authenticator = Singleton(
        with_access_keys,
        Schedules.shared_authenticator,
        access_keys,
        Schedules.access_policy,
        external=external,
        secret=Schedules.shared_secret,
        now=now,
    )
