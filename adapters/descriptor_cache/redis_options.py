"""Options of the connection to Redis, in the spellings of distribution 3 and 2. This module loads no client."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from adapters.addresses import address_problem
from core.model.secret import Secret
from core.model.setting import Group, OldKey, Unused, section, setting

_CONNECTIONS_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTlsOptions:
    """`redis.tls`: TLS options for Redis; files are PEM."""

    enabled: bool = setting("enabled", "Whether to use TLS if no file is given.", default=False)
    certificate: str | None = setting("certificate", "PEM file of the client's certificate.", None)
    key: str | None = setting("key", "PEM file of the client certificate's key.", None)
    root_cas: tuple[str, ...] = setting(
        "rootcas", "PEM files of the authorities that sign the server's certificate.", ()
    )
    """Empty for the system's certificate authorities."""

    @property
    def is_used(self) -> bool:
        """Whether TLS is used."""
        return self.enabled or bool(self.certificate or self.root_cas)

    def root_certificates(self) -> str | None:
        """Return the certificates to verify the server with; None for the system's certificate authorities.

        Raises:
            OSError: a file cannot be read.
            UnicodeDecodeError: a file is not text.
        """
        return "\n".join(Path(path).read_text(encoding="ascii") for path in self.root_cas) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """`redis`: one server, or the sentinels of a group (`master_name`); several `addrs` alone are a cluster."""

    addrs: tuple[str, ...] = setting(
        "addrs", "`host:port` of the server, or of the sentinels.", (), check=address_problem
    )
    addr: ClassVar = OldKey("addr", "Old spelling of `redis.addrs`.", str, replaced_by="addrs")
    username: str | None = setting("username", "User name.", None)
    password: Secret | None = setting("password", "Password of the user.", None)
    db: int = setting("db", "The number of the database.", 0)
    master_name: str | None = setting(
        "mastername", "Name of the group at the sentinels; `addrs` are then addresses of sentinels.", None
    )
    sentinel_username: str | None = setting("sentinelusername", "User name at the sentinels.", None)
    sentinel_password: Secret | None = setting("sentinelpassword", "Password at the sentinels.", None)
    client_name: str | None = setting("clientname", "Name of the connection in Redis's client list.", None)
    # Servers before version 6 support 2 too; the registry needs nothing that only version 3 offers.
    protocol: int = setting("protocol", "Version of RESP.", 2, at_least=2, at_most=3)
    retries_max: int = setting("maxretries", "Maximum number of retries of a command.", 3, at_least=-1)
    retry_backoff_seconds_min: float = setting("minretrybackoff", "First wait between attempts.", 0.008)
    retry_backoff_seconds_max: float = setting("maxretrybackoff", "Longest wait between attempts.", 0.512)
    dial_timeout_seconds: float = setting("dialtimeout", "Time limit of a connection attempt.", 5.0)
    read_timeout_seconds: float = setting("readtimeout", "Time limit of a response.", 3.0)
    write_timeout_seconds: float = setting("writetimeout", "Time limit of sending a command.", 3.0)
    operation_seconds: float = setting(
        "operationtimeout", "Time limit of an operation with all its attempts; a slower cache is useless.", 0.25
    )
    pool_timeout_seconds: float | None = setting("pooltimeout", "Time limit of waiting for a free connection.", None)
    pool_size: int | None = setting("poolsize", "Size of the connection pool.", None)
    connections_max: int | None = setting("maxactiveconns", "Maximum number of connections; 0 means no limit.", None)
    idle_connections_min: int = setting("minidleconns", "Minimum number of idle connections.", 0)
    idle_connections_max: int | None = setting("maxidleconns", "Maximum number of idle connections.", None)
    connection_idle_seconds_max: float = setting("connmaxidletime", "How long an idle connection is kept.", 1800.0)
    connection_lifetime_seconds_max: float = setting(
        "connmaxlifetime", "How long a connection is kept; 0 means without limit.", 0.0
    )
    pool: ClassVar = Group("pool", "Old spelling of the pool's keys.")
    idle_max: ClassVar = OldKey(
        "pool.maxidle", "Old spelling of `redis.maxidleconns`.", int, replaced_by="maxidleconns"
    )
    active_max: ClassVar = OldKey(
        "pool.maxactive", "Old spelling of `redis.maxactiveconns`.", int, replaced_by="maxactiveconns"
    )
    idle_timeout: ClassVar = OldKey(
        "pool.idletimeout", "Old spelling of `redis.connmaxidletime`.", float, replaced_by="connmaxidletime"
    )
    tls: RedisTlsOptions = section("tls", "TLS to Redis.", RedisTlsOptions)
    pool_fifo: ClassVar = Unused("poolfifo", "Order of the pool.")
    redirects_max: ClassVar = Unused("maxredirects", "Redirects in a cluster.")
    readonly: ClassVar = Unused("readonly", "Reads from replicas of a cluster.")
    route_by_latency: ClassVar = Unused("routebylatency", "Routing in a cluster.")
    route_randomly: ClassVar = Unused("routerandomly", "Routing in a cluster.")
    context_timeout_enabled: ClassVar = Unused("contexttimeoutenabled", "Deadlines of the Go client.")
    disable_identity: ClassVar = Unused("disableidentity", "Identity of the Go client.")
    disable_indentity: ClassVar = Unused("disableindentity", "Misspelling of `disableidentity` in older Go clients.")
    identity_suffix: ClassVar = Unused("identitysuffix", "Identity of the Go client.")
    unstable_resp3: ClassVar = Unused("unstableresp3", "Responses of search modules in the Go client.")

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Host and port of one server, or of the sentinels of `master_name`."""
        return tuple(_host_and_port(address) for address in self.addrs)

    @property
    def io_timeout_seconds(self) -> float:
        """The time limit of sending a command, and of its response: the client has only one."""
        return max(self.read_timeout_seconds, self.write_timeout_seconds)

    @property
    def pool_wait_seconds(self) -> float:
        """The time limit of waiting for a free connection."""
        return self.pool_timeout_seconds or self.io_timeout_seconds + 1

    @property
    def pool_connections_max(self) -> int:
        """The maximum number of connections."""
        return self.connections_max or self.pool_size or _CONNECTIONS_MAX


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]") or "localhost", int(port)
