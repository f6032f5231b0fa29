"""Sampling of metrics that no request updates, once a second."""

import asyncio
import logging
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from core.ports.metrics import Merge, Metrics

_logger = logging.getLogger(__name__)

SAMPLE_SECONDS: Final = 1.0
LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATM: Final = Path("/proc/self/statm")
_DESCRIPTORS: Final = Path("/proc/self/fd")


class Sampler:
    """Calls readers once a second; one per process.

    A reader is a function without arguments that sets gauges from values already in memory. Readers must not block.
    """

    def __init__(self, metrics: Metrics, *, worker: int) -> None:
        self._lag = metrics.histogram(
            "registry_event_loop_lag_seconds",
            "Seconds by which the event loop woke up late.",
            buckets=LAG_BUCKETS,
        )
        self._readers: list[Callable[[], None]] = [_ProcessReader(metrics, worker)]
        self._failed: set[Callable[[], None]] = set()

    def register(self, read: Callable[[], None]) -> None:
        """Call `read` once a second from now on."""
        self._readers.append(read)

    def sample(self) -> None:
        """Call all readers once. The first failure of a reader is logged; the other readers still run."""
        for read in self._readers:
            try:
                read()
            except Exception:
                if read not in self._failed:
                    _logger.exception("metric sampling failed")
                self._failed.add(read)

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Sample for the lifetime of the application (a cleanup context)."""
        self.sample()
        task = asyncio.create_task(self._repeat(), name="sampler")
        yield
        task.cancel()
        await asyncio.wait([task])

    async def _repeat(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self._lag(max(clock() - due, 0.0))
            self.sample()


class _ProcessReader:
    """Reader of the resources that one worker uses."""

    def __init__(self, metrics: Metrics, worker: int) -> None:
        self._worker = str(worker)
        label = ["worker"]
        self._memory = metrics.gauge(
            "registry_worker_resident_memory_bytes", "Resident memory of a worker in bytes.", label
        )
        self._descriptors = metrics.gauge("registry_worker_open_fds", "Open file descriptors of a worker.", label)
        self._descriptors_max = metrics.gauge(
            "registry_worker_max_fds", "Maximum number of open file descriptors of a worker.", label
        )
        self._processor = metrics.counter(
            "registry_worker_cpu_seconds_total", "Processor time of a worker in seconds.", label
        )
        self._processor_before = 0.0
        began = metrics.gauge("registry_worker_start_time_seconds", "Start time of a worker in Unix time.", label)
        began(time.time(), self._worker)
        starts = metrics.counter("registry_worker_starts_total", "Starts of a worker.", label)
        starts(1, self._worker)
        up = metrics.gauge("registry_workers", "Running workers.", merge=Merge.SUM)
        up(1)

    def __call__(self) -> None:
        self._memory(int(_STATM.read_text().split()[1]) * _PAGE_BYTES, self._worker)
        self._descriptors(sum(1 for _ in _DESCRIPTORS.iterdir()), self._worker)
        self._descriptors_max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], self._worker)
        processor = time.process_time()
        self._processor(processor - self._processor_before, self._worker)
        self._processor_before = processor
