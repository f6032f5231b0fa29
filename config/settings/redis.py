"""Settings of the Redis connection; the old (`addr`, `pool`) and new (`addrs`) spellings are unified here."""

from dataclasses import dataclass, field

from config.settings.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTlsSettings:
    """TLS options for Redis; files are PEM."""

    enabled: bool = False
    """Needed only if no file is given."""
    certificate: str | None = None
    key: str | None = None
    root_cas: tuple[str, ...] = ()
    """Empty for the system's certificate authorities."""

    @property
    def is_used(self) -> bool:
        """Whether TLS is used."""
        return self.enabled or bool(self.certificate or self.root_cas)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """One Redis, or the sentinels of a group (`master_name`); several `addrs` without a group are a cluster."""

    addrs: tuple[str, ...] = ()
    username: str | None = None
    password: Secret | None = None
    db: int = 0
    master_name: str | None = None
    sentinel_username: str | None = None
    sentinel_password: Secret | None = None
    client_name: str | None = None
    protocol: int = 2
    """Servers before version 6 support it too; the registry needs nothing that only version 3 offers."""
    retries_max: int = 3
    retry_backoff_seconds_min: float = 0.008
    retry_backoff_seconds_max: float = 0.512
    dial_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 3.0
    write_timeout_seconds: float = 3.0
    pool_timeout_seconds: float | None = None
    pool_size: int | None = None
    connections_max: int | None = None
    idle_connections_min: int = 0
    idle_connections_max: int | None = None
    connection_idle_seconds_max: float = 1800.0
    connection_lifetime_seconds_max: float = 0.0
    tls: RedisTlsSettings = field(default_factory=RedisTlsSettings)
