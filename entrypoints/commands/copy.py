"""`registry copy --from old.yml --to new.yml`: copy repositories between two storages while both are served."""

import asyncio
import hashlib
import json
import signal
import socket
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress
from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Final

from config.environment import Side
from config.errors import ConfigError
from config.loader import Loaded, find_plain_variables, load_side
from config.logging import configure_logging
from core.coordination.budget import Budget, Rates
from core.errors import StorageError
from core.transfer.context import CopyContext
from core.transfer.copy import Selection, StorageCopy
from core.transfer.tally import Tally, TransferProblem, TransferProgress
from entrypoints.commands.base import Command
from entrypoints.exit_codes import ExitCode
from entrypoints.opening import opened, require_content
from entrypoints.progress import Measure, ProgressDisplay
from entrypoints.text import format_bytes, plural

if TYPE_CHECKING:
    from config.container import RegistryApplication, StoreApplication

_PROBLEMS_MAX: Final = 1000
"""Maximum number of problems listed in the JSON report; all are counted."""


def _add_arguments(parser: ArgumentParser) -> None:
    for side, what in ((Side.FROM, "source (only read)"), (Side.TO, "target")):
        parser.add_argument(
            f"--{side}", dest=f"{side}_file", metavar="FILE", required=True, help=f"configuration file of the {what}"
        )
    parser.add_argument(
        "--env",
        type=Side,
        choices=tuple(Side),
        help="configuration that REGISTRY_* and SEARCH_BACKEND* variables apply to (default: none). "
        "REGISTRY_FROM_* always applies to the source, REGISTRY_TO_* to the target",
    )
    parser.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="GLOB",
        help="copy only matching repositories: * is any text without a slash, ** any text; may be repeated",
    )
    parser.add_argument(
        "--delete", action="store_true", help="delete tags, manifests and links that the source no longer has"
    )
    parser.add_argument(
        "--verify-target", action="store_true", help="re-hash blobs that the target has, and replace damaged ones"
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing; report what would be done")
    parser.add_argument(
        "--watch", type=_amount, metavar="SECONDS", help="repeat this long after each pass, until interrupted"
    )
    _add_limits(parser)
    parser.add_argument("--json", action="store_true", help="print the report of each pass as a line of JSON")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def _add_limits(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--blobs-at-once", type=_count, default=4, metavar="N", help="blobs above 1 MiB to copy at once (default: 4)"
    )
    parser.add_argument(
        "--requests-per-second", type=_amount, metavar="N", help="maximum requests to both storages together"
    )
    parser.add_argument("--bytes-per-second", type=_amount, metavar="N", help="maximum bytes read from the source")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ArgumentTypeError(f"must be at least 1, not {text}")
    return count


def _amount(text: str) -> float:
    amount = float(text)
    if not 0 < amount < inf:
        raise ArgumentTypeError(f"must be more than 0, not {text}")
    return amount


def _run(arguments: Namespace) -> int:
    if arguments.env is None and (names := find_plain_variables()):
        sys.stderr.write(
            f"warning: {', '.join(names)}: applied to neither configuration; "
            "use --env from, --env to, or the names REGISTRY_FROM_… and REGISTRY_TO_…\n"
        )
    source = _load(arguments.from_file, Side.FROM, arguments.env)
    target = _load_target(arguments)
    for side, loaded in ((Side.FROM, source), (Side.TO, target)):
        for warning in loaded.warnings:
            sys.stderr.write(f"warning: --{side}: {warning}\n")
    configure_logging(target.settings.log)
    # Imported here, so that the other commands start without storage SDKs.
    from config.container import build_registry, build_store  # noqa: PLC0415

    copier = _Copier(arguments, build_store(source.settings), build_registry(target.settings, makes_store=True))
    return asyncio.run(copier.run())


def _load(path: str, side: Side, plain: Side | None) -> Loaded:
    try:
        return load_side(path, side, plain=plain)
    except ConfigError as error:
        raise ConfigError([f"--{side}: {problem}" for problem in error.problems]) from None


def _load_target(arguments: Namespace) -> Loaded:
    return _load(arguments.to_file, Side.TO, arguments.env)


class _Copier:
    """Runs the passes and reports on them; reports go to stdout, progress and problems to stderr."""

    def __init__(self, arguments: Namespace, source: "StoreApplication", target: "RegistryApplication") -> None:
        self._arguments = arguments
        self._source = source
        self._target = target
        self._display = ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.quiet)
        self._problems: list[TransferProblem] = []
        self._code = ExitCode.FAILURE
        self._passed = 0
        rates = Rates(requests_per_second=arguments.requests_per_second, bytes_per_second=arguments.bytes_per_second)
        self._budget = Budget(rates, clock=time.monotonic, sleep=asyncio.sleep)

    async def run(self) -> int:
        """Run the requested passes; return the exit code of the last one that completed."""
        passes = asyncio.ensure_future(self._passes())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, passes.cancel)
        try:
            await passes
        except asyncio.CancelledError:
            if self._arguments.watch is None:
                self._display.line("interrupted: run the command again to resume")
                return ExitCode.FAILURE
        finally:
            self._display.clear()
        return self._code

    async def _passes(self) -> None:
        target = self._target
        only = [target.storage] if self._arguments.dry_run else target.storage_and_catalog
        async with opened(self._source), opened(target, only=only):
            if self._arguments.watch is None:
                self._code = await self._pass()
                return
            while True:
                try:
                    self._code = await self._pass()
                except StorageError as error:
                    self._code = ExitCode.STORAGE
                    self._display.line(f"pass failed, retrying in {self._arguments.watch:g} s: {error}")
                await asyncio.sleep(self._arguments.watch)

    async def _pass(self) -> ExitCode:
        # A missing source would look as if all its repositories had been deleted.
        await require_content(self._source)
        self._problems.clear()
        began = time.monotonic()
        copy = StorageCopy(self._context(), self._selection(), catalog=self._target.registry.catalog)
        measuring = asyncio.ensure_future(self._expect(copy))
        try:
            done = await copy.run()
        finally:
            measuring.cancel()
            with suppress(asyncio.CancelledError):
                await measuring
        if not self._arguments.dry_run:
            await self._target.registry.catalog.flush_pending()
        self._passed += 1
        self._print(done, time.monotonic() - began)
        return ExitCode.FAILURE if done.problems else ExitCode.OK

    async def _expect(self, copy: StorageCopy) -> None:
        # After its first pass, a watching copy has little to send, and would list all blobs again on each pass.
        if self._arguments.quiet or self._arguments.dry_run or self._passed:
            return
        # The estimate serves the display only; the copy itself reports a storage that fails.
        with suppress(StorageError):
            await copy.expect()

    def _context(self) -> CopyContext:
        return CopyContext(
            source=self._source.storage,
            target=self._target.storage,
            transfer_id=_transfer_id(self._arguments),
            new_hasher=self._target.new_hasher,
            offload=self._target.offload,
            budget=self._budget,
            sleep=asyncio.sleep,
            tally=Tally(observe=self._observe, report=self._report),
            guard=self._target.guard,
            trash=self._target.trash,
            is_dry=self._arguments.dry_run,
            rereads_target=self._arguments.verify_target,
            blobs_at_once=self._arguments.blobs_at_once,
        )

    def _selection(self) -> Selection:
        return Selection(patterns=self._arguments.repository, follows_deletions=self._arguments.delete)

    def _observe(self, progress: TransferProgress) -> None:
        # A watching copy is idle most of the time, so there is no progress to show.
        if progress.bytes_sent or self._arguments.watch is None:
            measure = Measure(done=progress.bytes_sent, total=progress.bytes_expected)
            self._display.show(measure, f"{progress.repositories:,}. {progress.repository}")

    def _report(self, problem: TransferProblem) -> None:
        if len(self._problems) < _PROBLEMS_MAX:
            self._problems.append(problem)
        self._display.line(f"problem: {problem.line()}")

    def _print(self, done: TransferProgress, seconds: float) -> None:
        self._display.clear()
        if self._arguments.json:
            report = {key: value for key, value in asdict(done).items() if key not in {"repository", "bytes_expected"}}
            listed = [asdict(problem) for problem in self._problems]
            text = json.dumps({**report, "seconds": round(seconds, 3), "listed_problems": listed})
        else:
            text = _summary(done, is_dry=self._arguments.dry_run)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _summary(done: TransferProgress, *, is_dry: bool) -> str:
    return (
        f"{'would copy' if is_dry else 'copied'}: {plural(done.repositories, 'repository', 'repositories')} compared, "
        f"{plural(done.blobs_sent, 'blob')} sent ({format_bytes(done.bytes_sent)} read), "
        f"{done.blobs_present:,} already there, {done.layers_linked:,} linked, "
        f"{plural(done.manifests_copied, 'manifest')}, {plural(done.tags_copied, 'tag')}, {done.deleted:,} deleted, "
        f"{done.extra:,} only at the target, {plural(done.problems, 'problem')}"
    )


def _transfer_id(arguments: Namespace) -> str:
    """Return an id for the copy: stable across restarts, different for other machines, files or repositories."""
    parts = (socket.gethostname(), arguments.from_file, arguments.to_file, *sorted(arguments.repository))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


COPY: Final = Command(
    name="copy",
    help="copy repositories from one storage to another while servers run",
    add_arguments=_add_arguments,
    run=_run,
    changes=lambda arguments: not arguments.dry_run,
    load=_load_target,
)
