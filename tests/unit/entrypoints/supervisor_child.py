"""A parent with two workers that only beat; `test_workers` stops one of them, and then the parent."""

import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from entrypoints.process.workers import Supervisor, Worker


def work(worker: Worker) -> int:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    worker.reports.ready("serving")
    while not stopping.wait(worker.reports.beat_seconds):
        worker.reports.alive()
    return 0


def main(watchdog_seconds: float, end_seconds: float) -> int:
    return Supervisor(work, 2, watchdog_seconds=watchdog_seconds, end_seconds=end_seconds).run()


sys.exit(main(float(sys.argv[1]), float(sys.argv[2])))
