"""Access to the store for commands: load the configuration and open the adapters, as the server does."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

from config.loader import find_path, load
from config.logging import configure_logging
from config.settings import Settings, StorageKind
from core.concurrency import closing
from core.errors import StorageUnavailableError
from core.model.events import Actor
from core.store import layout

if TYPE_CHECKING:
    from config.container import Container

T = TypeVar("T")

OPERATOR: Final = Actor("the command line")
"""Actor in the records of commands; it stands for anyone who can read the configuration file."""


def run_on_store(file: str | None, work: Callable[["Container"], Awaitable[T]], *, makes_store: bool = False) -> T:
    """Load the configuration, open storage, catalog, cache and outbox, and run `work` on them while servers run.

    Args:
        file: path of the configuration file from the command line, if any.
        work: called with the container, whose adapters are open.
        makes_store: whether the store may be empty or missing; otherwise an empty store is an error, and nothing is
            created.

    Raises:
        ConfigError: the configuration is invalid.
        StorageError: an adapter cannot be opened.
    """
    loaded = load(find_path(file))
    configure_logging(loaded.settings.log)
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import Container  # noqa: PLC0415

    container = Container(settings=loaded.settings, makes_store=makes_store)
    return asyncio.run(_opened(container, work, makes_store=makes_store))


async def require_store(container: "Container") -> None:
    """Require that the open storage holds a registry. Costs one listing.

    A wrong path, bucket or mount looks like an empty registry, which a report would show as healthy.

    Raises:
        StorageUnavailableError: the storage holds no registry.
    """
    storage = container.blob_storage()
    async with closing(storage.list_children(layout.ROOT)) as children:
        async for name in children:
            # An earlier command may have created the control folder where there was no registry.
            if f"{layout.ROOT}/{name}" != layout.CONTROL:
                return
    raise StorageUnavailableError(
        f"there is no registry in {_place(container.settings())}: nothing was pushed there yet, or the setting differs "
        "from that of the server"
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
        # Removed content must also be dropped from a cache that processes share.
        await stack.enter_async_context(container.descriptor_cache())
        await stack.enter_async_context(container.outbox_lifetime())
        return await work(container)
