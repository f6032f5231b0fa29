"""The parts of a process that requests of operators control, besides the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.coordination.read_only import ReadOnlySwitch
from core.notifications.outbox import Outbox
from core.ports.blob_storage import BlobStorage
from entrypoints.jobs.usage import UsageRunner, usage_runner

if TYPE_CHECKING:
    from config.container import ServerApplication


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The parts that operations on the whole registry need."""

    storage: BlobStorage
    """The store that all replicas share."""
    read_only: ReadOnlySwitch
    usage: UsageRunner
    outbox: Outbox
    endpoint_names: Callable[[], frozenset[str]]
    """Returns the names of the configured endpoints of events."""


def operations_of(application: "ServerApplication") -> Operations:
    """Return the operations of a server process."""
    return Operations(
        storage=application.storage,
        read_only=application.read_only,
        usage=usage_runner(application),
        outbox=application.outbox,
        endpoint_names=lambda: application.events.endpoint_names,
    )
