"""The subcommands of `registry`, one module each, listed in `ALL`."""

from typing import Final

from entrypoints.commands.base import Command
from entrypoints.commands.catalog import CATALOG
from entrypoints.commands.config import CONFIG
from entrypoints.commands.copy import COPY
from entrypoints.commands.doctor import DOCTOR
from entrypoints.commands.export import EXPORT
from entrypoints.commands.garbage_collect import GARBAGE_COLLECT
from entrypoints.commands.import_ import IMPORT
from entrypoints.commands.notifications import NOTIFICATIONS
from entrypoints.commands.readonly import READONLY
from entrypoints.commands.repository import REPOSITORY
from entrypoints.commands.retention import RETENTION
from entrypoints.commands.serve import SERVE
from entrypoints.commands.trash import TRASH
from entrypoints.commands.verify import VERIFY

ALL: Final[tuple[Command, ...]] = (
    SERVE,
    CONFIG,
    CATALOG,
    GARBAGE_COLLECT,
    COPY,
    DOCTOR,
    EXPORT,
    IMPORT,
    REPOSITORY,
    RETENTION,
    TRASH,
    VERIFY,
    READONLY,
    NOTIFICATIONS,
)
