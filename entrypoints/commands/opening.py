"""The store for commands: load the configuration, build the registry and open it, as the server does."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from config.loaded import Loaded
from config.loader import find_path, load
from config.logging import configure_logging
from core.model.events import Actor
from entrypoints.opening import opened

if TYPE_CHECKING:
    from config.container import RegistryApplication

T = TypeVar("T")

OPERATOR: Final = Actor("the command line")
"""Actor in the records of commands; it stands for anyone who can read the configuration file."""


def load_and_warn(file: str | None) -> Loaded:
    """Load the configuration, set up the log, and print the warnings.

    Args:
        file: path of the configuration file from the command line, if any.

    Raises:
        ConfigError: the configuration is invalid.
    """
    loaded = load(find_path(file))
    configure_logging(loaded.settings.log)
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return loaded


def run_on_store(
    file: str | None, work: Callable[["RegistryApplication"], Awaitable[T]], *, makes_store: bool = False
) -> T:
    """Load the configuration, open the registry, and run `work` on it while servers run.

    Args:
        file: path of the configuration file from the command line, if any.
        work: called with the open registry.
        makes_store: whether the store may be empty or missing; otherwise an empty store is an error, and nothing is
            created.

    Raises:
        ConfigError: the configuration is invalid.
        StorageError: an adapter cannot be opened.
    """
    loaded = load_and_warn(file)
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry  # noqa: PLC0415

    application = build_registry(loaded.settings, makes_store=makes_store)

    async def run() -> T:
        async with opened(application, requires_content=not makes_store):
            return await work(application)

    return asyncio.run(run())
