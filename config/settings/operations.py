"""Settings of health checks, notifications, the pull-through proxy and middlewares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from config.settings.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCheckSettings:
    """The check of the storage itself."""

    enabled: bool = False
    interval_seconds: float = 10.0
    threshold: int = 0
    """The number of consecutive failures that make the storage unhealthy; 0 and 1 mean the first failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheckSettings:
    """Unhealthy while a file exists."""

    file: str = ""
    interval_seconds: float = 10.0
    threshold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheckSettings:
    """Unhealthy while a HEAD request to a URL does not return the expected status."""

    uri: str = ""
    headers: Mapping[str, tuple[Secret, ...]] = field(default_factory=dict)
    """Secret because `Authorization` is usually among them."""
    status_code: int = 200
    timeout_seconds: float = 5.0
    interval_seconds: float = 10.0
    threshold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheckSettings:
    """Unhealthy while an address does not accept connections."""

    addr: str = ""
    timeout_seconds: float = 5.0
    interval_seconds: float = 10.0
    threshold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessSettings:
    """The conditions under which `/readyz` reports this replica as ready for requests."""

    interval_seconds: float = 10.0
    timeout_seconds: float = 5.0
    """The time limit of the storage's answer."""
    failures: int = 3
    """The number of consecutive failures after which the replica is not ready."""
    successes: int = 2
    """The number of consecutive successes after which the replica is ready again."""
    needs_index: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """All health checks."""

    readiness: ReadinessSettings = field(default_factory=ReadinessSettings)
    storage: StorageCheckSettings = field(default_factory=StorageCheckSettings)
    files: tuple[FileCheckSettings, ...] = ()
    http: tuple[HttpCheckSettings, ...] = ()
    tcp: tuple[TcpCheckSettings, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """One receiver of events."""

    name: str = ""
    disabled: bool = False
    url: str = ""
    headers: Mapping[str, tuple[Secret, ...]] = field(default_factory=dict)
    """Secret because `Authorization` is usually among them."""
    timeout_seconds: float = 1.0
    threshold: int = 10
    backoff_seconds: float = 1.0
    ignored_media_types: tuple[str, ...] = ()
    ignored_actions: tuple[str, ...] = ()


class OutboxBackend(StrEnum):
    """Where events are stored until they are delivered."""

    STORAGE = "storage"
    LOCAL = "local"
    MEMORY = "memory"


class EventsVersion(StrEnum):
    """The format of events: that of distribution 2 or 3."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """Where events are stored until they are delivered, and the limits."""

    backend: OutboxBackend = OutboxBackend.STORAGE
    path: str = ""
    """The folder of the backend `local`; the loader guarantees it for that backend."""
    required: bool = True
    bytes_max: int = 64 * 1024 * 1024
    """For each endpoint, including dead letters."""
    age_max_seconds: float = 72 * 3600.0
    dead_age_max_seconds: float = 720 * 3600.0
    poll_seconds: float = 2.0
    takeover_seconds: float = 15.0
    """The silence of the delivering process after which another one takes over, which takes as long again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """Receivers of events about pushes, pulls and deletes."""

    endpoints: tuple[EndpointSettings, ...] = ()
    """Each with a unique name."""
    include_references: bool = False
    events_version: EventsVersion = EventsVersion.V1
    outbox: OutboxSettings = field(default_factory=OutboxSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyExecSettings:
    """A Docker credential helper that supplies the upstream's credentials."""

    command: str = ""
    lifetime_seconds: float | None = None
    """How long credentials are cached: None for ever, 0 not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """The upstream of a pull-through cache."""

    remote_url: str = ""
    username: str | None = None
    password: Secret | None = None
    ttl_seconds: float = 168 * 3600.0
    """0 keeps content for ever."""
    exec: ProxyExecSettings | None = None
    cache_write_timeout_seconds: float = 300.0
