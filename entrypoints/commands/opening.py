"""What commands that work on the store have in common: the configuration, opened as the server opens it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

from config.loader import find_path, load
from config.logging import configure_logging

if TYPE_CHECKING:
    from config.container import Container

T = TypeVar("T")

OPERATOR: Final = "the command line"
"""Who did it, for records: whoever may read the configuration file."""


def run_on_store(file: str | None, work: Callable[["Container"], Awaitable[T]]) -> T:
    """Load the configuration, open storage, catalog, cache and outbox, and do some work on them while servers serve.

    Args:
        file: the path of the configuration file as the command line has it.
        work: is given the container whose adapters are open.

    Raises:
        ConfigError: the configuration cannot be used.
        StorageError: one of them cannot be opened.
    """
    loaded = load(find_path(file))
    configure_logging(loaded.settings.log)
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    # Here and not above, so that the other commands start without storage SDKs.
    from config.container import Container  # noqa: PLC0415

    return asyncio.run(_opened(Container(settings=loaded.settings), work))


async def _opened(container: "Container", work: Callable[["Container"], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(container.blob_storage())
        await stack.enter_async_context(container.catalog_index())
        # What is removed is taken back from a cache that processes share.
        await stack.enter_async_context(container.descriptor_cache())
        await stack.enter_async_context(container.outbox_lifetime())
        return await work(container)
