"""`registry catalog rebuild [config.yml]`: fill the catalog index from storage while servers run."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from config.loader import find_path, load
from config.logging import configure_logging
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import require_store
from entrypoints.text import plural

if TYPE_CHECKING:
    from config.container import Container


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="rebuild")
    rebuild = actions.add_parser("rebuild", help="fill the index from storage while servers run")
    add_file_argument(rebuild)


def _run(arguments: Namespace) -> int:
    loaded = load(find_path(arguments.file))
    configure_logging(loaded.settings.log)
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import Container  # noqa: PLC0415

    sys.stdout.write(asyncio.run(_rebuild(Container(settings=loaded.settings, makes_store=False))) + "\n")
    return 0


async def _rebuild(container: "Container") -> str:
    """Rebuild the index and return the text to print."""
    catalog = container.catalog()
    if catalog.is_derived:
        return "nothing to rebuild: the catalog is read from storage on each request (SEARCH_BACKEND is unset)"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(container.blob_storage())
        # Without this check, a wrong path or bucket would remove all names from the index.
        await require_store(container)
        await stack.enter_async_context(container.catalog_index())
        count = await catalog.rebuild()
    return f"{plural(count, 'repository', 'repositories')} in the catalog index"


CATALOG: Final = Command(name="catalog", help="maintain the catalog index", add_arguments=_add_arguments, run=_run)
