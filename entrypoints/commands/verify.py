"""`registry verify [config.yml]`: read the whole store while servers run, report damage, and repair it."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from core.coordination.budget import Budget, Rates
from core.coordination.lease import Lease
from core.model.names import RepositoryName
from core.ports.metrics import Metrics
from core.store import layout
from core.verification.findings import Finding
from core.verification.journal import Checkpoint
from core.verification.rules import VerificationOptions
from core.verification.verifier import VerificationProgress
from entrypoints.commands.base import Command, add_file_argument
from entrypoints.commands.opening import load_and_warn
from entrypoints.documents import counts_document
from entrypoints.exit_codes import ExitCode
from entrypoints.jobs.verifying import progress_fields
from entrypoints.observability.jobs import MetricsFile, VerificationObserver
from entrypoints.opening import opened
from entrypoints.priority import add_priority_option
from entrypoints.progress import Measure, ProgressDisplay
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication

LEASE_SECONDS: Final = 10.0
"""Time that the lease of a killed verification blocks the next one."""
PATIENCE_SECONDS: Final = 3 * LEASE_SECONDS
_IMAGES_MAX: Final = 10_000
"""Maximum number of images listed in the summary; each finding lists all images that it affects."""
_PARTS_PER_PHASE: Final = 1000


def _add_arguments(parser: ArgumentParser) -> None:
    add_file_argument(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="quarantine damaged data (the next push replaces it), rebuild or remove broken links, repair the catalog",
    )
    parser.add_argument("--repository", type=str, metavar="NAME", help="only this repository, with its blobs")
    parser.add_argument("--fast", action="store_true", help="check sizes and links only, without reading data")
    parser.add_argument("--restart", action="store_true", help="start over instead of resuming an interrupted run")
    parser.add_argument("--requests-per-second", type=float, metavar="N", help="maximum requests to the store")
    parser.add_argument("--bytes-per-second", type=float, metavar="N", help="maximum bytes read from the store")
    add_priority_option(parser)
    parser.add_argument("--json", action="store_true", help="print each finding and the summary as a line of JSON")
    parser.add_argument(
        "--metrics-file", type=Path, metavar="FILE", help="write progress to FILE as metrics, for a textfile collector"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _run(arguments: Namespace) -> int:
    loaded = load_and_warn(arguments.file)
    options = VerificationOptions(
        repository=RepositoryName(arguments.repository) if arguments.repository else None,
        fast=arguments.fast,
        repair=arguments.repair,
        restart=arguments.restart,
    )
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry, make_command_metrics  # noqa: PLC0415

    numbers = _MetricsReporter(arguments.metrics_file, make_command_metrics()) if arguments.metrics_file else None
    return asyncio.run(_verify(build_registry(loaded.settings), options, arguments, numbers))


async def _verify(
    application: "RegistryApplication",
    options: VerificationOptions,
    arguments: Namespace,
    numbers: "_MetricsReporter | None",
) -> int:
    reporter = _Reporter(sys.stdout, is_json=arguments.json, is_quiet=arguments.quiet)
    rates = Rates(requests_per_second=arguments.requests_per_second, bytes_per_second=arguments.bytes_per_second)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            opened(application, only=application.storage_and_catalog, requires_content=True)
        )
        lease = Lease(
            application.storage,
            layout.lease(options.job),
            owner_id=lambda: f"{socket.gethostname()}-{os.getpid()}",
            ttl=LEASE_SECONDS,
            clock=time.monotonic,
            sleep=asyncio.sleep,
        )
        if not await lease.acquire(PATIENCE_SECONDS):
            sys.stderr.write(f"registry: {await lease.owner()} is already running the same verification\n")
            return ExitCode.FAILURE
        await stack.enter_async_context(lease.keeping())
        verifier = application.new_verifier(budget=Budget(rates, clock=time.monotonic, sleep=asyncio.sleep))
        work = asyncio.ensure_future(
            verifier.run(options, on_finding=reporter.report_finding, on_progress=_also(reporter, numbers, lease))
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        try:
            counted = await work
            if numbers is not None:
                numbers.report_end(counted)
            await application.announcements.finish()
        except asyncio.CancelledError:
            reporter.report_interruption()
            return ExitCode.FAILURE
    reporter.report_summary(counted)
    return _exit_code(counted)


def _exit_code(counted: Checkpoint) -> ExitCode:
    if counted.left:
        return ExitCode.DAMAGE
    return ExitCode.REPAIRED if counted.damage else ExitCode.OK


class _MetricsReporter:
    """Writes the progress to a metrics file."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._observer = VerificationObserver(metrics)
        self._file = MetricsFile(path, metrics)

    def report_progress(self, progress: VerificationProgress) -> None:
        """Write the progress, at most every few seconds."""
        self._observer.progress(progress)
        self._file.write_sometimes()

    def report_end(self, counted: Checkpoint) -> None:
        """Write the final counts."""
        self._observer.done(counted)
        self._file.write()


