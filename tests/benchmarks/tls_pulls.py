"""Work over TLS beside distribution: `python -m tests.benchmarks.tls_pulls [NAME=PROGRAM …]`, a table as Markdown.

Ours, Debian's docker-registry and further builds of distribution use one certificate: curl pulls a blob of 256 MiB over
one connection and over four, a client in Python pushes blobs of 64 MiB, wrk asks for a manifest over 16 connections,
and connections are opened. The rounds are interleaved, the figures are medians. `CPU` is the server's processor time
for each blob, request or connection. TLS 1.3, with AES-128-GCM for all.
"""

import http.client
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from tests.benchmarks.content import LARGE_BYTES, MIB
from tests.benchmarks.usage import cpu_seconds, memory_mib
from tests.support.certificates import Authority, Pair
from tests.support.oci import digest_of
from tests.support.processes import SERVE_OUR_REGISTRY, RegistryServer
from tests.support.tls_servers import answers_over_tls
from tests.support.tools import find_tool

ROUNDS = 5
PUSHED_BYTES = 64 * MIB
PUSHES = 4
CONNECTIONS = 200
WRK_SECONDS = 3
REPOSITORY = "bench/tls"
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
CIPHER = "TLS_AES_128_GCM_SHA256"
"""Go prefers it, and curl and wrk do not."""
CLIENT_CONFIGURATION: Final = f"""
openssl_conf = all
[all]
ssl_conf = tls
[tls]
system_default = suites
[suites]
Ciphersuites = {CIPHER}
"""


class _TlsServer(RegistryServer):
    def __init__(self, folder: Path, storage: Path, pair: Pair, program: tuple[str, ...]) -> None:
        tls: dict[str, Any] = {"certificate": str(pair.certificate), "key": str(pair.key)}
        environment = {"OTEL_TRACES_EXPORTER": "none"}
        super().__init__(folder, storage, command=program, config={"http": {"tls": tls}}, environment=environment)

    @override
    def answers(self) -> bool:
        return answers_over_tls(self.port)

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=_client_context())


@cache
def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


Work = Callable[[_TlsServer], int]
"""Does something and returns how often."""


def main() -> None:
    """Measure and print."""
    programs = {"ours": tuple(SERVE_OUR_REGISTRY), "docker-registry": (find_tool("docker-registry"), "serve")}
    programs |= {name: (path, "serve") for name, _, path in (entry.partition("=") for entry in sys.argv[1:])}
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        pair = Authority(folder).issue("server")
        servers = {
            each: stack.enter_context(_TlsServer(folder / each, folder / f"{each}-storage", pair, program))
            for each, program in programs.items()
        }
        # The servers are running, and keep OpenSSL's own order.
        os.environ["OPENSSL_CONF"] = str(folder / "client.cnf")
        (folder / "client.cnf").write_text(CLIENT_CONFIGURATION)
        content = os.urandom(LARGE_BYTES)
        for server in servers.values():
            _push(server, content)
            _push_image(server)
        blob = f"/v2/{REPOSITORY}/blobs/{digest_of(content)}"
        print(f"| work | {' | '.join(servers)} | ours / best |\n|{' --- |' * (len(servers) + 2)}")
        for connections in (1, 4):
            pull = partial(_pull, path=blob, connections=connections)
            _compare(servers, f"256 MiB pull, connections: {connections}", pull, 256)
        _compare(servers, "64 MiB push", _push_blobs, 64)
        _compare(servers, "manifest by tag", _read_manifests)
        _compare(servers, "new connection with one request", _open_connections)
        memory = [f"{_memory_of_connection(each):.0f}" for each in servers.values()]
        print(f"| idle connection, KiB | {' | '.join(memory)} | |")


def _compare(servers: Mapping[str, _TlsServer], name: str, work: Work, mib: int = 0) -> None:
    """Print a row with the rate and the processor time, and the ratios of both to the best of the others."""
    rates: dict[str, list[float]] = {each: [] for each in servers}
    costs: dict[str, list[float]] = {each: [] for each in servers}
    for server in servers.values():
        work(server)
    for _ in range(ROUNDS):
        for each, server in servers.items():
            cpu, began = cpu_seconds(server.pid), time.perf_counter()
            count = work(server)
            rates[each].append(count * (mib or 1) / (time.perf_counter() - began))
            costs[each].append((cpu_seconds(server.pid) - cpu) * 1_000 / count)
    rate = {each: statistics.median(found) for each, found in rates.items()}
    cost = {each: statistics.median(found) for each, found in costs.items()}
    others = [each for each in servers if each != "ours"]
    ratio = rate["ours"] / max(rate[each] for each in others)
    saving = min(cost[each] for each in others) / cost["ours"]
    shown = [f"{rate[each]:,.0f} ({cost[each]:.3g})" for each in servers]
    unit = "MiB/s" if mib else "/s"
    print(f"| {name}, {unit} (CPU ms) | {' | '.join(shown)} | {ratio:.2f} ({saving:.2f}) |", flush=True)


def _pull(server: _TlsServer, path: str, connections: int) -> int:
    command = ["curl", "-sfk", "--http1.1", "-o", "/dev/null", f"https://127.0.0.1:{server.port}{path}"]
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(lambda _: subprocess.run(command, check=True), range(connections)))
    return connections


def _push_blobs(server: _TlsServer) -> int:
    content = bytearray(PUSHED_BYTES)
    for _ in range(PUSHES):
        content[:64] = os.urandom(64)
        _push(server, content)
    return PUSHES


def _push(server: _TlsServer, content: bytes | bytearray) -> None:
    connection = server.connect()
    location = _call(connection, "POST", f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]
    target = location[location.index("/v2/") :]
    target += f"{'&' if '?' in target else '?'}digest={digest_of(bytes(content))}"
    pieces = (memoryview(content)[start : start + MIB] for start in range(0, len(content), MIB))
    _call(connection, "PUT", target, pieces, {"Content-Length": str(len(content))})
    connection.close()


def _push_image(server: _TlsServer) -> None:
    config = b"{}"
    _push(server, config)
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": described, "layers": []}
    body, headers = json.dumps(manifest).encode(), {"Content-Type": MEDIA_TYPE}
    _call(server.connect(), "PUT", f"/v2/{REPOSITORY}/manifests/v1", body, headers)


def _call(
    connection: http.client.HTTPSConnection, method: str, target: str, body: Any = None, headers: Any = None
) -> http.client.HTTPResponse:
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{method} {target}: {response.status} {answer[:200]!r}")
    return response


def _read_manifests(server: _TlsServer) -> int:
    url = f"https://127.0.0.1:{server.port}/v2/{REPOSITORY}/manifests/v1"
    command = ["wrk", "-t1", "-c16", f"-d{WRK_SECONDS}s", "-H", f"Accept: {MEDIA_TYPE}", url]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in printed:
        raise RuntimeError(printed)
    return int(printed.partition(" requests in")[0].split()[-1])


def _open_connections(server: _TlsServer) -> int:
    """Open connections without resumption of a session."""
    for _ in range(CONNECTIONS):
        connection = server.connect()
        _call(connection, "GET", "/v2/")
        connection.close()
    return CONNECTIONS


def _memory_of_connection(server: _TlsServer) -> float:
    before = memory_mib(server.pid)
    connections = [server.connect() for _ in range(CONNECTIONS)]
    for connection in connections:
        _call(connection, "GET", "/v2/")
    after = memory_mib(server.pid)
    for connection in connections:
        connection.close()
    return (after - before) * 1024 / CONNECTIONS


if __name__ == "__main__":
    main()
