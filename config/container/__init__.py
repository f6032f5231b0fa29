"""The composition root: `Container`, and the functions that entry points need from it."""

from config.container.checking import check_settings
from config.container.events import event_endpoints
from config.container.graph import Container
from config.container.layouts import read_image_layout, write_image_layout
from config.container.surroundings import HashingThreads, new_id, utc_now

__all__ = [
    "Container",
    "HashingThreads",
    "check_settings",
    "event_endpoints",
    "new_id",
    "read_image_layout",
    "utc_now",
    "write_image_layout",
]
