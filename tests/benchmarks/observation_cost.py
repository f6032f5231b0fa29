"""The cost of observing a request: processor time of a server without metrics, with them, and with traces.

    python -m tests.benchmarks.observation_cost [requests]

Processor time is read from /proc, so that other work on the machine does not count. The settings take turns, and the
best of three rounds of each is shown.
"""

import http.client
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.usage import cpu_seconds
from tests.support.oci import make_image
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.ports import free_port
from tests.support.processes import RegistryServer
from tests.support.registry_client import RegistryClient

ROUNDS = 3
REQUESTS = 3000


@contextmanager
def running(folder: Path, kind: str, collector: str) -> Iterator[RegistryServer]:
    """Start a server that is watched so: `off`, `metrics`, `traces`."""
    config: dict[str, Any] = {"http": {"workers": 1}, "log": {"accesslog": {"disabled": True}}}
    environment = {}
    if kind == "metrics":
        config["http"]["debug"] = {"addr": f"127.0.0.1:{free_port()}", "prometheus": {"enabled": True}}
    elif kind == "traces":
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    with RegistryServer(folder / kind, folder / "storage", config=config, environment=environment) as server:
        yield server


def microseconds(server: RegistryServer, method: str, path: str, count: int) -> float:
    """Processor time of one request, in microseconds, over a connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)

    def ask(times: int) -> None:
        for _ in range(times):
            connection.request(method, path)
            response = connection.getresponse()
            response.read()

    ask(count // 10)
    before = cpu_seconds(server.pid)
    ask(count)
    spent = cpu_seconds(server.pid) - before
    connection.close()
    return spent / count * 1e6


def main() -> None:
    """Measure and print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    image = make_image(970)
    targets = {
        "GET /v2/": ("GET", "/v2/"),
        "HEAD manifest": ("HEAD", f"/v2/team/app/manifests/{image.digest}"),
        "GET manifest by tag": ("GET", "/v2/team/app/manifests/v1"),
    }
    best: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as name, OtlpReceiver() as receiver:
        for _ in range(ROUNDS):
            for kind in ("off", "metrics", "traces"):
                with running(Path(name), kind, receiver.url) as server:
                    RegistryClient(server.host).push("team/app", "v1", image)
                    for title, (method, path) in targets.items():
                        spent = microseconds(server, method, path, count)
                        best[title, kind] = min(best.get((title, kind), spent), spent)
    print(f"{'µs of processor time a request':32}{'off':>8}{'metrics':>10}{'traces':>10}")
    for title in targets:
        print(f"{title:32}{best[title, 'off']:8.0f}{best[title, 'metrics']:10.0f}{best[title, 'traces']:10.0f}")


if __name__ == "__main__":
    main()
