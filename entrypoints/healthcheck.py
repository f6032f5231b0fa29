"""The health check of the container image: `python3 -m entrypoints.healthcheck [ADDRESS]`, ADDRESS as in `http.addr`.

It runs every few seconds, so it imports the standard library only and reads no configuration: it tries plain HTTP, then
TLS. The exit code is 0 if the registry answers.
"""

import http.client
import socket
import ssl
import sys
from collections.abc import Sequence
from typing import Final

from typing_extensions import override

_DEFAULT: Final = ":5000"
_PATH: Final = "/healthz"
_SECONDS: Final = 2.0
_FAILURE: Final = 500
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - an address to recognize, not to listen on
_HANDSHAKE_REFUSED: Final = "HANDSHAKE_FAILURE"
"""OpenSSL's reason. A server that refuses clients without a certificate, during the handshake or after it, is alive."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the socket at a path."""

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self.host)


def is_alive(address: str) -> bool:
    """Whether a registry answers at an address in the notation of `http.addr`."""
    if address.startswith("/"):
        return _answers(_UnixConnection(address, timeout=_SECONDS))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    hosts = ("127.0.0.1", "::1") if host in _EVERYWHERE else (host,)
    return any(_answers(each) for name in hosts for each in _connections(name, int(port)))


def _connections(host: str, port: int) -> tuple[http.client.HTTPConnection, ...]:
    context = ssl.create_default_context()
    # The certificate is that of the public name, and no secret is sent.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return (
        http.client.HTTPConnection(host, port, timeout=_SECONDS),
        http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context),
    )


def _answers(connection: http.client.HTTPConnection) -> bool:
    has_tls = False
    try:
        connection.connect()
        has_tls = isinstance(connection, http.client.HTTPSConnection)
        connection.request("GET", _PATH)
        return connection.getresponse().status < _FAILURE
    except ssl.SSLError as error:
        return has_tls or _HANDSHAKE_REFUSED in (error.reason or "")
    except (OSError, http.client.HTTPException):
        return has_tls
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """Return the exit code."""
    return 0 if is_alive(arguments[0] if arguments and arguments[0] else _DEFAULT) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
