"""Commands and servers start quickly: what only another command, a setting or a request needs is imported for that."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.start import late_methods
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.processes import SHARED_SECRET


@pytest.mark.parametrize(
    "package", ["aiohttp", "aiobotocore", "dependency_injector", "prometheus_client", "redis", "shtab"]
)
def test_command_line_starts_without(package: str) -> None:
    program = f"import entrypoints.command_line, sys; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_command_imports_no_other_command() -> None:
    program = (
        "import entrypoints.command_line, entrypoints.commands as c, sys; c.find_command('trash'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    modules = done.stdout.split()
    assert "entrypoints.commands.trash" in modules
    assert "entrypoints.commands.copy" not in modules


LATE = [
    "acme", "adapters.audit_log.file", "adapters.auth.htpasswd", "adapters.blob_storage.memory",
    "adapters.catalog_index.go_dsn", "adapters.catalog_index.local_file", "adapters.hashing.resumable",
    "adapters.image_layout.folder", "adapters.notifications.http_receiver", "adapters.upstream.http", "aioboto3",
    "aiobotocore", "aiohappyeyeballs", "aiohttp.client", "aiohttp.connector", "aiohttp.tracing", "aiohttp_socks",
    "aiomysql", "babel", "bcrypt", "botocore", "cProfile", "config.container.pull_through", "config.effective",
    "config.reading", "config.schema", "core.collection.collector", "core.pull_through.manifests",
    "core.summaries.folding", "core.summaries.names", "core.summaries.query", "core.summaries.service",
    "core.summaries.tag_history", "core.summaries.tag_list", "core.transfer.image_copy", "core.usage.measuring",
    "core.verification.verifier", "cryptography", "ctypes", "difflib", "entrypoints.observability.debug",
    "entrypoints.observability.runtime_folder", "entrypoints.observability.stacks", "importlib.metadata", "jinja2",
    "joserfc", "marshmallow", "opentelemetry", "prometheus_client", "pstats", "redis", "shtab", "werkzeug", "yaml",
]  # fmt: skip
"""Modules that a server imports only with a setting, a job or a request that needs them."""
SERVE = """
import sys
from entrypoints.cli import main

code = main(sys.argv[1:])
print("modules", *sys.modules)
import ssl, aiohttp, config.container as container, config.settings as settings
aiohttp.ClientSession
contexts = [each for each in vars(aiohttp.connector).values() if isinstance(each, ssl.SSLContext)]
print("certificates", len(contexts), sum(len(each.get_ca_certs()) for each in contexts))
print("comparison", container.ServerParts.__eq__.__code__.co_filename)
print("section", settings.HttpSettings.__init__.__code__.co_filename)
sys.exit(code)
"""


def serve(folder: Path, program: str, *, workers: int, debug: object = None) -> dict[str, list[str]]:
    """Run a program that serves a folder until it accepts connections; return its lines by their first word."""
    config = folder / "config.yml"
    storage = {"filesystem": {"rootdirectory": str(folder / "storage")}}
    http: dict[str, object] = {"addr": f"127.0.0.1:{free_port()}", "secret": SHARED_SECRET, "workers": workers}
    if debug:
        http["debug"] = debug
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": http}))
    command = [sys.executable, "-c", program, "serve", str(config)]
    environment = {**os.environ, "SSL_CERT_FILE": str(Authority(folder).path), "SSL_CERT_DIR": str(folder / "none")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            # Logged once the server accepts connections.
            if "listening on" in line:
                server.terminate()
    assert server.returncode == 0
    return {words[0]: words[1:] for words in map(str.split, lines)}


def test_server_on_a_folder_starts_without(tmp_path: Path) -> None:
    """Each module takes time at the start, and memory in three processes."""
    # With one worker, the process that serves is also the one that prints.
    answers = serve(tmp_path, SERVE, workers=1)
    modules = set(answers["modules"])
    assert {"entrypoints.http.app", "adapters.blob_storage.filesystem.storage"} <= modules
    assert sorted(modules & set(LATE)) == []
    # aiohttp's contexts have not read the certificates of the system; unused methods are not compiled.
    assert answers["certificates"] == ["2", "0"]
    if sys.version_info < (3, 13):
        assert answers["comparison"] == answers["section"] == [late_methods.__file__]


SERVE_WITH_WORKERS = """
import gc, os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        os.write(1, f"imported {name}\\n".encode())

def count(phase, details):
    if phase == "start" and os.getpid() == parent:
        scans.append(len(gc.get_objects()))

parent, scans = os.getpid(), []

def watch():
    # The process that reads the configuration begins before the server is imported.
    if server := sys.modules.get("entrypoints.process.server"):
        sys.meta_path.insert(0, Finder())
        build = server.build_server
        server.build_server = lambda *parts: os.write(1, b"built\\n") and build(*parts)

os.register_at_fork(after_in_child=watch)
gc.callbacks.append(count)
from entrypoints.cli import main

code = main()
print("scanned", max(scans, default=0))
sys.exit(code)
"""


def test_workers_share_all_modules_of_the_start(tmp_path: Path) -> None:
    """A module that each worker imports takes its memory once for each of them, and so does what each one builds."""
    answers = serve(tmp_path, SERVE_WITH_WORKERS, workers=2)
    assert not {"imported", "built"} & set(answers)
    # The modules of the command line alone have twice as many objects: to look at them takes a fortieth of the start.
    assert int(answers["scanned"][0]) < 30_000


def test_workers_with_metrics_build_what_counts_for_them(tmp_path: Path) -> None:
    debug = {"addr": f"127.0.0.1:{free_port()}", "prometheus": {"enabled": True}}
    assert "built" in serve(tmp_path, SERVE_WITH_WORKERS, workers=2, debug=debug)


READ = """
import re, sys
compiled, compile_at_once = [], re.compile

def record(pattern, flags=0):
    compiled.append(pattern)
    return compile_at_once(pattern, flags)

re.compile = record
from config.loader import load

load(sys.argv[1], environ={})
seen = set(compiled)
from marshmallow.validate import Email

sys.exit(Email.USER_REGEX.pattern in seen or Email.DOMAIN_REGEX.pattern in seen)
"""


def test_configuration_is_read_without_patterns_of_mail_addresses(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nstorage: inmemory\n")
    assert subprocess.run([sys.executable, "-c", READ, str(config)], check=False).returncode == 0
