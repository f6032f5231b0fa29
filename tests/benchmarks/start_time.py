"""From the start to the first answer with 100,000 repositories: `python -m tests.benchmarks.start_time [PYTHON]`.

The medians of nine starts on a folder with the defaults that ship; prints Markdown. PYTHON is an interpreter with the
packages of the image alone (`UV_PROJECT_ENVIRONMENT=FOLDER uv sync --no-default-groups`): dependency-injector imports
werkzeug, which only the tests need, where it is installed.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.usage import cpu_seconds, memory_mib
from tests.support.processes import RegistryServer

REPOSITORIES = 100_000
STARTS = 9
POLL_SECONDS = 0.005
REST_SECONDS = 3.0
"""Time between the first answer and the measurement of memory."""


def main() -> None:
    """Measure and print."""
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name:
        folder = Path(name)
        root = folder / "storage/docker/registry/v2/repositories/bench"
        root.mkdir(parents=True)
        for number in range(REPOSITORIES):
            (root / f"app-{number:06d}/_manifests").mkdir(parents=True)
        seconds, processor, memory = [], [], []
        serve = (python, "-m", "entrypoints.cli", "serve")
        server = RegistryServer(folder / "server", folder / "storage", command=serve, may_fork=False)
        for _ in range(STARTS):
            began = time.perf_counter()
            server.launch()
            server.wait_until_ready(poll_seconds=POLL_SECONDS)
            seconds.append(time.perf_counter() - began)
            processor.append(cpu_seconds(server.pid))
            time.sleep(REST_SECONDS)
            memory.append(memory_mib(server.pid))
            server.stop()
        print(f"| start to first answer, {REPOSITORIES:,} repositories | {statistics.median(seconds):.2f} s |")
        print(f"| processor time of it, all processes | {statistics.median(processor):.2f} s |")
        print(f"| memory at rest, all processes (PSS) | {statistics.median(memory):.0f} MiB |")


if __name__ == "__main__":
    main()
