"""Settings of what surrounds serving: health checks, notifications, the pull-through proxy."""

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
    """How many failures in a row make it unhealthy; 0 and 1 mean the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheckSettings:
    """Unhealthy while a file exists."""

    file: str = ""
    interval_seconds: float = 10.0
    threshold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheckSettings:
    """Unhealthy while a URL does not answer a HEAD with the wanted status."""

    uri: str = ""
    headers: Mapping[str, tuple[Secret, ...]] = field(default_factory=dict)
    """Secret because `Authorization` is usually among them."""
    status_code: int = 200
    timeout_seconds: float = 5.0
    interval_seconds: float = 10.0
    threshold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheckSettings:
    """Unhealthy while nobody accepts connections at an address."""

    addr: str = ""
    timeout_seconds: float = 5.0
    interval_seconds: float = 10.0
    threshold: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessSettings:
    """When `/readyz` says that this replica should be sent requests."""

    interval_seconds: float = 10.0
    timeout_seconds: float = 5.0
    """How long the storage may take to answer."""
    failures: int = 3
    """How many in a row make it not ready."""
    successes: int = 2
    """How many in a row make it ready again."""
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
    """Where events lie until they are delivered."""

    STORAGE = "storage"
    LOCAL = "local"
    MEMORY = "memory"


class EventsVersion(StrEnum):
    """Whose events are sent: those of distribution 2 or 3."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """Where events lie until they are delivered, and how many."""

    backend: OutboxBackend = OutboxBackend.STORAGE
    path: str = ""
    """The folder of the backend `local`; the loader guarantees it there."""
    required: bool = True
    bytes_max: int = 64 * 1024 * 1024
    """For each endpoint, dead letters included."""
    age_max_seconds: float = 72 * 3600.0
    dead_age_max_seconds: float = 720 * 3600.0
    poll_seconds: float = 2.0
    takeover_seconds: float = 15.0
    """How long the process that delivers may be silent before another one takes over, which takes as long again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """Who is told about pushes, pulls and deletes."""

    endpoints: tuple[EndpointSettings, ...] = ()
    """With names of their own each."""
    include_references: bool = False
    events_version: EventsVersion = EventsVersion.V1
    outbox: OutboxSettings = field(default_factory=OutboxSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyExecSettings:
    """A Docker credential helper that is asked for the upstream's credentials."""

    command: str = ""
    lifetime_seconds: float | None = None
    """How long an answer is used: None for ever, 0 not at all."""


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
