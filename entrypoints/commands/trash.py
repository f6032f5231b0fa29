"""`registry trash list|restore|empty`: list, restore or permanently remove deleted content while servers run."""

import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Final

from core.model.names import RepositoryName
from core.restoration.listing import Removal
from core.restoration.service import Restoration
from core.trash.store import TrashSummary
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import OPERATOR, run_on_store
from entrypoints.documents import discard_document, removal_document, restoration_document
from entrypoints.exit_codes import ExitCode
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication

_TAGS_SHOWN_MAX: Final = 3


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|restore|empty")
    listing = actions.add_parser("list", help="list entries that can be restored, oldest first", allow_abbrev=False)
    add_file_argument(listing)
    listing.add_argument("--repository", metavar="NAME", help="only deletions in this repository")
    listing.set_defaults(run_action=_list)
    restore = actions.add_parser("restore", help="restore an entry", allow_abbrev=False)
    restore.add_argument("entry", metavar="ENTRY", help="id of an entry, or NAME:TAG for the last deletion of a tag")
    add_file_argument(restore)
    restore.add_argument("--force", action="store_true", help="move tags that now point to other manifests")
    restore.set_defaults(run_action=_restore)
    empty = actions.add_parser("empty", help="remove entries permanently", allow_abbrev=False)
    add_file_argument(empty)
    what = empty.add_mutually_exclusive_group()
    what.add_argument("--entry", metavar="ENTRY", help="only this entry (default: all entries)")
    what.add_argument("--expired", action="store_true", help="only entries older than storage.trash.keep")
    empty.set_defaults(run_action=_empty)
    for action in (listing, restore, empty):
        action.add_argument("--json", action="store_true", help="print one JSON object per line")


def _run(arguments: Namespace) -> int:
    result: int = arguments.run_action(arguments)
    return result


def _list(arguments: Namespace) -> int:
    repository = RepositoryName(arguments.repository) if arguments.repository else None

    async def work(application: "RegistryApplication") -> int:
        count = 0
        trash = application.registry.trash
        async for removal in trash.removals(repository):
            document = removal_document(removal, expires_at=trash.expires_at(removal.entry))
            sys.stdout.write((json.dumps(document) if arguments.json else _line(removal)) + "\n")
            count += 1
        return count

    count = run_on_store(arguments.file, work)
    if not count and not arguments.json:
        sys.stdout.write("the trash is empty\n")
    return ExitCode.OK


def _restore(arguments: Namespace) -> int:
    async def work(application: "RegistryApplication") -> Restoration:
        return await application.registry.restore(arguments.entry, by=OPERATOR, force=arguments.force)

    restoration = run_on_store(arguments.file, work)
    if arguments.json:
        sys.stdout.write(json.dumps(restoration_document(restoration)) + "\n")
    else:
        _print_restoration(restoration)
    return ExitCode.NOT_FOUND if restoration.lost else ExitCode.OK


def _empty(arguments: Namespace) -> int:
    async def work(application: "RegistryApplication") -> TrashSummary:
        trash = application.registry.trash
        if arguments.entry:
            return await trash.discard(arguments.entry)
        return await (trash.expire() if arguments.expired else trash.empty())

    summary = run_on_store(arguments.file, work)
    if arguments.json:
        sys.stdout.write(json.dumps(discard_document(summary)) + "\n")
    else:
        entries = plural(summary.entries, "entry", "entries")
        blobs = plural(summary.blobs, "blob")
        sys.stdout.write(f"{entries} removed permanently, with {blobs} ({format_bytes(summary.blob_bytes)})\n")
    return ExitCode.OK


def _line(removal: Removal) -> str:
    entry = removal.entry
    told = [entry.id, entry.when.strftime("%Y-%m-%d %H:%M:%SZ"), entry.by or "-", _what(removal)]
    return "  ".join([*told, entry.reason] if entry.reason else told)


def _what(removal: Removal) -> str:
    parts = [f"{name}:{tag}" for name, tag, _ in removal.tags[:_TAGS_SHOWN_MAX]]
    if len(removal.tags) > _TAGS_SHOWN_MAX:
        parts.append(f"{len(removal.tags) - _TAGS_SHOWN_MAX} more tags")
    if not parts and removal.entry.repository:
        parts.append(removal.entry.repository)
    if removal.manifests:
        parts.append(plural(removal.manifests, "manifest"))
    if removal.links > removal.manifests + len(removal.tags):
        parts.append(plural(removal.links, "link"))
    if removal.blobs:
        parts.append(f"{plural(removal.blobs, 'blob')} ({format_bytes(removal.blob_bytes)})")
    return ", ".join(parts) or "nothing"


def _print_restoration(restoration: Restoration) -> None:
    for name, tag, digest in restoration.tags:
        sys.stdout.write(f"restored {name}:{tag} at {digest}\n")
    for digest in restoration.missing:
        sys.stdout.write(f"not restored: {digest} no longer exists\n")
    for digest in restoration.lost:
        sys.stderr.write(f"not restored: {digest} is no longer in the trash\n")
    manifests = plural(restoration.manifests, "manifest")
    if restoration.lost:
        sys.stdout.write(f"restored {restoration.entry.id} in part, with {manifests}; the entry stays in the trash\n")
    elif not restoration.tags:
        sys.stdout.write(f"restored {restoration.entry.id}, with {manifests}\n")


TRASH: Final = Command(
    name="trash",
    help="list, restore or remove deleted and collected content",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: arguments.action != "list",
)
