"""The proxies of `docs/proxies.md`, run with the documented configuration except for ports and paths."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from tests.support.certificates import Pair
from tests.support.ports import free_port
from tests.support.processes import ServerProcess
from tests.support.tls_servers import answers_over_tls
from tests.support.tools import REPOSITORY_ROOT, find_tool

_DOCUMENT = REPOSITORY_ROOT / "docs" / "proxies.md"
_REGISTRY = "127.0.0.1:5000"


def snippet(language: str) -> str:
    """Return the only block of the document in a language."""
    [block] = re.findall(rf"^```{language}\n(.*?)^```", _DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    return str(block)


class DocumentedProxy(ServerProcess):
    """Proxy that terminates TLS in front of a registry, with the configuration from the document."""

    program: ClassVar[str]

    def __init__(self, folder: Path, registry: str, pair: Pair) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        bundle = folder / "bundle.pem"
        bundle.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
        text = snippet(self.program)
        for written, meant in (
            (_REGISTRY, registry),
            ("/etc/ssl/registry.crt", str(pair.certificate)),
            ("/etc/ssl/registry.key", str(pair.key)),
            ("/etc/ssl/registry.pem", str(bundle)),
        ):
            text = text.replace(written, meant)
        self._config_path = folder / "proxy.conf"
        self._config_path.write_text(self.complete(text, folder, port))
        environment = {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), "HOME": str(folder)}
        super().__init__(self.command(folder), port=port, folder=folder, environment=environment)

    def complete(self, text: str, folder: Path, port: int) -> str:
        """Insert the test's port into the snippet, and add the configuration that the program also needs."""
        raise NotImplementedError

    def command(self, folder: Path) -> list[str]:
        """Return the command that runs the proxy in the foreground."""
        raise NotImplementedError

    @override
    def answers(self) -> bool:
        return answers_over_tls(self.port)


class Nginx(DocumentedProxy):
    """nginx."""

    program = "nginx"

    @override
    def complete(self, text: str, folder: Path, port: int) -> str:
        paths = "".join(
            f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log info;\n"
            f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{paths}"
            + text.replace("listen 443", f"listen 127.0.0.1:{port}")
            + "}\n"
        )

    @override
    def command(self, folder: Path) -> list[str]:
        return [find_tool("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(self._config_path)]


class Caddy(DocumentedProxy):
    """Caddy."""

    program = "caddy"

    @override
    def complete(self, text: str, folder: Path, port: int) -> str:
        options = "{\nadmin off\nauto_https disable_redirects\n}\n"
        return options + text.replace("registry.example.com", f"https://localhost:{port}, https://127.0.0.1:{port}")

    @override
    def command(self, folder: Path) -> list[str]:
        return [find_tool("caddy"), "run", "--config", str(self._config_path), "--adapter", "caddyfile"]


class HaProxy(DocumentedProxy):
    """HAProxy."""

    program = "haproxy"

    @override
    def complete(self, text: str, folder: Path, port: int) -> str:
        return text.replace("bind :443", f"bind 127.0.0.1:{port}")

    @override
    def command(self, folder: Path) -> list[str]:
        return [find_tool("haproxy"), "-db", "-f", str(self._config_path)]


DOCUMENTED: tuple[type[DocumentedProxy], ...] = (Nginx, Caddy, HaProxy)


class BrokenNginx(Nginx):
    """nginx whose documented configuration is replaced in parts by common mistakes.

    Args:
        folder: folder for its files.
        registry: `host:port` of the registry.
        pair: certificate of the proxy.
        edits: documented texts and their replacements.
    """

    def __init__(self, folder: Path, registry: str, pair: Pair, *, edits: Mapping[str, str]) -> None:
        self._edits = edits
        super().__init__(folder, registry, pair)

    @override
    def complete(self, text: str, folder: Path, port: int) -> str:
        for right, wrong in self._edits.items():
            if right not in text:
                raise ValueError(f"the document does not have {right!r}")
            text = text.replace(right, wrong)
        return super().complete(text, folder, port)
