"""`registry search TEXT [config.yml]`: search names, tags, digests, labels and annotations while servers run."""

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from core.errors import InvalidInputError
from core.summaries.query import parse_query
from core.summaries.search import HITS_MAX, Hit, Search
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.text import format_bytes

if TYPE_CHECKING:
    from config.container import RegistryApplication


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "text",
        metavar="TEXT",
        help="words and terms that must all match: name:, tag:, digest:, label:key=value, annotation:key=value, "
        "platform:, media: (type) and type: (of an artifact); * stands for any text",
    )
    add_file_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def _run(arguments: Namespace) -> int:
    query = parse_query(arguments.text)
    if query.is_decided:
        raise InvalidInputError("TEXT is empty")

    async def work(application: "RegistryApplication") -> bool:
        registry = application.registry
        search, names = Search(registry.summaries), registry.catalog.reader()
        is_complete = True
        last: str | None = ""
        while last is not None:
            page = await search.page(query, names=names, n=HITS_MAX, last=last)
            for hit in page.hits:
                sys.stdout.write((json.dumps(hit.as_json()) if arguments.json else _line(hit)) + "\n")
            is_complete = is_complete and page.is_complete
            last = page.last
        return is_complete

    if not run_on_store(arguments.file, work):
        sys.stderr.write("some manifests could not be read; `registry verify` names them\n")
    return ExitCode.OK


def _line(hit: Hit) -> str:
    reference = f"{hit.repository}:{hit.tag}" if hit.tag else hit.repository
    size = format_bytes(hit.summary.size) if hit.summary else ""
    digest = hit.state.digest if hit.state else ""
    return "  ".join(filter(None, (reference, digest, size, ", ".join(hit.matched))))


SEARCH: Final = Command(
    name="search",
    help="search names, tags, digests, labels and annotations",
    add_arguments=_add_arguments,
    run=_run,
)
