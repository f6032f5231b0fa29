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

    enabled = Bool("enabled", "Whether TLS is spoken where no file is given.")
    certificate = Text("certificate", "PEM file of the client's certificate.")
    key = Text("key", "PEM file of its key.")
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

    addrs = ListOf(Text("addrs", "`host:port` of one server, or of several.", check=address_problem))
    addr = Text("addr", "Old spelling of `redis.addrs`.", replaced_by="addrs")
    username = Text("username", "The user.")
    password = SecretText("password", "The user's password.")
    db = Integer("db", "The number of the database.")
    master_name = Text("mastername", "The group that sentinels watch; `addrs` are then those of sentinels.")
    sentinel_username = Text("sentinelusername", "The user at the sentinels.")
    sentinel_password = SecretText("sentinelpassword", "That user's password.")
    client_name = Text("clientname", "The name under which the connection is listed.")
    protocol = Integer("protocol", "The version of RESP.", at_least=2, at_most=3)
    retries_max = Integer("maxretries", "How often a command is tried again.", at_least=-1)
    retry_backoff_seconds_min = Duration("minretrybackoff", "The first wait between tries.")
    retry_backoff_seconds_max = Duration("maxretrybackoff", "The longest wait between tries.")
    dial_timeout_seconds = Duration("dialtimeout", "How long connecting may take.")
    read_timeout_seconds = Duration("readtimeout", "How long an answer may take.")
    write_timeout_seconds = Duration("writetimeout", "How long sending may take.")
    pool_timeout_seconds = Duration("pooltimeout", "How long to wait for a free connection.")
    pool_size = Integer("poolsize", "How many connections are kept.")
    connections_max = Integer("maxactiveconns", "How many connections there are at most; 0 is no limit.")
    idle_connections_min = Integer("minidleconns", "How many idle connections are kept ready.")
    idle_connections_max = Integer("maxidleconns", "How many idle connections are kept at most.")
    connection_idle_seconds_max = Duration("connmaxidletime", "How long an idle connection is kept.")
    connection_lifetime_seconds_max = Duration("connmaxlifetime", "How long a connection is kept; 0 for ever.")
    pool = Sub("pool", "Old spelling of the pool's keys.", RedisPoolSchema)
    tls = Sub("tls", "TLS towards Redis.", RedisTlsSchema)
    pool_fifo = Unused("poolfifo", "Order of the pool.")
    redirects_max = Unused("maxredirects", "Redirects in a cluster.")
    readonly = Unused("readonly", "Reads from replicas of a cluster.")
    route_by_latency = Unused("routebylatency", "Routing in a cluster.")
    route_randomly = Unused("routerandomly", "Routing in a cluster.")
    context_timeout_enabled = Unused("contexttimeoutenabled", "Deadlines of the Go client.")
    disable_identity = Unused("disableidentity", "Identity of the Go client.")
    disable_indentity = Unused("disableindentity", "The same, as the Go client once spelt it.")
    identity_suffix = Unused("identitysuffix", "Identity of the Go client.")
    unstable_resp3 = Unused("unstableresp3", "Answers of search modules in the Go client.")


def require_one_redis(redis: RedisSettings) -> None:
    """Reject a descriptor cache in Redis without an address, or in a cluster, which is not supported.

    Raises:
        ValidationError: raised under the key `redis.addrs`.
    """
    if not redis.addrs:
        problem = f"{MISSING_VALUE}: `storage.cache.blobdescriptor` says redis"
    elif len(redis.addrs) > 1 and redis.master_name is None:
        problem = "several servers without `redis.mastername` are a cluster, which is not supported"
    else:
        return
    raise ValidationError({"redis": {"addrs": [problem]}})
