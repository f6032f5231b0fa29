"""Opening and closing of the parts of an application object, for the server and for every command."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from config.settings import Settings, StorageKind
from core.concurrency import closing
from core.errors import StorageUnavailableError
from core.store import layout

if TYPE_CHECKING:
    from config.container import StoreApplication


@asynccontextmanager
async def opened(
    application: "StoreApplication",
    *,
    only: Sequence[AbstractAsyncContextManager[object]] | None = None,
    requires_content: bool = False,
) -> AsyncIterator[None]:
    """Open the parts of an application inside the block; if one fails, close those that are open.

    Args:
        application: the application whose `lifetimes` are opened in order and closed in reverse order.
        only: the parts to open, if the caller needs fewer than all `lifetimes`: what it does not use must not stop it.
        requires_content: whether an empty storage is an error, before anything else is opened: an index that opens
            may create its file or its table.

    Raises:
        StorageError: a part cannot be opened.
        StorageUnavailableError: the storage holds no registry, and `requires_content` is set.
        CredentialSourceError: a file of users or keys is invalid.
    """
    async with AsyncExitStack() as stack:
        for part in application.lifetimes if only is None else only:
            await stack.enter_async_context(part)
            if requires_content and part is application.storage:
                await require_content(application)
        yield


async def require_content(application: "StoreApplication") -> None:
    """Require that the open storage holds a registry. Costs one listing.

    A wrong path, bucket or mount looks like an empty registry, which a report would show as healthy.

    Raises:
        StorageUnavailableError: the storage holds no registry.
    """
    async with closing(application.storage.list_children(layout.ROOT)) as children:
        async for name in children:
            # An earlier command may have created the control folder where there was no registry.
            if f"{layout.ROOT}/{name}" != layout.CONTROL:
                return
    raise StorageUnavailableError(
        f"there is no registry in {_place(application.settings)}: nothing was pushed there yet, or the setting differs "
        "from that of the server"
    )


def _place(settings: Settings) -> str:
    storage = settings.storage
    if (bucket := storage.bucket) is not None:
        name = "container" if storage.kind is StorageKind.SWIFT else "bucket"
        return f"storage.{storage.kind}.{name} ({bucket.bucket}, rootdirectory {bucket.root_directory or '/'})"
    match storage.kind:
        case StorageKind.FILESYSTEM:
            return f"storage.filesystem.rootdirectory ({storage.filesystem.root_directory})"
        case StorageKind.SCS:
            return f"storage.scs.bucket ({storage.scs.bucket})"
        case _:
            return "the memory of this process"
