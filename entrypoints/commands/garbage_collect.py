"""`registry garbage-collect [config.yml]`: remove content that no image needs, while servers run."""

import asyncio
import json
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from config.durations import format_duration, parse_duration
from core.collection.report import CollectionObserver, CollectionReport, Phase, RepositoryReport
from core.collection.run import CollectionOptions
from core.coordination import job_names
from core.coordination.budget import Rates
from core.coordination.lease import Lease
from core.store import layout
from entrypoints.collection_run import new_collector, progress_fields
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import OPERATOR, run_on_store
from entrypoints.exit_codes import ExitCode
from entrypoints.jobs.collection import hooks_of
from entrypoints.observability.jobs import MetricsFile, collection_observer
from entrypoints.priority import add_priority_option
from entrypoints.progress import Measure, ProgressDisplay
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication

PATIENCE_SECONDS: Final = 45.0
"""Time to wait for the lease; longer than the lease of a dead collector remains valid."""


def _add_arguments(parser: ArgumentParser) -> None:
    add_file_argument(parser)
    parser.add_argument("-d", "--dry-run", action="store_true", help="remove nothing; report what would be removed")
    parser.add_argument(
        "-m", "--delete-untagged", action="store_true", help="also remove manifests that no tag leads to"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    parser.add_argument(
        "--grace-period",
        type=_duration,
        metavar="DURATION",
        help="keep content younger than this: 90s, 45m, 24h (default: as configured; 0s with --offline)",
    )
    parser.add_argument(
        "--offline", action="store_true", help="skip all waiting; only while no server runs, or all are read-only"
    )
    parser.add_argument(
        "--trust-clock", action="store_true", help="count the time skipped by a jump of the store's clock as age"
    )
    parser.add_argument(
        "--despite-unreadable",
        action="store_true",
        help="remove blobs even if the store contains unreadable names that may refer to them",
    )
    parser.add_argument(
        "--in-server",
        action="store_true",
        help="let a server start the collection within a minute, if `enabled` is set",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--metrics-file", type=Path, metavar="FILE", help="write progress to FILE as metrics, for a textfile collector"
    )
    parser.add_argument("--requests-per-second", type=float, metavar="N", help="maximum requests to the store")
    parser.add_argument("--bytes-per-second", type=float, metavar="N", help="maximum bytes read from the store")
    add_priority_option(parser)


def _duration(text: str) -> timedelta:
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise ArgumentTypeError(f"invalid duration: {text!r} (90s, 45m, 24h)") from None
    # Distribution's files take a bare number as nanoseconds, which is never intended here.
    if (text.isdecimal() and seconds) or seconds < 0:
        raise ArgumentTypeError(f"invalid duration: {text!r} must have a unit and not be negative (90s, 45m, 24h)")
    return timedelta(seconds=seconds)


def _run(arguments: Namespace) -> int:
    if arguments.in_server:
        return run_on_store(arguments.file, _ask_server)
    return run_on_store(arguments.file, partial(_collect, arguments))


async def _ask_server(application: "RegistryApplication") -> int:
    if not application.settings.storage.garbage_collection.enabled:
        sys.stderr.write(
            "registry: no server collects garbage: storage.maintenance.garbagecollect.enabled is not set\n"
        )
        return ExitCode.FAILURE
    # Delete the record of the last run: the first replica that checks the schedule begins.
    await application.storage.delete([layout.job(job_names.COLLECTION)])
    sys.stdout.write("a server will start the collection within a minute\n")
    return ExitCode.OK


async def _collect(arguments: Namespace, application: "RegistryApplication") -> int:
    options = _options(arguments, application)
    reporter = _Reporter(
        sys.stdout,
        arguments,
        grace=options.effective_grace,
        trash_keep_seconds=application.settings.storage.trash_keep_seconds,
    )
    lease = application.collection_lease
    async with _holding(lease, is_needed=not arguments.dry_run) as is_held:
        if not is_held:
            sys.stderr.write(f"registry: {await lease.owner()} is already collecting garbage\n")
            return ExitCode.FAILURE
        if arguments.trust_clock:
            await application.store_clock.trust()
        collector = new_collector(
            application,
            options,
            rates=Rates(requests_per_second=arguments.requests_per_second, bytes_per_second=arguments.bytes_per_second),
            observe=_observer(arguments, reporter, lease),
            goes_on=lambda: arguments.dry_run or lease.is_held,
            before=hooks_of(application, by=OPERATOR),
        )
        work = asyncio.ensure_future(collector.run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        try:
            report = await work
        except asyncio.CancelledError:
            reporter.report_interruption()
            return ExitCode.FAILURE
    reporter.report_result(report)
    return ExitCode.OK if report.phase is Phase.DONE else ExitCode.FAILURE


def _observer(arguments: Namespace, reporter: "_Reporter", lease: Lease) -> CollectionObserver:
    """Return the observer of the run: the lease, the progress display, and a metrics file if one was requested.

    Raises:
        ConfigError: the metrics file cannot be written.
    """

    def show(report: CollectionReport) -> None:
        reporter.report_progress(report)
        lease.note(progress_fields(report))

    if arguments.metrics_file is None:
        return show
    from config.container import make_command_metrics  # noqa: PLC0415 - as in `run_on_store`

    metrics = make_command_metrics()
    count, file = collection_observer(metrics), MetricsFile(arguments.metrics_file, metrics)

    def observe(report: CollectionReport) -> None:
        show(report)
        count(report)
        # The final report must be in the file, however soon after the last write.
        if report.phase is Phase.DONE:
            file.write()
        else:
            file.write_sometimes()

    return observe


@asynccontextmanager
async def _holding(lease: Lease, *, is_needed: bool) -> AsyncIterator[bool]:
    """Hold the collection lease and yield whether it was acquired; a dry run needs none."""
    if not is_needed:
        yield True
    elif await lease.acquire(PATIENCE_SECONDS):
        async with lease.keeping():
            yield True
    else:
        yield False


def _options(arguments: Namespace, application: "RegistryApplication") -> CollectionOptions:
    settings = application.settings.storage.garbage_collection
    options = CollectionOptions(
        grace=timedelta(0) if arguments.offline else timedelta(seconds=settings.grace_seconds),
        deletes_untagged=arguments.delete_untagged,
        is_dry_run=arguments.dry_run,
        is_offline=arguments.offline,
        is_daring=arguments.despite_unreadable,
        settle_seconds=settings.settle_seconds,
    )
    return options if arguments.grace_period is None else replace(options, grace=arguments.grace_period)


class _Reporter:
    """Writes the report to stdout and the progress to stderr."""

    def __init__(self, out: TextIO, arguments: Namespace, *, grace: timedelta, trash_keep_seconds: float) -> None:
        self._out = out
        self._is_json = arguments.json
        self._is_quiet = arguments.quiet
        self._grace = grace
        self._trash_keep_seconds = trash_keep_seconds
        self._display = ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.quiet)

    def report_progress(self, report: CollectionReport) -> None:
        """Show the progress."""
        if report.phase is Phase.MARKING:
            measure = Measure(done=report.repositories, total=report.repositories_total, is_bytes=False)
        else:
            measure = Measure(done=report.round_done, total=report.round_items, is_bytes=False)
        text = (
            f"{report.phase}: {plural(report.repositories, 'repository', 'repositories')}, "
            f"{plural(report.manifests, 'manifest')}, {format_bytes(report.bytes_removed)} removed  {report.current}"
        )
        self._display.show(measure, text)

    def report_interruption(self) -> None:
        """Print that the next run resumes the collection."""
        self._display.clear()
        self._display.line("interrupted: the next collection resumes from here")

    def report_result(self, report: CollectionReport) -> None:
        """Print the results of the run, per repository and in total."""
        self._display.clear()
        if self._is_json:
            self._out.write(json.dumps(report.as_json()) + "\n")
        elif not self._is_quiet:
            self._out.writelines(line + "\n" for line in self._lines(report))
        if report.blobs_held:
            sys.stderr.write(
                f"registry: kept {plural(report.blobs_held, 'blob')} ({format_bytes(report.bytes_held)}), because "
                f"{plural(report.unreadable, 'unreadable name')} in the store may refer to them (listed as problems); "
                "rename or remove these names, or run again with --despite-unreadable\n"
            )

    def _lines(self, report: CollectionReport) -> list[str]:
        lines = [f"{name}: {_describe(part)}" for name, part in sorted(report.by_repository.items())]
        lines += [f"problem: {problem}" for problem in report.problems]
        if report.problem_count > len(report.problems):
            lines.append(plural(report.problem_count - len(report.problems), "more problem"))
        verb = "would be removed" if report.is_dry_run else "removed"
        lines.append(
            f"{plural(report.repositories, 'repository', 'repositories')}, {plural(report.manifests, 'manifest')}, "
            f"{plural(report.tags, 'tag')}; {plural(report.blobs, 'blob')} of {format_bytes(report.blob_bytes)}"
        )
        lines.append(
            f"{verb}: {_describe(report)}; {plural(report.blobs_removed, 'blob')}, {format_bytes(report.bytes_removed)}"
        )
        lines += self._reasons(report)
        if report.bytes_removed and not report.is_dry_run and self._trash_keep_seconds:
            keep = format_duration(self._trash_keep_seconds)
            lines.append(f"removed content stays in the trash for {keep}; `registry trash empty` frees the space now")
        return lines

    def _reasons(self, report: CollectionReport) -> list[str]:
        """Return the reasons why some garbage was kept."""
        lines = []
        if report.kept_young:
            lines.append(
                f"kept, younger than the grace period of {format_duration(self._grace.total_seconds())}: "
                f"{plural(report.kept_young, 'item')} (--grace-period; none with --offline)"
            )
        if report.clock_jump_seconds:
            lines.append(
                f"the store's clock jumped by {format_duration(round(report.clock_jump_seconds))}, or was not "
                "checked for that long; this time does not count as age (--trust-clock counts it)"
            )
        if pinned := report.spared + report.kept_pinned:
            lines.append(
                f"kept, because clients pushed, pulled or requested them in the last hours: {plural(pinned, 'item')} "
                "(none with --offline)"
            )
        if report.kept_untagged:
            lines.append(f"kept, untagged: {plural(report.kept_untagged, 'manifest')} (none with --delete-untagged)")
        removed = report.manifests_removed + report.layer_links_removed + report.blobs_removed
        if not (lines or removed or report.problem_count):
            lines.append("no garbage: a tag leads to all stored content")
        return lines


def _describe(part: RepositoryReport | CollectionReport) -> str:
    return (
        f"{plural(part.manifests_removed, 'manifest')}, {plural(part.layer_links_removed, 'layer link')}, "
        f"{plural(part.other_links_removed, 'other link')}"
    )


GARBAGE_COLLECT: Final = Command(
    name="garbage-collect",
    help="remove content that no image needs, while servers run",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: not arguments.dry_run,
)
