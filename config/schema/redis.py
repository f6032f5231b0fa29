"""`redis`: the connection to Redis, in the spellings of distribution 3 and 2."""

from marshmallow import ValidationError

from config.schema.base import SectionSchema, Sub
from config.schema.collections import ListOf, Unused
from config.schema.http import address_problem
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Bool, Duration, Integer, SecretText, Text
from config.settings import RedisSettings, RedisTlsSettings


class RedisTlsSchema(SectionSchema):
    """`redis.tls`."""

    settings = RedisTlsSettings

    enabled = Bool("enabled", "Whether to use TLS if no file is given.")
    certificate = Text("certificate", "PEM file of the client's certificate.")
    key = Text("key", "PEM file of the client certificate's key.")
    root_cas = ListOf(Text("rootcas", "PEM files of the authorities that sign the server's certificate."))


class RedisPoolSchema(SectionSchema):
    """`redis.pool` of distribution 2."""

    idle_max = Integer("maxidle", "Old spelling of `redis.maxidleconns`.", replaced_by="maxidleconns")
    active_max = Integer("maxactive", "Old spelling of `redis.maxactiveconns`.", replaced_by="maxactiveconns")
    idle_timeout = Duration("idletimeout", "Old spelling of `redis.connmaxidletime`.", replaced_by="connmaxidletime")


class RedisSchema(SectionSchema):
    """`redis`."""

    settings = RedisSettings
    transparent = ("OPTIONS",)

    addrs = ListOf(Text("addrs", "`host:port` of the server, or of the sentinels.", check=address_problem))
    addr = Text("addr", "Old spelling of `redis.addrs`.", replaced_by="addrs")
    username = Text("username", "User name.")
    password = SecretText("password", "Password of the user.")
    db = Integer("db", "The number of the database.")
    master_name = Text("mastername", "Name of the group at the sentinels; `addrs` are then addresses of sentinels.")
    sentinel_username = Text("sentinelusername", "User name at the sentinels.")
    sentinel_password = SecretText("sentinelpassword", "Password at the sentinels.")
    client_name = Text("clientname", "Name of the connection in Redis's client list.")
    protocol = Integer("protocol", "Version of RESP.", at_least=2, at_most=3)
    retries_max = Integer("maxretries", "Maximum number of retries of a command.", at_least=-1)
    retry_backoff_seconds_min = Duration("minretrybackoff", "First wait between attempts.")
    retry_backoff_seconds_max = Duration("maxretrybackoff", "Longest wait between attempts.")
    dial_timeout_seconds = Duration("dialtimeout", "Time limit of a connection attempt.")
    read_timeout_seconds = Duration("readtimeout", "Time limit of a response.")
    write_timeout_seconds = Duration("writetimeout", "Time limit of sending a command.")
    pool_timeout_seconds = Duration("pooltimeout", "Time limit of waiting for a free connection.")
    pool_size = Integer("poolsize", "Size of the connection pool.")
    connections_max = Integer("maxactiveconns", "Maximum number of connections; 0 means no limit.")
    idle_connections_min = Integer("minidleconns", "Minimum number of idle connections.")
    idle_connections_max = Integer("maxidleconns", "Maximum number of idle connections.")
    connection_idle_seconds_max = Duration("connmaxidletime", "How long an idle connection is kept.")
    connection_lifetime_seconds_max = Duration(
        "connmaxlifetime", "How long a connection is kept; 0 means without limit."
    )
    pool = Sub("pool", "Old spelling of the pool's keys.", RedisPoolSchema)
    tls = Sub("tls", "TLS to Redis.", RedisTlsSchema)
    pool_fifo = Unused("poolfifo", "Order of the pool.")
    redirects_max = Unused("maxredirects", "Redirects in a cluster.")
    readonly = Unused("readonly", "Reads from replicas of a cluster.")
    route_by_latency = Unused("routebylatency", "Routing in a cluster.")
    route_randomly = Unused("routerandomly", "Routing in a cluster.")
    context_timeout_enabled = Unused("contexttimeoutenabled", "Deadlines of the Go client.")
    disable_identity = Unused("disableidentity", "Identity of the Go client.")
    disable_indentity = Unused("disableindentity", "Misspelling of `disableidentity` in older Go clients.")
    identity_suffix = Unused("identitysuffix", "Identity of the Go client.")
    unstable_resp3 = Unused("unstableresp3", "Responses of search modules in the Go client.")


def require_one_redis(redis: RedisSettings) -> None:
    """Reject a descriptor cache in Redis without an address, or in a cluster, which is not supported.

    Raises:
        ValidationError: raised under the key `redis.addrs`.
    """
    if not redis.addrs:
        problem = f"{MISSING_VALUE}: `storage.cache.blobdescriptor` is redis"
    elif len(redis.addrs) > 1 and redis.master_name is None:
        problem = "must be one server, or sentinels with `redis.mastername`; clusters are not supported"
    else:
        return
    raise ValidationError({"redis": {"addrs": [problem]}})
