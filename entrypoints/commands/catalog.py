"""`registry catalog rebuild [config.yml]`: fill the catalog index and the summaries from storage, while servers run."""

import asyncio
import sys
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from core.errors import ReadOnlyError
from core.store.time import store_time
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import load_and_warn
from entrypoints.opening import opened
from entrypoints.priority import add_priority_option
from entrypoints.progress import Measure, ProgressDisplay
from entrypoints.text import plural

if TYPE_CHECKING:
    from config.container import RegistryApplication


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="rebuild")
    rebuild = actions.add_parser("rebuild", help="fill the index and the summaries from storage while servers run")
    add_file_argument(rebuild)
    rebuild.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    add_priority_option(rebuild)


def _run(arguments: Namespace) -> int:
    loaded = load_and_warn(arguments.file)
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry  # noqa: PLC0415

    sys.stdout.write(asyncio.run(_rebuild(build_registry(loaded.settings), is_quiet=arguments.quiet)) + "\n")
    return 0


async def _rebuild(application: "RegistryApplication", *, is_quiet: bool) -> str:
    """Rebuild the index and the summaries, and return the text to print."""
    lines = []
    # A wrong path or bucket would remove all names from the index.
    async with opened(application, only=application.storage_and_catalog, requires_content=True):
        catalog = application.registry.catalog
        if catalog.is_derived:
            lines.append(
                "no index to rebuild: the catalog is read from storage on each request (SEARCH_BACKEND is unset)"
            )
        else:
            count = await catalog.rebuild()
            lines.append(f"{plural(count, 'repository', 'repositories')} in the catalog index")
        if application.settings.summaries.enabled:
            lines.append(await _rebuild_summaries(application, is_quiet=is_quiet))
    return "\n".join(lines)


async def _rebuild_summaries(application: "RegistryApplication", *, is_quiet: bool) -> str:
    """Summarize all repositories; what an earlier call has stored is not read again."""
    display = ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=is_quiet)

    def show(number: int) -> None:
        display.show(Measure(done=number, is_bytes=False), "repositories summarized")

    try:
        await application.read_only.require_writable()
        number = await application.new_folding().rebuild(await store_time(application.storage), on_progress=show)
    except ReadOnlyError as error:
        return f"summaries not built: {error}"
    finally:
        display.clear()
    return f"{plural(number, 'repository', 'repositories')} summarized"


CATALOG: Final = Command(name="catalog", help="maintain the catalog index", add_arguments=_add_arguments, run=_run)
