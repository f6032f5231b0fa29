"""From the start to the first answer with 100,000 repositories in the folder: `python -m tests.benchmarks.start_time`.

The median of five starts with the defaults that ship; prints Markdown.
"""

import statistics
import tempfile
import time
from pathlib import Path

from tests.support.processes import RegistryServer

REPOSITORIES = 100_000
STARTS = 5


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name:
        folder = Path(name)
        root = folder / "storage/docker/registry/v2/repositories/bench"
        root.mkdir(parents=True)
        for number in range(REPOSITORIES):
            (root / f"app-{number:06d}/_manifests").mkdir(parents=True)
        seconds = []
        server = RegistryServer(folder / "server", folder / "storage", may_fork=False)
        for _ in range(STARTS):
            began = time.perf_counter()
            server.start()
            seconds.append(time.perf_counter() - began)
            server.stop()
        print(f"| start to first answer, {REPOSITORIES:,} repositories | {statistics.median(seconds):.2f} s |")


if __name__ == "__main__":
    main()
