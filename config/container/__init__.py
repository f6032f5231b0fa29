"""The composition root: application objects for the entry points, built from the settings."""

from config.container.applications import (
    Observers,
    RegistryApplication,
    ServerApplication,
    ServerParts,
    StoreApplication,
)
from config.container.building import build_audit_log, build_registry, build_server, build_server_parts, build_store
from config.container.checking import check_settings
from config.container.events import event_endpoints
from config.container.issuers import IssuerState, probe_issuers
from config.container.layouts import read_image_layout, write_image_layout
from config.container.observers import (
    allocate_metrics,
    make_command_metrics,
    make_observers,
    packages_can_trace,
    reset_gauges,
)
from config.container.remotes import open_target, open_upstream
from config.container.spooling import spool_folder
from config.container.surroundings import new_id, utc_now

__all__ = [
    "IssuerState",
    "Observers",
    "RegistryApplication",
    "ServerApplication",
    "ServerParts",
    "StoreApplication",
    "allocate_metrics",
    "build_audit_log",
    "build_registry",
    "build_server",
    "build_server_parts",
    "build_store",
    "check_settings",
    "event_endpoints",
    "make_command_metrics",
    "make_observers",
    "new_id",
    "open_target",
    "open_upstream",
    "packages_can_trace",
    "probe_issuers",
    "read_image_layout",
    "reset_gauges",
    "spool_folder",
    "utc_now",
    "write_image_layout",
]
