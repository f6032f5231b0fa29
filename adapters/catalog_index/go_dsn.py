"""Parser of MySQL addresses in the old registry's format: a DSN of Go's go-sql-driver/mysql.

    [user[:password]@][network[(address)]]/database[?name=value&…]

The last `/` ends the address, and the last `@` before it ends the password, so a password may contain both, and `:`
too. Parameter values and the database are percent-encoded (`loc=Asia%2FShanghai`). No error message repeats a part of
the DSN: in an invalid DSN, any part may be the password.
"""

import difflib
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import unquote, unquote_plus

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 3306
_PORT_MAX: Final = 65535
DEFAULT_SOCKET: Final = "/tmp/mysql.sock"  # noqa: S108 (go-sql-driver's default, read and not written)
DEFAULT_CONNECT_SECONDS: Final = 5.0
DEFAULT_STATEMENT_SECONDS: Final = 10.0

_WITHOUT_EFFECT: Final = frozenset(
    {
        "allowAllFiles",
        "allowCleartextPasswords",
        "allowFallbackToPlaintext",
        "allowNativePasswords",
        "allowOldPasswords",
        "charset",
        "checkConnLiveness",
        "clientFoundRows",
        "collation",
        "columnsWithAlias",
        "compress",
        "connectionAttributes",
        "interpolateParams",
        "loc",
        "maxAllowedPacket",
        "multiStatements",
        "parseTime",
        "rejectReadOnly",
        "serverPubKey",
        "timeTruncate",
    }
)
"""Parameters of the Go driver that have no effect on ASCII names and whole numbers."""
_TIMEOUTS: Final = frozenset({"timeout", "readTimeout", "writeTimeout"})
_KNOWN: Final = sorted(_WITHOUT_EFFECT | _TIMEOUTS | {"tls"})
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNIT_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class DsnInvalidError(ValueError):
    """The DSN is invalid; the message gives the reason and never quotes the DSN."""


class TlsMode(Enum):
    """Values of the `tls` parameter."""

    OFF = "false"
    REQUIRED = "true"
    UNVERIFIED = "skip-verify"
    PREFERRED = "preferred"


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that no repr, log or message shows by accident."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """Return the text."""
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class MySqlAddress:
    """Address and credentials of a MySQL server; the repr shows neither user nor password."""

    database: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: Secret = Secret("")
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    socket: str | None = None
    """The path of a Unix socket, which replaces host and port."""
    tls: TlsMode = TlsMode.OFF
    connect_seconds: float = DEFAULT_CONNECT_SECONDS
    statement_seconds: float = DEFAULT_STATEMENT_SECONDS
    """The time limit of one statement, for writing and reading together."""
    warnings: tuple[str, ...] = ()
    """Warnings about parameters without effect, one sentence each, without values."""

    @property
    def place(self) -> str:
        """Host and port, or the socket, for error messages."""
        if self.socket is not None:
            return self.socket
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_go_dsn(text: str) -> MySqlAddress:
    """Parse a DSN.

    Raises:
        DsnInvalidError: the DSN is malformed, or requests an unsupported feature.
    """
    left, slash, right = text.strip().rpartition("/")
    if not slash:
        raise DsnInvalidError("a DSN needs a / before the database: user:password@tcp(host:port)/database")
    login, _, network = left.rpartition("@")
    user, _, password = login.partition(":")
    database, _, query = right.partition("?")
    if not database:
        raise DsnInvalidError("the DSN names no database: user:password@tcp(host:port)/database")
    host, port, socket = _parse_network(network)
    parameters = dict(_parse_parameters(query))
    statement_seconds = sum(_parse_duration(parameters, name) for name in ("readTimeout", "writeTimeout"))
    return MySqlAddress(
        user=user,
        password=Secret(password),
        host=host,
        port=port,
        socket=socket,
        database=unquote(database),
        tls=_parse_tls(parameters.get("tls", "false")),
        connect_seconds=_parse_duration(parameters, "timeout") or DEFAULT_CONNECT_SECONDS,
        statement_seconds=statement_seconds or DEFAULT_STATEMENT_SECONDS,
        warnings=tuple(_warn_of(name) for name in parameters if name not in _KNOWN),
    )


def _parse_network(text: str) -> tuple[str, int, str | None]:
    network, parenthesis, rest = text.partition("(")
    if parenthesis and not rest.endswith(")"):
        raise DsnInvalidError("the DSN's address must end with ) (write a / in a parameter as %2F)")
    address = rest[:-1]
    if network in {"", "tcp", "tcp4", "tcp6"}:
        host, port = _parse_host(address)
        return host, port, None
    if network == "unix":
        return DEFAULT_HOST, DEFAULT_PORT, address or DEFAULT_SOCKET
    raise DsnInvalidError("the DSN's network must be tcp(host:port) or unix(/path/to/socket)")


def _parse_host(address: str) -> tuple[str, int]:
    matched = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::([0-9]{0,9}))?", address)
    if not matched:
        raise DsnInvalidError("the DSN's address must be host:port, an IPv6 host in [ ]")
    port = int(matched[3] or DEFAULT_PORT)
    if port not in range(1, _PORT_MAX + 1):
        raise DsnInvalidError("the DSN's port must be between 1 and 65535")
    return matched[1] or matched[2] or DEFAULT_HOST, port


def _parse_parameters(query: str) -> list[tuple[str, str]]:
    pairs = [part.partition("=") for part in query.split("&")]
    return [(name, unquote_plus(value)) for name, sign, value in pairs if sign]


def _parse_tls(value: str) -> TlsMode:
    lowered = {"1": "true", "0": "false"}.get(value, value.lower())
    try:
        return TlsMode(lowered)
    except ValueError:
        # The Go driver also accepts names of configurations registered in Go; ignoring one would switch TLS off.
        raise DsnInvalidError("the DSN's tls must be true, false, skip-verify or preferred") from None


def _parse_duration(parameters: dict[str, str], name: str) -> float:
    """Return a duration in Go's notation (`1m30s`, `500ms`, `0`) in seconds; 0 if the parameter is missing."""
    text = parameters.get(name, "0")
    parts = _DURATION_PART.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise DsnInvalidError(f"the DSN's {name} must be a duration with a unit, such as 500ms, 5s or 1m30s")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _warn_of(name: str) -> str:
    close = difflib.get_close_matches(name, _KNOWN, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"the DSN's parameter {name[:40]!r} is unknown and has no effect{hint}"
