"""`registry mirror status|run`: show the mirrors and their last runs, and run one now."""

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from core.errors import UnknownError, UnsupportedError
from core.store import layout
from core.transfer.mirrors import Mirror, MirrorState
from core.transfer.tally import TransferProblem, TransferProgress
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.layouts import new_display
from entrypoints.commands.opening import OPERATOR, run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.progress import Measure
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication

_PATIENCE_SECONDS: Final = 45.0
"""Longer than the lease of a server that was killed."""


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="status|run")
    status = actions.add_parser("status", help="show the mirrors and their last runs", allow_abbrev=False)
    status.set_defaults(dry_run=True)
    run = actions.add_parser("run", help="run one mirror now", allow_abbrev=False)
    run.add_argument("name", metavar="NAME", help="name of the mirror")
    run.add_argument("--dry-run", action="store_true", help="write nothing; report what would be copied")
    run.add_argument("--verify", action="store_true", help="check the content of unchanged tags too")
    run.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    for action in (status, run):
        add_file_argument(action)
        action.add_argument("--json", action="store_true", help="print JSON")


def _run(arguments: Namespace) -> int:
    work = _status if arguments.action == "status" else _run_one
    return run_on_store(arguments.file, lambda application: work(application, arguments), makes_store=True)


async def _status(application: "RegistryApplication", arguments: Namespace) -> int:
    service = application.new_mirror_service()
    states = [(mirror, await service.state(mirror)) for mirror in service.mirrors]
    if arguments.json:
        sys.stdout.write(json.dumps([_as_json(mirror, state) for mirror, state in states]) + "\n")
        return ExitCode.OK
    if not states:
        sys.stdout.write("no mirrors are configured\n")
    for mirror, state in states:
        sys.stdout.write(f"{mirror.rules.name}: {mirror.source_name}/{mirror.rules.repository} to {mirror.rules.to}\n")
        for line in _lines(mirror, state):
            sys.stdout.write(f"  {line}\n")
    return ExitCode.OK


async def _run_one(application: "RegistryApplication", arguments: Namespace) -> int:
    service = application.new_mirror_service()
    found = [
        (mirror, lease)
        for mirror, lease in zip(service.mirrors, application.mirror_leases, strict=True)
        if mirror.rules.name == arguments.name
    ]
    if not found:
        known = ", ".join(mirror.rules.name for mirror in service.mirrors) or "none"
        raise UnknownError(f"there is no mirror {arguments.name}; configured: {known}")
    mirror, lease = found[0]
    display = new_display(arguments)

    def observe(progress: TransferProgress) -> None:
        display.show(Measure(done=progress.bytes_sent), progress.repository)

    def report(problem: TransferProblem) -> None:
        display.line(f"problem: {problem.line()}")

    # Blobs that servers found damaged count as missing and are copied again.
    await application.damage.poll()
    if not await lease.acquire(_PATIENCE_SECONDS):
        raise UnsupportedError(f"a server runs the mirror {arguments.name} now; see `registry mirror status`")
    try:
        async with lease.keeping():
            done = await service.run(
                mirror,
                by=OPERATOR,
                observe=observe,
                report=report,
                rechecks=arguments.verify,
                is_dry=arguments.dry_run,
            )
            if not arguments.dry_run:
                # The interval of the servers begins with this run.
                await application.storage.write(layout.job(mirror.rules.job), b"{}")
    finally:
        display.clear()
    _print(done, arguments)
    return ExitCode.OK if done.is_good else ExitCode.FAILURE


def _print(done: MirrorState, arguments: Namespace) -> None:
    if arguments.json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
        return
    sys.stdout.write(f"{'would copy' if arguments.dry_run else 'copied'}: {_counts(done)}\n")


def _counts(done: MirrorState) -> str:
    return (
        f"{plural(done.repositories, 'repository', 'repositories')}, {plural(done.tags_copied, 'tag')}, "
        f"{plural(done.manifests_copied, 'manifest')}, {plural(done.blobs_sent, 'blob')} "
        f"({format_bytes(done.bytes_sent)}), {done.deleted:,} deleted, {plural(done.problems, 'problem')}"
    )


def _lines(mirror: Mirror, state: MirrorState | None) -> list[str]:
    if state is None:
        return ["never run"]
    lines = [
        f"last run:     {state.ended}: {_counts(state)}",
        f"last success: {state.succeeded or 'none'}",
        f"next run:     {_next(mirror, state)}",
    ]
    if state.error:
        lines.append(f"error:        {state.error}")
    return lines + [f"problem:      {problem}" for problem in state.listed_problems]


def _next(mirror: Mirror, state: MirrorState) -> str:
    """Return when the next run is due; a server notices this within 10 minutes."""
    if state.error:
        return "within 10 minutes, because the last one failed"
    return (datetime.fromisoformat(state.ended) + timedelta(seconds=mirror.rules.every_seconds)).isoformat()


def _as_json(mirror: Mirror, state: MirrorState | None) -> dict[str, object]:
    return {
        "name": mirror.rules.name,
        "from": mirror.source_name,
        "repository": mirror.rules.repository,
        "to": mirror.rules.to,
        "every_seconds": mirror.rules.every_seconds,
        "last_run": None if state is None else asdict(state),
        "next_run": None if state is None or state.error else _next(mirror, state),
    }


MIRROR: Final = Command(
    name="mirror",
    help="show the scheduled copies from other registries, and run one now",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: not arguments.dry_run,
)
