"""`registry notifications list|replay|drop [config.yml]`: manage queued events and dead letters.

The command works on the outbox directly, while servers run; a server delivers the replayed events.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from core.notifications.outbox import BatchName, DeadLetter, Outbox, QueuedEvent
from core.notifications.queues import replay
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import run_on_store
from entrypoints.exit_codes import ExitCode

if TYPE_CHECKING:
    from config.container import RegistryApplication


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """Line of the list: a queued event, or a dead letter if it has a `letter`."""

    endpoint: str
    name: BatchName
    document: Any
    letter: DeadLetter | None = None

    def as_json(self) -> dict[str, Any]:
        told = {
            "state": "dead" if self.letter else "queued",
            "endpoint": self.endpoint,
            "recorded": self.name.moment.isoformat(timespec="milliseconds"),
            "event": self.document,
        }
        return told | ({"reason": self.letter.reason, "attempts": self.letter.attempts} if self.letter else {})

    def line(self) -> str:
        target = self.document["target"]
        named = f":{target['tag']}" if "tag" in target else f"@{target['digest']}" if target.get("digest") else ""
        recorded = self.name.moment.isoformat(timespec="seconds")
        why = f"  ({self.letter.reason})" if self.letter else ""
        return (
            f"{self.document['id']}  {self.endpoint}  {recorded}  {self.document['action']} "
            f"{target['repository']}{named}{why}"
        )


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|replay|drop")
    listing = actions.add_parser("list", help="list dead letters or queued events")
    listing.add_argument("--queued", action="store_true", help="queued events instead of dead letters")
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    listing.set_defaults(run_action=_list)
    replaying = actions.add_parser("replay", help="deliver dead letters again")
    replaying.set_defaults(run_action=_replay)
    drop = actions.add_parser("drop", help="remove dead letters or queued events permanently")
    drop.add_argument("--queued", action="store_true", help="queued events instead of dead letters")
    drop.set_defaults(run_action=_drop)
    for changing in (replaying, drop):
        changing.add_argument("--id", action="append", default=[], help="id of an event; may be repeated")
        changing.add_argument("--all", action="store_true", help="all events, or all of --endpoint")
        changing.add_argument("--json", action="store_true", help="print the count as JSON")
    for each in (listing, replaying, drop):
        each.add_argument("--endpoint", help="only events of this endpoint")
        add_file_argument(each)


def _run(arguments: Namespace) -> int:
    if arguments.action != "list" and bool(arguments.id) == arguments.all:
        sys.stderr.write("registry: give either --id or --all\n")
        return ExitCode.USAGE

    async def work(application: "RegistryApplication") -> int:
        outbox = application.outbox
        endpoints = sorted(await outbox.endpoints())
        if arguments.endpoint is not None:
            endpoints = [name for name in endpoints if name == arguments.endpoint]
        code: int = await arguments.run_action(outbox, endpoints, arguments)
        return code

    return run_on_store(arguments.file, work)


async def _list(outbox: Outbox, endpoints: Sequence[str], arguments: Namespace) -> int:
    async for entry in _entries(outbox, endpoints, queued=arguments.queued):
        text = json.dumps(entry.as_json(), ensure_ascii=False) if arguments.json else entry.line()
        sys.stdout.write(text + "\n")
    return ExitCode.OK


async def _replay(outbox: Outbox, endpoints: Sequence[str], arguments: Namespace) -> int:
    ids = None if arguments.all else arguments.id
    counts = [await replay(outbox, endpoint, await outbox.dead(endpoint), ids=ids) for endpoint in endpoints]
    return _print("replayed", sum(counts), arguments)


async def _drop(outbox: Outbox, endpoints: Sequence[str], arguments: Namespace) -> int:
    count = 0
    chosen: dict[tuple[str, BatchName], set[str]] = {}
    async for entry in _chosen(outbox, endpoints, arguments):
        chosen.setdefault((entry.endpoint, entry.name), set()).add(entry.document["id"])
        count += 1
    for (endpoint, name), ids in chosen.items():
        if arguments.queued:
            await outbox.take_out(endpoint, name, ids)
        else:
            await outbox.drop(endpoint, [name])
    return _print("dropped", count, arguments)


def _print(what: str, count: int, arguments: Namespace) -> int:
    sys.stdout.write(json.dumps({what: count}) + "\n" if arguments.json else f"{count} {what}\n")
    return ExitCode.OK if count or arguments.all else ExitCode.NOT_FOUND


async def _chosen(outbox: Outbox, endpoints: Sequence[str], arguments: Namespace) -> AsyncIterator[_Entry]:
    async for entry in _entries(outbox, endpoints, queued=arguments.queued):
        if arguments.all or entry.document["id"] in arguments.id:
            yield entry


async def _entries(outbox: Outbox, endpoints: Sequence[str], *, queued: bool) -> AsyncIterator[_Entry]:
    for endpoint in endpoints:
        for name in await (outbox.queued if queued else outbox.dead)(endpoint):
            found: Sequence[QueuedEvent | DeadLetter | None] = (
                await outbox.read(endpoint, name) if queued else [await outbox.dead_letter(endpoint, name)]
            )
            for each in found:
                if each is not None:
                    letter = each if isinstance(each, DeadLetter) else None
                    yield _Entry(endpoint=endpoint, name=name, document=each.document, letter=letter)


NOTIFICATIONS: Final = Command(
    name="notifications",
    help="list, replay or drop events that were not delivered",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: arguments.action != "list",
)
