"""Pulls over TLS beside distribution: `python -m tests.benchmarks.tls_pulls [NAME=PROGRAM …]`, a table as Markdown.

Ours, Debian's docker-registry and further builds of distribution serve one folder with one certificate; curl pulls a
blob of 256 MiB over one connection and over four. The rounds are interleaved, the figures are medians. The last rows
are the cost of a new connection.
"""

import http.client
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from typing_extensions import override

from tests.benchmarks.content import LARGE_BYTES, MIB
from tests.benchmarks.usage import cpu_seconds
from tests.benchmarks.wire import connected, push_blob, scratch_file
from tests.support.certificates import Authority, Pair
from tests.support.oci import digest_of
from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer
from tests.support.tls_servers import answers_over_tls
from tests.support.tools import find_tool

ROUNDS = 5
CONNECTIONS = 2_000
REPOSITORY = "bench/tls"


class _TlsServer(RegistryServer):
    def __init__(self, folder: Path, storage: Path, pair: Pair, program: tuple[str, ...]) -> None:
        tls: dict[str, Any] = {"certificate": str(pair.certificate), "key": str(pair.key)}
        environment = {"OTEL_TRACES_EXPORTER": "none"}
        super().__init__(folder, storage, command=program, config={"http": {"tls": tls}}, environment=environment)

    @override
    def answers(self) -> bool:
        return answers_over_tls(self.port)


def main() -> None:
    """Measure and print."""
    programs = {"ours": tuple(SERVE_OUR_REGISTRY), "docker-registry": (find_tool("docker-registry"), "serve")}
    programs |= {name: (path, "serve") for name, _, path in (entry.partition("=") for entry in sys.argv[1:])}
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        data = os.urandom(LARGE_BYTES)
        digest, storage = digest_of(data), folder / "storage"
        with RegistryServer(folder / "filling", storage) as filling, connected(filling.port) as connection:
            push_blob(connection, REPOSITORY, digest, scratch_file(folder, data))
        pair = Authority(folder).issue("server")
        servers = {
            each: stack.enter_context(_TlsServer(folder / each, storage, pair, program))
            for each, program in programs.items()
        }
        for connections in (1, 4):
            _measure(servers, digest, connections)
        _measure_connections(servers)


def _measure(servers: dict[str, _TlsServer], digest: str, connections: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            url = f"https://127.0.0.1:{server.port}/v2/{REPOSITORY}/blobs/{digest}"
            cpu, began = cpu_seconds(server.pid), time.perf_counter()
            with ThreadPoolExecutor(connections) as pool:
                list(pool.map(_pull, [url] * connections))
            rates[name].append(connections * LARGE_BYTES / MIB / (time.perf_counter() - began))
            costs[name].append((cpu_seconds(server.pid) - cpu) * 1_000 / connections)
    best = max(statistics.median(each) for name, each in rates.items() if name != "ours")
    for name in servers:
        rate = statistics.median(rates[name])
        ratio = f"{rate / best:.2f}" if name == "ours" else ""
        print(
            f"| TLS, {connections} connections | {name} | {rate:,.0f} MiB/s | "
            f"{statistics.median(costs[name]):.0f} ms CPU | {ratio} |"
        )


def _measure_connections(servers: dict[str, _TlsServer]) -> None:
    """Print the processor time of a new connection with one request; sessions are not resumed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, server in servers.items():
        cpu = cpu_seconds(server.pid)
        for _ in range(CONNECTIONS):
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
            connection.request("GET", "/v2/")
            connection.getresponse().read()
            connection.close()
        milliseconds = (cpu_seconds(server.pid) - cpu) * 1_000 / CONNECTIONS
        print(f"| new TLS connection with one request | {name} | | {milliseconds:.2f} ms CPU | |")


def _pull(url: str) -> None:
    subprocess.run(["curl", "-sfk", "--http1.1", "-o", "/dev/null", url], check=True)


if __name__ == "__main__":
    main()
