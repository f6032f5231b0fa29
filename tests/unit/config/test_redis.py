"""Redis as distribution 2 and 3 configure it, as far as it is spoken to."""

from pathlib import Path

import pytest

from adapters.descriptor_cache.redis import RedisDescriptorCache
from adapters.descriptor_cache.redis_options import RedisOptions
from config.container.graph import Container
from config.errors import ConfigError
from core.model.secret import Secret
from tests.support.configuration import LoadText, problems_of

CACHED = "version: 0.1\nstorage: {inmemory: , cache: {blobdescriptor: redis}}\n"


def options_of(load_text: LoadText, redis: str) -> RedisOptions:
    cache = Container(settings=load_text(CACHED + f"redis: {redis}\n").settings).shared_descriptors()
    assert isinstance(cache, RedisDescriptorCache)
    return cache.options


def test_redis_keys_of_distribution_2_are_read(load_text: LoadText) -> None:
    options = options_of(
        load_text,
        "{addr: 'r:6380', password: hunter2, db: 2, dialtimeout: 10ms, readtimeout: 20ms, writetimeout: 30ms, "
        "pool: {maxidle: 16, maxactive: 64, idletimeout: 300s}}",
    )
    assert (options.servers, options.password, options.db) == ((("r", 6380),), Secret("hunter2"), 2)
    assert (options.dial_timeout_seconds, options.io_timeout_seconds) == (0.01, 0.03)
    assert options.pool_connections_max == 64
    assert not options.tls.is_used
    assert "hunter2" not in repr(options)


def test_redis_keys_of_distribution_3_are_read(load_text: LoadText) -> None:
    options = options_of(
        load_text,
        "{addrs: ['[::1]:26379', ':26380'], mastername: images, username: u, sentinelusername: s, poolsize: 7, "
        "sentinelpassword: hunter2, protocol: 3, maxretries: -1, pooltimeout: 9s, clientname: c}",
    )
    assert options.servers == (("::1", 26379), ("localhost", 26380))
    assert (options.master_name, options.username, options.sentinel_username) == ("images", "u", "s")
    assert (options.sentinel_password, options.protocol, options.retries_max) == (Secret("hunter2"), 3, -1)
    assert (options.pool_wait_seconds, options.client_name, options.pool_connections_max) == (9.0, "c", 7)
    assert "hunter2" not in repr(options)


def test_defaults_fit_any_server(load_text: LoadText) -> None:
    options = options_of(load_text, "{addr: 'r:1'}")
    assert (options.protocol, options.pool_connections_max, options.pool_wait_seconds) == (2, 50, 4.0)


@pytest.mark.parametrize(("tls", "is_used"), [("{enabled: true}", True), ("{enabled: false}", False), ("{}", False)])
def test_tls_needs_no_files(load_text: LoadText, tls: str, *, is_used: bool) -> None:
    options = options_of(load_text, f"{{addr: 'r:1', tls: {tls}}}")
    assert options.tls.is_used is is_used


def test_authorities_are_read(load_text: LoadText, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    options = options_of(load_text, f"{{addr: 'r:1', tls: {{rootcas: [{tmp_path}/a, {tmp_path}/b]}}}}")
    assert options.tls is not None
    assert options.tls.root_certificates() == "one\ntwo"
    with pytest.raises(ConfigError, match="rootcas"):
        options_of(load_text, f"{{addr: 'r:1', tls: {{rootcas: [{tmp_path}/missing]}}}}")


@pytest.mark.parametrize(
    ("redis", "problem"),
    [
        ("", "`storage.cache.blobdescriptor` is redis"),
        ("redis: {db: 1}\n", "`storage.cache.blobdescriptor` is redis"),
        ("redis: {addrs: ['a:1', 'b:2']}\n", "clusters are not supported"),
    ],
)
def test_cache_without_one_redis_is_refused(load_text: LoadText, redis: str, problem: str) -> None:
    [told] = problems_of(load_text, CACHED + redis)
    assert "redis.addrs" in told
    assert problem in told


def test_unused_redis_section_is_ignored(load_text: LoadText) -> None:
    loaded = load_text("version: 0.1\nstorage: inmemory\nredis: {addrs: ['a:1', 'b:2']}\n")
    assert loaded.warnings == ()
