"""Passes of a copy on the command line: repetition, signals, progress and reports."""

import asyncio
import json
import signal
import sys
import time
from abc import ABC, abstractmethod
from argparse import Namespace
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Final

from core.coordination.budget import Budget, Rates
from core.errors import StorageError
from core.transfer.tally import TransferProblem, TransferProgress
from entrypoints.exit_codes import ExitCode
from entrypoints.progress import Measure, ProgressDisplay
from entrypoints.text import format_bytes, plural

_PROBLEMS_MAX: Final = 1000
"""Maximum number of problems listed in the JSON report; all are counted."""


class CopyPasses(ABC):
    """Runs the passes and reports on them; reports go to stdout, progress and problems to stderr."""

    def __init__(self, arguments: Namespace) -> None:
        self.arguments = arguments
        self.display = ProgressDisplay(sys.stderr, clock=time.monotonic, is_quiet=arguments.quiet)
        rates = Rates(requests_per_second=arguments.requests_per_second, bytes_per_second=arguments.bytes_per_second)
        self.budget = Budget(rates, clock=time.monotonic, sleep=asyncio.sleep)
        self.passed = 0
        """Number of complete passes."""
        self._problems: list[TransferProblem] = []
        self._code = ExitCode.FAILURE

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[object]:
        """Open both sides during the block."""

    @abstractmethod
    async def copy(self) -> TransferProgress:
        """Run one pass on the open sides, and return its counts."""

    async def run(self) -> int:
        """Run the requested passes; return the exit code of the last one that completed."""
        passes = asyncio.ensure_future(self._passes())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, passes.cancel)
        try:
            await passes
        except asyncio.CancelledError:
            if self.arguments.watch is None:
                self.display.line("interrupted: run the command again to resume")
                return ExitCode.FAILURE
        finally:
            self.display.clear()
        return self._code

    def observe(self, progress: TransferProgress) -> None:
        """Show the progress of a pass."""
        # A watching copy is idle most of the time, so there is no progress to show.
        if progress.bytes_sent or self.arguments.watch is None:
            measure = Measure(done=progress.bytes_sent, total=progress.bytes_expected)
            self.display.show(measure, f"{progress.repositories:,}. {progress.repository}")

    def report(self, problem: TransferProblem) -> None:
        """Show a problem, and list it in the report."""
        if len(self._problems) < _PROBLEMS_MAX:
            self._problems.append(problem)
        self.display.line(f"problem: {problem.line()}")

    async def _passes(self) -> None:
        async with self.opened():
            if self.arguments.watch is None:
                self._code = await self._pass()
                return
            while True:
                try:
                    self._code = await self._pass()
                except StorageError as error:
                    self._code = ExitCode.STORAGE
                    self.display.line(f"pass failed, retrying in {self.arguments.watch:g} s: {error}")
                await asyncio.sleep(self.arguments.watch)

    async def _pass(self) -> ExitCode:
        self._problems.clear()
        began = time.monotonic()
        done = await self.copy()
        self.passed += 1
        self._print(done, time.monotonic() - began)
        return ExitCode.FAILURE if done.problems else ExitCode.OK

    def _print(self, done: TransferProgress, seconds: float) -> None:
        self.display.clear()
        if self.arguments.json:
            report = {key: value for key, value in asdict(done).items() if key not in {"repository", "bytes_expected"}}
            listed = [asdict(problem) for problem in self._problems]
            text = json.dumps({**report, "seconds": round(seconds, 3), "listed_problems": listed})
        else:
            text = summary(done, is_dry=self.arguments.dry_run)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def summary(done: TransferProgress, *, is_dry: bool) -> str:
    """Return the counts of a pass as a line of text."""
    return (
        f"{'would copy' if is_dry else 'copied'}: {plural(done.repositories, 'repository', 'repositories')} compared, "
        f"{plural(done.blobs_sent, 'blob')} sent ({format_bytes(done.bytes_sent)} read), "
        f"{done.blobs_present:,} already there, {done.layers_linked:,} linked, "
        f"{plural(done.manifests_copied, 'manifest')}, {plural(done.tags_copied, 'tag')}, {done.deleted:,} deleted, "
        f"{done.extra:,} only at the target, {plural(done.problems, 'problem')}"
    )
