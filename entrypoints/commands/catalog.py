"""`registry catalog rebuild [config.yml]`: fill the catalog index from storage while servers run."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import load_and_warn
from entrypoints.opening import opened
from entrypoints.text import plural

if TYPE_CHECKING:
    from config.container import RegistryApplication


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="rebuild")
    rebuild = actions.add_parser("rebuild", help="fill the index from storage while servers run")
    add_file_argument(rebuild)


def _run(arguments: Namespace) -> int:
    loaded = load_and_warn(arguments.file)
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry  # noqa: PLC0415

    sys.stdout.write(asyncio.run(_rebuild(build_registry(loaded.settings))) + "\n")
    return 0


async def _rebuild(application: "RegistryApplication") -> str:
    """Rebuild the index and return the text to print."""
    catalog = application.registry.catalog
    if catalog.is_derived:
        return "nothing to rebuild: the catalog is read from storage on each request (SEARCH_BACKEND is unset)"
    # A wrong path or bucket would remove all names from the index.
    async with opened(application, only=application.storage_and_catalog, requires_content=True):
        count = await catalog.rebuild()
    return f"{plural(count, 'repository', 'repositories')} in the catalog index"


CATALOG: Final = Command(name="catalog", help="maintain the catalog index", add_arguments=_add_arguments, run=_run)
