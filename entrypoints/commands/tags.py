"""`registry tags NAME [config.yml]`: list the tags of a repository, or the history of one, while servers run."""

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from core.errors import InvalidInputError
from core.model.names import RepositoryName, Tag
from core.model.times import time_text
from core.summaries.paging import Cut
from core.summaries.tag_list import TAG_SORTS, TagDetails, TagQuery
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import run_on_store
from entrypoints.commands.tag_history import print_history
from entrypoints.exit_codes import ExitCode
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication

_PAGE: Final = 500
_SIZE_LENGTH: Final = len("999.9 MiB")
_DIGEST_LENGTH: Final = 19
"""The algorithm and 12 digits, as `docker images` shows them."""


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the repository")
    add_file_argument(parser)
    orders = ", ".join(TAG_SORTS)
    parser.add_argument("--sort", metavar="KEY", default="", help=f"{orders}; after a - descending: --sort=-pushed")
    parser.add_argument("--filter", metavar="GLOB", default="", help="only tags that match, such as 'v1.*'")
    parser.add_argument("--platform", metavar="OS/ARCH", default="", help="only images for this platform")
    parser.add_argument("--referrers", action="store_true", help="list the referrers of each tag too")
    parser.add_argument("--history", metavar="TAG", help="list the changes of a tag, newest first; the tag may be gone")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line and tag, or change")


def _run(arguments: Namespace) -> int:
    name = RepositoryName(arguments.name)
    if arguments.history is None:
        return _print_tags(arguments, name)
    if any((arguments.sort, arguments.filter, arguments.platform, arguments.referrers)):
        raise InvalidInputError("--history excludes --sort, --filter, --platform and --referrers")
    return print_history(arguments.file, name, Tag(arguments.history), as_lines=arguments.json)


def _print_tags(arguments: Namespace, name: RepositoryName) -> int:
    def query(last: str) -> TagQuery:
        return TagQuery.parse(
            sort=arguments.sort,
            glob=arguments.filter,
            platform=arguments.platform,
            has_referrers=arguments.referrers,
            cut=Cut(n=_PAGE, last=last),
        )

    query("")

    async def work(application: "RegistryApplication") -> tuple[int, bool]:
        lists = application.registry.tag_lists
        count, is_complete, last = 0, True, ""
        while True:
            page = await lists.page(name, query(last))
            width = max((len(item.tag) for item in page.items), default=0)
            for item in page.items:
                line = json.dumps(item.as_json()) + "\n" if arguments.json else _lines(item, width)
                sys.stdout.write(line)
            count += len(page.items)
            is_complete = is_complete and page.is_complete
            if page.following is None:
                return count, is_complete
            last = page.following

    count, is_complete = run_on_store(arguments.file, work)
    if not arguments.json:
        sys.stdout.write(f"{plural(count, 'tag')}\n")
    if not is_complete:
        sys.stderr.write("warning: some manifests could not be read, or are not summarized yet\n")
    return ExitCode.OK


def _lines(item: TagDetails, width: int) -> str:
    """Return the columns of a tag, the first of which has this width, and a line for each referrer."""
    summary = item.summary
    size = format_bytes(summary.size) if summary else "-"
    platforms = ",".join(each.text for each in summary.platforms) if summary else ""
    digest = item.state.digest[:_DIGEST_LENGTH]
    pushed = time_text(item.state.pushed_at.replace(microsecond=0))
    columns = [item.tag.ljust(width), digest, size.rjust(_SIZE_LENGTH), pushed]
    columns += [item.state.pushed_by] if item.state.pushed_by else []
    shown = item.as_json()
    described = platforms or shown.get("artifactType") or shown.get("mediaType") or ""
    lines = ["  ".join([*columns, described, *(["immutable"] if item.is_immutable else [])]).rstrip()]
    if item.referrers is not None:
        for referrer in item.referrers.items:
            kind = referrer.artifact_type or referrer.media_type
            lines.append(f"  <- {referrer.digest[:_DIGEST_LENGTH]}  {format_bytes(referrer.size)}  {kind}")
        if item.referrers.has_more:
            lines.append("  <- and more")
    return "\n".join(lines) + "\n"


TAGS: Final = Command(
    name="tags", help="list the tags of a repository with details", add_arguments=_add_arguments, run=_run
)
