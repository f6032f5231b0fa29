"""Memory while twenty uploads of 1 GiB run at once: `python -m tests.benchmarks.upload_memory`, a table as Markdown.

The clients send from a file that all share, each with another beginning, as fast as the server takes it.
"""

import hashlib
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.usage import memory_mib
from tests.benchmarks.wire import connected, expect
from tests.support.processes import RegistryServer

UPLOADS = 20
BLOB_BYTES = 1024 * 1024 * 1024
PIECE_BYTES = 16 * 1024 * 1024
WORKERS = 2


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name:
        folder = Path(name)
        piece = os.urandom(PIECE_BYTES)
        config = {"http": {"workers": WORKERS}}
        with RegistryServer(folder / "server", folder / "storage", config=config, may_fork=False) as server:
            time.sleep(2)
            at_rest = memory_mib(server.pid)
            peaks: list[float] = []
            is_over = threading.Event()

            def watch() -> None:
                while not is_over.wait(0.2):
                    peaks.append(memory_mib(server.pid))

            watching = threading.Thread(target=watch)
            watching.start()
            began = time.perf_counter()
            with ThreadPoolExecutor(UPLOADS) as pool:
                list(pool.map(lambda number: _push(server.port, number, piece), range(UPLOADS)))
            seconds = time.perf_counter() - began
            is_over.set()
            watching.join()
    print(f"| {WORKERS} workers at rest | {at_rest:.0f} MiB |")
    print(f"| {UPLOADS} uploads of {BLOB_BYTES >> 20} MiB at once, at most | {max(peaks):.0f} MiB |")
    print(f"| all of them | {UPLOADS * BLOB_BYTES / 1024**2 / seconds:,.0f} MiB/s |")


def _push(port: int, number: int, piece: bytes) -> None:
    first = number.to_bytes(16) + piece[16:]
    digest = hashlib.sha256(first)
    for _ in range(BLOB_BYTES // PIECE_BYTES - 1):
        digest.update(piece)
    with connected(port) as connection:
        begun = expect(connection.request("POST", f"/v2/bench/{number}/blobs/uploads/"), 202)
        location = begun.headers["location"]
        for index in range(BLOB_BYTES // PIECE_BYTES):
            sent = expect(connection.request("PATCH", location, piece if index else first), 202)
            location = sent.headers["location"]
        expect(connection.request("PUT", f"{location}&digest=sha256:{digest.hexdigest()}"), 201)


if __name__ == "__main__":
    main()
