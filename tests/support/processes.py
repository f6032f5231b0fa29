"""Real servers for tests: ours, Debian's docker-registry and nginx, each on its own free port.

Every server is a context manager. The server runs in its own process group with its output in a file, and the group is
killed on leaving the block, so that no process outlives a test.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_port
from tests.support.server_template import Fork, template
from tests.support.tools import REPOSITORY_ROOT, find_tool

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 60.0
END_TIMEOUT_SECONDS = 5.0
SHARED_SECRET = "the secret that all replicas of a test share"

SERVE_OUR_REGISTRY = (sys.executable, "-m", "entrypoints.cli", "serve")


class ServerError(Exception):
    """A server ended, or did not answer in time; the message contains its last output."""


class ServerProcess:
    """Server on 127.0.0.1 that can be stopped, killed and restarted on the same folder and port."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        ip: str = "127.0.0.1",
        pass_descriptors: Sequence[int] = (),
        ready_path: str = "/v2/",
    ) -> None:
        self.port = port
        self._ready_path = ready_path
        self._pass_descriptors = tuple(pass_descriptors)
        self._ip = ip
        self.host = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        self.url = f"http://{self.host}"
        self.folder = folder
        self._command = list(command)
        self.environment = {**os.environ, **(environment or {})}
        # The variable makes Debian's docker-registry panic, and an ambient proxy or token has no place in a test.
        self.environment.pop("AWS_CA_BUNDLE", None)
        self._log_path = folder / f"server-{port}.log"
        self._process: subprocess.Popen[bytes] | Fork | None = None
        # Other variables may change the interpreter or the imported packages.
        known = all(name.startswith(("REGISTRY_", "SEARCH_BACKEND")) for name in environment or {})
        is_ours = tuple(command[: len(SERVE_OUR_REGISTRY)]) == SERVE_OUR_REGISTRY
        self._forks = known and is_ours and not pass_descriptors

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An orderly end lets the server write its data, such as its part of the coverage report.
        if self._process is not None and self._process.poll() is None:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(END_TIMEOUT_SECONDS)
        self.kill()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise ServerError("the server was not started")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; a previous run must have ended."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the server and return at once, so that several servers can start in parallel."""
        if self._process is not None and self._process.poll() is None:
            raise ServerError(f"process {self._process.pid} still runs")
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._forks:
            words = self._command[len(SERVE_OUR_REGISTRY) - 1 :]
            self._process = template().start(
                words, environment=self.environment, folder=REPOSITORY_ROOT, log=self._log_path
            )
            return
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY_ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._pass_descriptors,
            )

    def wait_until_ready(self, *, poll_seconds: float = 0.05) -> None:
        """Return when the server answers; raise `ServerError` if it ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self.answers():
            if self._process is not None and self._process.poll() is not None:
                raise ServerError(f"ended with {self._process.returncode}:\n{self.log()[-4000:]}")
            if time.monotonic() > deadline:
                raise ServerError(f"no answer after {START_TIMEOUT_SECONDS} s:\n{self.log()[-4000:]}")
            time.sleep(poll_seconds)

    def answers(self) -> bool:
        """Return whether a request to `ready_path` gets a status below 500."""
        connection = http.client.HTTPConnection(self._ip, self.port, timeout=5)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and return at once."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM to the server and return at once."""
        self.signal(signal.SIGTERM)

    def wait(self, timeout: float = STOP_TIMEOUT_SECONDS) -> int:
        """Wait for the end of the server and return its exit code; negative numbers are signals."""
        if self._process is None:
            raise ServerError("the server was not started")
        return self._process.wait(timeout)

    def stop(self) -> int:
        """End the server with SIGTERM and return its exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """Kill the server and all its children with SIGKILL. Idempotent."""
        if self._process is None:
            return
        if self._process.poll() is None:
            # A fork has no group of its own for a moment.
            self.signal(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_SECONDS)
        # A killed worker keeps the port until it has ended, which takes a while on a loaded machine.
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while _runs_any_of(self._process.pid):
            if time.monotonic() > deadline:
                raise ServerError(f"a process of the group {self._process.pid} still runs")
            time.sleep(0.01)

    def log(self) -> str:
        """Return everything that the server has printed so far, over all its runs."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""


def _runs_any_of(group: int) -> bool:
    """Return whether a process of a group runs; one that only waits for its parent has closed its files."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group = status.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state not in "ZX":
                return True
    return False


class RegistryServer(ServerProcess):
    """Registry on a folder: ours, or another one that reads the same configuration file."""

    def __init__(
        self,
        folder: Path,
        storage: Path,
        *,
        command: Sequence[str] = SERVE_OUR_REGISTRY,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
        ip: str = "127.0.0.1",
        pass_descriptors: Sequence[int] = (),
        may_fork: bool = True,
    ) -> None:
        port = port or free_port()
        self.storage = storage
        self.config_path = folder / f"config-{port}.yml"
        folder.mkdir(parents=True, exist_ok=True)
        storage.mkdir(parents=True, exist_ok=True)
        document = _merge(
            {
                "version": 0.1,
                "log": {"level": "info"},
                "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
                "http": {"addr": f"127.0.0.1:{port}", "secret": SHARED_SECRET},
            },
            config or {},
        )
        # JSON is valid YAML, and both registries read it.
        self.config_path.write_text(json.dumps(document))
        super().__init__(
            [*command, str(self.config_path)],
            port=port,
            folder=folder,
            environment=environment,
            ip=ip,
            pass_descriptors=pass_descriptors,
        )
        # A fork of the template starts sooner, and shares the template's memory: a benchmark of these needs none.
        self._forks = self._forks and may_fork

    @classmethod
    def reference(cls, folder: Path, storage: Path, *, config: Mapping[str, Any] | None = None) -> Self:
        """Return a server of Debian's docker-registry (distribution 2.8)."""
        return cls(folder, storage, command=(find_tool("docker-registry"), "serve"), config=config)


class Nginx(ServerProcess):
    """nginx that keeps all its files in one folder.

    Args:
        folder: folder for its files.
        servers: content of the `http` section, with the port as `{port}`.
        values: the other values to insert into `servers`.
    """

    def __init__(self, folder: Path, servers: str, **values: object) -> None:
        port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config_path = folder / "nginx.conf"
        config_path.write_text(_NGINX_CONFIG.format(folder=folder, servers=servers.format(port=port, **values)))
        command = [find_tool("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config_path)]
        super().__init__(command, port=port, folder=folder)


_NGINX_CONFIG = """
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{servers}
}}
"""


class RoundRobinProxy(Nginx):
    """nginx as a load balancer that distributes requests among servers in turn."""

    def __init__(self, folder: Path, backends: Sequence[ServerProcess]) -> None:
        upstreams = "\n".join(f"server {backend.host} max_fails=0;" for backend in backends)
        super().__init__(folder, _ROUND_ROBIN, upstreams=upstreams)


_ROUND_ROBIN = """
  client_max_body_size 0;
  chunked_transfer_encoding on;
  upstream registries {{
{upstreams}
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://registries;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_next_upstream error timeout;
      proxy_read_timeout 60s;
    }}
  }}
"""


def _merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
