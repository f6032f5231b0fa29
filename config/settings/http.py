"""Settings of the HTTP server: listener, generated URLs, TLS, debug listener."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from config.settings.secret import Secret


class HttpNetwork(StrEnum):
    """What `HttpSettings.addr` is an address of."""

    TCP = "tcp"
    UNIX = "unix"


class TlsVersion(StrEnum):
    """The lowest TLS version that is spoken."""

    TLS12 = "tls1.2"
    TLS13 = "tls1.3"


class ClientAuth(StrEnum):
    """What is asked of TLS clients when `client_cas` is given."""

    REQUEST = "request-client-cert"
    REQUIRE_ANY = "require-any-client-cert"
    VERIFY_IF_GIVEN = "verify-client-cert-if-given"
    REQUIRE_AND_VERIFY = "require-and-verify-client-cert"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """TLS of the main listener; files are PEM."""

    certificate: str = ""
    key: str = ""
    client_cas: tuple[str, ...] = ()
    client_auth: ClientAuth = ClientAuth.REQUIRE_AND_VERIFY
    minimum_version: TlsVersion = TlsVersion.TLS12
    cipher_suites: tuple[str, ...] = ()
    """IANA names; empty is the default list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSettings:
    """The second listener for health and metrics; off while `addr` is None."""

    addr: str | None = None
    prometheus_enabled: bool = False
    prometheus_path: str = "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The main listener and the URLs that the registry writes."""

    addr: str = ":5000"
    """`host:port`, `:port`, `[ipv6]:port`, or the path of a socket when `net` is UNIX."""
    net: HttpNetwork = HttpNetwork.TCP
    host: str | None = None
    """Base URL (scheme and host) of generated links; None takes it from the request."""
    prefix: str = "/"
    """Begins and ends with a slash."""
    secret: Secret | None = None
    """Signs upload sessions; None is a random one for this process, so only one replica works."""
    relative_urls: bool = False
    drain_timeout_seconds: float = 20.0
    """How long requests in flight may go on after SIGTERM; 0 does not wait."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Added to every response."""
    tls: TlsSettings | None = None
    debug: DebugSettings = field(default_factory=DebugSettings)
