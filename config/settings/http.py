"""Settings of the HTTP server: listener, generated URLs, TLS, debug listener."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from config.settings.secret import Secret


class HttpNetwork(StrEnum):
    """The kinds of address in `HttpSettings.addr`."""

    TCP = "tcp"
    UNIX = "unix"


class TlsVersion(StrEnum):
    """The lowest accepted TLS version."""

    TLS12 = "tls1.2"
    TLS13 = "tls1.3"


class ClientAuth(StrEnum):
    """The requirements for TLS clients when `client_cas` is given."""

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
    """IANA names; empty for the default list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSettings:
    """The second listener for health and metrics; off while `addr` is None."""

    addr: str | None = None
    prometheus_enabled: bool = False
    prometheus_path: str = "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsSettings:
    """The browser pages that may call the API; none while `origins` is empty."""

    origins: tuple[str, ...] = ()
    """`scheme://host[:port]`, exact, or the single entry `*`."""
    credentials: bool = False
    """Whether pages may send cookies and `Authorization` stored by the browser; never with `*`."""
    max_age_seconds: float = 600.0
    """How long a browser may cache the answer to a preflight request."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[str, ...] = (
        "Accept",
        "Authorization",
        "Cache-Control",
        "Content-Range",
        "Content-Type",
        "If-None-Match",
        "Range",
        "X-Request-Id",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Limits for each client and for all together; 0 means no limit only where documented."""

    upload_bytes: int = 0
    """Size of one blob; 0 for no limit."""
    manifest_bytes: int = 4 * 1024 * 1024
    header_bytes: int = 32 * 1024
    """Size of one header field, name and value; podman's `Range` may have 1,024 ranges, 22 KiB."""
    url_bytes: int = 16 * 1024
    requests: int = 1000
    """Maximum number of simultaneous requests; 0 for no limit."""
    connections: int = 10_000
    """Maximum number of simultaneous connections; 0 for no limit."""
    rate: int = 0
    """Long-term requests per second from one client address; 0 for no limit."""
    burst: int = 100
    """Requests that one client address may send at once after a pause."""
    keepalive_seconds: float = 75.0
    """How long an idle connection stays open."""
    header_seconds: float = 30.0
    """How long the head of a request may take to arrive; 0 for no limit."""
    body_seconds: float = 60.0
    """How long a request body may make no progress; 0 for no limit."""
    body_rate: int = 128
    """Bytes per second below which a body counts as stalled, over `body_seconds` of waiting; 0 for no limit."""
    send_seconds: float = 120.0
    """How long a client may accept no data of a response; 0 for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The main listener, and the URLs that the registry generates."""

    addr: str = ":5000"
    """`host:port`, `:port`, `[ipv6]:port`, or the path of a socket when `net` is UNIX."""
    net: HttpNetwork = HttpNetwork.TCP
    host: str | None = None
    """Base URL (scheme and host) of generated links; None uses the request's."""
    prefix: str = "/"
    """Begins and ends with a slash."""
    secret: Secret | None = None
    """Signs upload sessions and login tokens; None for a random one, with which only one replica works."""
    relative_urls: bool = False
    drain_timeout_seconds: float = 20.0
    """How long requests in flight may continue after SIGTERM; 0 does not wait."""
    workers: int = 0
    """The number of worker processes; 0 for one per usable core."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Headers added to every response."""
    tls: TlsSettings | None = None
    trusted_proxies: tuple[str, ...] | None = None
    """Networks of proxies with trusted `Forwarded` and `X-Forwarded-*` headers; with None these affect only links."""
    proxy_hops: int = 1
    """The number of these proxies that a request passes, one after the other."""
    cors: CorsSettings = field(default_factory=CorsSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    debug: DebugSettings = field(default_factory=DebugSettings)
