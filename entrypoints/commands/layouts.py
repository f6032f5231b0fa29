"""What `export` and `import` share: their words on the command line, and a registry without a server."""

import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from config.loader import find_path, load
from config.logging import configure_logging
from entrypoints.progress import ProgressDisplay

if TYPE_CHECKING:
    from config.container import Container


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take the configuration file off the words, if they begin with one: a name that ends in `.yml` or `.yaml`."""
    if words and words[0].endswith((".yml", ".yaml")):
        return words[0], list(words[1:])
    return None, list(words)


def build_container(file: str | None) -> "Container":
    """Load the configuration, set up logging, and return what is built from it.

    Raises:
        ConfigError: see `config.loader.load`.
    """
    loaded = load(find_path(file))
    configure_logging(loaded.settings.log)
    for warning in loaded.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    # Here and not above, so that the other commands start without storage SDKs.
    from config.container import Container  # noqa: PLC0415

    return Container(settings=loaded.settings)


@asynccontextmanager
async def opened(container: "Container") -> AsyncIterator[None]:
    """Have storage and catalog index open."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(container.blob_storage())
        await stack.enter_async_context(container.catalog_index())
        yield


def new_display(arguments: Namespace) -> ProgressDisplay:
    """Return where the progress of the command is shown."""
    return ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.quiet)
