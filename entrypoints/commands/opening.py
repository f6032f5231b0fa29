"""What commands that work on the store have in common: the configuration, opened as the server opens it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

from config.loader import find_path, load
from config.logging import configure_logging
from config.settings import Settings, StorageKind
from core import layout
from core.concurrency import closing
from core.errors import StorageUnavailableError

if TYPE_CHECKING:
    from config.container import Container

T = TypeVar("T")

OPERATOR: Final = "the command line"
"""Who did it, for records: whoever may read the configuration file."""


def run_on_store(file: str | None, work: Callable[["Container"], Awaitable[T]], *, makes_store: bool = False) -> T:
    """Load the configuration, open storage, catalog, cache and outbox, and do some work on them while servers serve.

    Args:
        file: the path of the configuration file as the command line has it.
        work: is given the container whose adapters are open.
        makes_store: whether the store may be empty or missing; otherwise that is an error, and nothing is made.

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

    container = Container(settings=loaded.settings, makes_store=makes_store)
    return asyncio.run(_opened(container, work, makes_store=makes_store))


async def require_store(container: "Container") -> None:
    """Require that the open storage holds a registry. One listing.

    A wrong path, bucket or mount looks like an empty registry, for which a report would be all well.

    Raises:
        StorageUnavailableError: it holds none.
    """
    storage = container.blob_storage()
    async with closing(storage.list_children(layout.ROOT)) as children:
        async for name in children:
            # Earlier commands may have left this alone, where there was no registry.
            if f"{layout.ROOT}/{name}" != layout.CONTROL:
                return
    raise StorageUnavailableError(
        f"there is no registry in {_place(container.settings())}: nothing was pushed there yet, or the setting names "
        "another place than the one that is served"
    )


def _place(settings: Settings) -> str:
    storage = settings.storage
    match storage.kind:
        case StorageKind.FILESYSTEM:
            return f"storage.filesystem.rootdirectory ({storage.filesystem.root_directory})"
        case StorageKind.S3:
            return f"storage.s3.bucket ({storage.s3.bucket}, rootdirectory {storage.s3.root_directory or '/'})"
        case StorageKind.SCS:
            return f"storage.scs.bucket ({storage.scs.bucket})"
        case _:
            return "the memory of this process"


async def _opened(container: "Container", work: Callable[["Container"], Awaitable[T]], *, makes_store: bool) -> T:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(container.blob_storage())
        if not makes_store:
            await require_store(container)
        await stack.enter_async_context(container.catalog_index())
        # What is removed is taken back from a cache that processes share.
        await stack.enter_async_context(container.descriptor_cache())
        await stack.enter_async_context(container.outbox_lifetime())
        return await work(container)
