"""Command-line clients over TLS: they verify the registry's certificate, log in, and may present one of their own."""

from pathlib import Path
from typing import Final

from typing_extensions import override

from tests.support.certificates import Authority, Pair
from tests.support.clients import CommandLineClient, Crane, Oras, Podman, Regctl, Skopeo

_INSECURE: Final = {"--insecure", "--tls-verify=false", "--src-tls-verify=false", "--dest-tls-verify=false"}
_PLAIN: Final = {"--plain-http", "--to-plain-http", "--from-plain-http"}
"""Options of oras, which would use plain HTTP for `localhost` without them too."""


class _OverTls(CommandLineClient):
    """Removes what makes a client accept plain HTTP or any certificate."""

    @override
    def run_program(self, *command: str) -> str:
        kept = [word for word in command if word not in _INSECURE]
        return super().run_program(*(f"{word}=false" if word in _PLAIN else word for word in kept))


class TlsSkopeo(_OverTls, Skopeo):
    """skopeo."""


class TlsPodman(_OverTls, Podman):
    """podman."""


class TlsCrane(_OverTls, Crane):
    """crane."""


class TlsOras(_OverTls, Oras):
    """oras."""


class TlsRegctl(_OverTls, Regctl):
    """regctl."""

    def __init__(self, home: Path, host: str) -> None:
        # Without the command that turns TLS off.
        CommandLineClient.__init__(self, home, host)


TLS_CLIENTS: Final = (TlsSkopeo, TlsPodman, TlsCrane, TlsOras, TlsRegctl)
_LOGINS: Final = {
    "crane": ("auth", "login"),
    "oras": ("login", "--plain-http"),
    "regctl": ("registry", "login"),
}
"""The beginnings of the logins that differ from `login`."""


def trust(client: CommandLineClient, authority: Authority) -> CommandLineClient:
    """Make a client written in Go trust an authority, and no other one."""
    client.environment["SSL_CERT_FILE"] = str(authority.path)
    return client


def log_in(client: CommandLineClient, user: str, password: str) -> None:
    """Log in to the registry; the client verifies the password there, and stores it.

    Raises:
        CommandError: the registry refuses the password.
    """
    beginning = _LOGINS.get(client.program, ("login",))
    client.run(*beginning, "-u", user, "-p", password, client.host)


def write_docker_folder(folder: Path, pair: Pair | None, authority: Authority) -> Path:
    """Write the files of a host below `certs.d`: the authority of the registry, and the client's certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(authority.path.read_bytes())
    if pair is not None:
        (folder / "client.cert").write_bytes(pair.certificate.read_bytes())
        (folder / "client.key").write_bytes(pair.key.read_bytes())
    return folder
