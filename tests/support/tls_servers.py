"""Test servers that use TLS or a Unix socket."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from tests.support.certificates import Pair
from tests.support.ports import free_port
from tests.support.processes import Nginx, RegistryServer

_ANSWER_TIMEOUT_SECONDS = 5


def answers_over_tls(port: int, *, ip: str = "127.0.0.1") -> bool:
    """Return whether a request to the API's root gets a status below 500; the certificate is not verified."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(ip, port, timeout=_ANSWER_TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class TlsRegistryServer(RegistryServer):
    """Our registry with its own certificate, on `127.0.0.1` or `::1`."""

    def __init__(
        self,
        folder: Path,
        storage: Path,
        pair: Pair,
        *,
        config: Mapping[str, Any] | None = None,
        ip: str = "127.0.0.1",
    ) -> None:
        port = free_port()
        section = {"addr": f"[{ip}]:{port}", **(config or {}).get("http", {})}
        section["tls"] = {
            **section.get("tls", {}), "certificate": str(pair.certificate), "key": str(pair.key)
        }  # fmt: skip
        super().__init__(folder, storage, config={**(config or {}), "http": section}, port=port, ip=ip)

    @override
    def answers(self) -> bool:
        return answers_over_tls(self.port, ip=self._ip)


class AcmeRegistryServer(RegistryServer):
    """Our registry with certificates from an ACME server; it answers before it has one."""

    @override
    def answers(self) -> bool:
        return answers_over_tls(self.port)


class UnixRegistryServer(RegistryServer):
    """Our registry on a Unix socket."""

    def __init__(self, folder: Path, storage: Path, path: Path) -> None:
        self.path = path
        super().__init__(folder, storage, config={"http": {"net": "unix", "addr": str(path)}})

    @override
    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER_TIMEOUT_SECONDS)
            try:
                client.connect(str(self.path))
                client.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
                return b" 200 " in client.recv(100)
            except OSError:
                return False


class TlsProxy(Nginx):
    """nginx that terminates TLS in front of a registry.

    Args:
        folder: folder for its files.
        target: destination of the requests, as in `proxy_pass`.
        pair: certificate of the proxy.
        location: path prefix of the proxied requests, with both slashes.
    """

    def __init__(self, folder: Path, target: str, pair: Pair, *, location: str = "/") -> None:
        super().__init__(folder, _SERVER, target=target, certificate=pair.certificate, key=pair.key, location=location)

    @override
    def answers(self) -> bool:
        return answers_over_tls(self.port)


_SERVER = """
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location {location} {{
      proxy_pass {target};
      # From here on as docs/proxies.md says it.
      client_max_body_size 0;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_read_timeout 900s;
    }}
  }}
"""