def _also(
    reporter: "_Reporter", numbers: _MetricsReporter | None, lease: Lease
) -> Callable[[VerificationProgress], None]:
    def report(progress: VerificationProgress) -> None:
        reporter.report_progress(progress)
        lease.note(progress_fields(progress))
        if numbers is not None:
            numbers.report_progress(progress)

    return report


class _Reporter:
    """Writes findings to stdout and the progress to stderr."""

    def __init__(self, out: TextIO, *, is_json: bool, is_quiet: bool) -> None:
        self._out = out
        self._is_json = is_json
        self._display = ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=is_quiet)
        self._told: set[tuple[str, str, str]] = set()
        self._images: dict[str, set[str]] = {}
        self._images_count = 0

    def report_finding(self, finding: Finding) -> None:
        """Print a finding, unless it was printed before."""
        if finding.identity in self._told:
            return
        self._remember(finding)
        if self._is_json:
            self._print_json({"type": "finding", **finding.as_json()})
            return
        self._display.clear()
        word = "damage" if finding.is_damage else "note"
        where = finding.repository or finding.digest
        self._out.write(f"{word}: {finding.kind} {where}: {finding.detail} [{finding.outcome}]\n    {finding.key}\n")
        for image in finding.images:
            self._out.write(f"    affects {image}\n")
        self._out.flush()

    def report_progress(self, progress: VerificationProgress) -> None:
        """Show the progress."""
        counted = progress.counted
        if progress.is_resumed:
            self._display.line(f"resuming an interrupted verification in phase {progress.phase!s}")
        text = (
            f"{progress.phase}: {plural(counted.blobs, 'blob')}, {format_bytes(counted.blob_bytes)}, "
            f"{plural(counted.repositories, 'repository', 'repositories')}, {counted.damage:,} damaged"
        )
        done = round((progress.fraction or 0) * _PARTS_PER_PHASE)
        total = None if progress.fraction is None else _PARTS_PER_PHASE
        self._display.show(Measure(done=done, total=total, is_bytes=False), text)

    def report_interruption(self) -> None:
        """Print that a new run resumes the verification."""
        self._display.clear()
        self._display.line("interrupted: run the command again to resume")

    def report_summary(self, counted: Checkpoint) -> None:
        """Print the totals, and the images that each damaged blob affects."""
        self._display.clear()
        if self._is_json:
            images = {digest: sorted(names) for digest, names in sorted(self._images.items())}
            self._print_json({"type": "summary", **counts_document(counted), "images": images})
            return
        for digest, names in sorted(self._images.items()):
            self._out.write(f"images affected by {digest}: {', '.join(sorted(names))}\n")
        self._out.write(
            f"verified: {plural(counted.blobs, 'blob')} ({format_bytes(counted.blob_bytes)} read), "
            f"{plural(counted.manifests, 'manifest')} in {plural(counted.repositories, 'repository', 'repositories')}: "
            f"{counted.damage:,} damaged, {counted.left:,} not repaired, {plural(counted.notes, 'note')}\n"
        )

    def _remember(self, finding: Finding) -> None:
        if self._images_count < _IMAGES_MAX and finding.is_damage:
            self._told.add(finding.identity)
            if finding.digest and finding.images:
                self._images.setdefault(finding.digest, set()).update(finding.images)
                self._images_count += len(finding.images)

    def _print_json(self, document: dict[str, Any]) -> None:
        self._out.write(json.dumps(document) + "\n")
        self._out.flush()


VERIFY: Final = Command(
    name="verify",
    help="verify the store while servers run, report damage, and repair it",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: bool(arguments.repair),
)
