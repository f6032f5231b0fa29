"""`registry tags NAME --history TAG`: list the changes of one tag."""

import json
import sys
from typing import TYPE_CHECKING, Final

from core.model.names import RepositoryName, Tag
from core.summaries.tag_history import HistoryQuery, as_json, marker
from entrypoints.commands.opening import run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication
    from core.summaries.history import HistoryEntry

_PAGE: Final = 500
_DIGEST_LENGTH: Final = 19
"""The algorithm and 12 digits, as `docker images` shows them."""


def print_history(file: str | None, name: RepositoryName, tag: Tag, *, as_lines: bool) -> int:
    """Print the changes of a tag, newest first, and return the exit code.

    Args:
        file: path of the configuration file from the command line, if any.
        name: the repository; its history outlives it.
        tag: the tag.
        as_lines: whether to print one JSON object per line.
    """

    async def work(application: "RegistryApplication") -> int:
        count, last = 0, ""
        while True:
            page = await application.registry.history.page(name, tag, HistoryQuery(n=_PAGE, last=last))
            for entry in page.items:
                sys.stdout.write(json.dumps(as_json(entry)) + "\n" if as_lines else _line(entry))
            count += len(page.items)
            if not page.has_more:
                return count
            last = marker(page.items[-1])

    count = run_on_store(file, work)
    if not as_lines:
        sys.stdout.write(f"{plural(count, 'change')}\n")
    return ExitCode.OK


def _line(entry: "HistoryEntry") -> str:
    digest = (entry.digest or "")[:_DIGEST_LENGTH]
    size = format_bytes(entry.size) if entry.media_type else "-"
    author = entry.by if entry.is_recorded else "(not recorded)"
    return "  ".join([entry.time, f"{entry.kind:<7}", digest, size, author]).rstrip() + "\n"
