"""Pebble, the ACME server that Let's Encrypt makes for tests, and the name server that it asks."""

import json
import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.processes import ServerProcess
from tests.support.tools import find_tool

_ISSUED: Final = re.compile(r"Issued certificate serial (\S+) for order")
_ENVIRONMENT: Final = {
    "PEBBLE_VA_NOSLEEP": "1",
    "PEBBLE_AUTHZREUSE": "0",
    # Clients repeat a request with a rejected nonce once; rarely, that one would be rejected too.
    "PEBBLE_WFE_NONCEREJECT": "0",
}


class NameServer:
    """DNS server that answers with 127.0.0.1 for every name."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        management = free_port()
        command = [find_tool("pebble-challtestsrv"), "-management", f"127.0.0.1:{management}"]
        command += ["-dnsserver", f"127.0.0.1:{self.port}", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
        command += [f"-{kind}=" for kind in ("http01", "https01", "tlsalpn01", "doh")]
        self._log = (folder / "names.log").open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.wait()
        self._log.close()


class Pebble(ServerProcess):
    """An ACME server that checks names at 127.0.0.1.

    Args:
        folder: folder for its files.
        names: the name server.
        tls_port: port at which it checks tls-alpn-01.
        http_port: port at which it checks http-01.
        life_seconds: validity of its certificates.
    """

    def __init__(
        self, folder: Path, names: NameServer, *, tls_port: int, http_port: int, life_seconds: int = 90 * 86400
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port, self._management_port = free_port(), free_port()
        self.tls_port, self.http_port = tls_port, http_port
        pair = Authority(folder, "pebble-authority").issue("pebble")
        self.ca = pair.authority
        """The authority that signs the server's own certificate."""
        document = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{self._management_port}",
            "certificate": str(pair.certificate),
            "privateKey": str(pair.key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "retryAfter": {"authz": 1, "order": 1},
            "profiles": {"default": {"description": "", "validityPeriod": life_seconds}},
        }
        config = folder / "pebble.json"
        config.write_text(json.dumps({"pebble": document}))
        self._context = pair.trusting_context()
        command = [find_tool("pebble"), "-config", str(config), "-dnsserver", f"127.0.0.1:{names.port}"]
        super().__init__(command, port=port, folder=folder, environment=_ENVIRONMENT)
        self.directory_url = f"https://127.0.0.1:{port}/dir"

    @override
    def answers(self) -> bool:
        try:
            self._get(f"127.0.0.1:{self._management_port}/roots/0")
        except OSError:
            return False
        return True

    @property
    def root(self) -> str:
        """The root certificate of the issued certificates, as PEM. Another one after each start."""
        return self._get(f"127.0.0.1:{self._management_port}/roots/0")

    @property
    def issued(self) -> Sequence[str]:
        """The serial numbers of all issued certificates."""
        return _ISSUED.findall(self.log())

    def settings(self, hosts: Sequence[str], **changes: Any) -> Mapping[str, Any]:
        """Return `http.tls.letsencrypt` for this server."""
        return {"hosts": list(hosts), "directoryurl": self.directory_url, "ca": str(self.ca), **changes}

    def trusting_context(self) -> ssl.SSLContext:
        """Return a client context that trusts only certificates that this server issued."""
        return ssl.create_default_context(cadata=self.root)

    def _get(self, address: str) -> str:
        with urllib.request.urlopen(f"https://{address}", context=self._context, timeout=5) as response:
            text: str = response.read().decode()
        return text


@contextmanager
def name_server(folder: Path) -> Iterator[NameServer]:
    """Run a name server inside the block."""
    server = NameServer(folder)
    try:
        yield server
    finally:
        server.close()
