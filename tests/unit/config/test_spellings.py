"""Old spellings reach the new keys; unknown keys are explained."""

import pytest

from config.settings import DescriptorCache, LogLevel
from tests.support.configuration import MINIMAL, LoadText, problems_of, sources


def test_old_log_level_applies_without_a_new_one(load_text: LoadText) -> None:
    assert load_text(MINIMAL + "loglevel: debug\n").settings.log.level is LogLevel.DEBUG
    both = load_text(MINIMAL + "loglevel: debug\nlog: {level: error}\n")
    assert both.settings.log.level is LogLevel.ERROR


def test_old_log_level_fills_an_empty_new_one_and_keeps_a_wrong_section(load_text: LoadText) -> None:
    assert load_text(MINIMAL + "loglevel: debug\nlog: {level: }\n").settings.log.level is LogLevel.DEBUG
    assert load_text(MINIMAL + "loglevel: debug\nlog:\n").settings.log.level is LogLevel.DEBUG
    [problem] = problems_of(load_text, MINIMAL + "loglevel: debug\nlog: 5\n")
    assert "`log` must be a mapping of keys" in problem


def test_old_spelling_in_a_variable_beats_the_file(load_text: LoadText) -> None:
    loaded = load_text(MINIMAL + "redis: {addrs: ['a:1', 'b:2']}\n", {"REGISTRY_REDIS_ADDR": "c:3"})
    assert loaded.settings.redis is not None
    assert loaded.settings.redis.addrs == ("c:3",)
    assert sources(loaded)["redis.addrs"] == "REGISTRY_REDIS_ADDR"


def test_old_spellings_are_noted(load_text: LoadText) -> None:
    [note] = load_text(MINIMAL + "loglevel: debug\n").notes
    assert note.endswith("config.yml:3: `loglevel` is an old spelling of `log.level`")


def test_redis_keys_of_distribution_2_are_read(load_text: LoadText) -> None:
    text = """\
        version: 0.1
        storage: inmemory
        redis:
          addr: localhost:6379
          password: asecret
          db: 2
          dialtimeout: 10ms
          pool: {maxidle: 16, maxactive: 64, idletimeout: 300s}
          tls: {enabled: false}
        """
    redis = load_text(text).settings.redis
    assert redis is not None
    assert (redis.addrs, redis.db, redis.dial_timeout_seconds) == (("localhost:6379",), 2, 0.01)
    assert (redis.idle_connections_max, redis.connections_max, redis.connection_idle_seconds_max) == (16, 64, 300.0)


@pytest.mark.parametrize(
    ("section", "disabled"),
    [
        ("{enabled: true}", False),
        ("{enabled: false}", True),
        ("{enabled: false, disabled: false}", False),
        ("{disabled: true}", True),
    ],
)
def test_validation_enabled_is_the_old_key_for_disabled(load_text: LoadText, section: str, *, disabled: bool) -> None:
    assert load_text(MINIMAL + f"validation: {section}\n").settings.validation.disabled is disabled


def test_old_key_keeps_its_type_error(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL + "validation: {enabled: perhaps}\n")
    assert "must be true or false, not `perhaps`" in problem


def test_old_cache_key_is_read(load_text: LoadText) -> None:
    storage = load_text("version: 0.1\nstorage: {inmemory: , cache: {layerinfo: inmemory}}\n").settings.storage
    assert storage.blob_descriptor_cache is DescriptorCache.INMEMORY


def test_old_list_of_ignored_media_types_is_read(load_text: LoadText) -> None:
    text = (
        MINIMAL + "notifications: {endpoints: [{name: a, url: 'http://u', ignoredmediatypes: [x], "
        "ignore: {actions: [pull]}}]}\n"
    )
    [endpoint] = load_text(text).settings.notifications.endpoints
    assert (endpoint.ignored_media_types, endpoint.ignored_actions) == (("x",), ("pull",))


def test_both_spellings_of_a_driver_are_one(load_text: LoadText) -> None:
    text = "version: 0.1\nstorage: {s3aws: {bucket: old, region: r}}\n"
    storage = load_text(text, {"REGISTRY_STORAGE_S3_BUCKET": "new"}).settings.storage
    assert (storage.s3.bucket, storage.s3.region) == ("new", "r")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x-http: {addr: ':1'}", "`x-http` is not a known key; did you mean `http`?"),
        ("http: {addr: ':1', adress: ':2'}", "`http.adress` is not a known key; did you mean `http.addr`?"),
        ("logging: {level: info}", "`logging` is not a known key"),
        ("log: {maxentries: 5}", "`log.maxentries` is not a known key; did you mean `catalog.maxentries`?"),
        ("xyzzy: 1", "`xyzzy` is not a known key"),
        ("'a\\x1b[0m': 1", "is not a known key"),
    ],
)
def test_unknown_keys_are_warned_about(load_text: LoadText, line: str, said: str) -> None:
    [warning] = [each for each in load_text(MINIMAL + line + "\n").warnings if "known key" in each]
    assert said in warning
    assert "config.yml:3: " in warning
    assert warning.isprintable()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("auth: {htpaswd: {realm: r, path: p}}", "`auth.htpaswd` is not a known key; did you mean `auth.htpasswd`?"),
        ("auth: {ldap: {url: u}}", "`auth.ldap` is not a known key"),
        ("auth: ldap", "`auth.ldap` is not a known key"),
        ("auht: {htpasswd: {realm: r, path: p}}", "`auht` is not a known key; did you mean `auth`?"),
        ("Auth: {htpasswd: {realm: r, path: p}}", "`Auth` is not a known key; did you mean `auth`?"),
        ("http: {TLS: {certificate: c, key: k}}", "`http.TLS` is not a known key; did you mean `http.tls`?"),
        ("Proxy: {remoteurl: 'http://x'}", "`Proxy` is not a known key; did you mean `proxy`?"),
        ("htttp: {addr: ':1'}", "`htttp` is not a known key; did you mean `http`?"),
        ("htpt: {addr: ':1'}", "`htpt` is not a known key; did you mean `http`?"),
        ("HTTP: {addr: ':1'}", "`HTTP` is not a known key; did you mean `http`?"),
        ("lgo: {level: info}", "`lgo` is not a known key; did you mean `log`?"),
        ("notification: {endpoints: []}", "`notification` is not a known key; did you mean `notifications`?"),
        ("notfication: {endpoints: []}", "`notfication` is not a known key; did you mean `notifications`?"),
        ("retenton: {}", "`retenton` is not a known key; did you mean `retention`?"),
        ("http: {adr: ':1'}", "`http.adr` is not a known key; did you mean `http.addr`?"),
        ("http: {adress: ':1'}", "`http.adress` is not a known key; did you mean `http.addr`?"),
        ("http: {address: ':1'}", "`http.address` is not a known key; did you mean `http.addr`?"),
        ("http: {tsl: {certificate: c, key: k}}", "`http.tsl` is not a known key; did you mean `http.tls`?"),
        ("health: {tcp: [{addr: 'x:1', treshold: 3}]}", "did you mean `health.tcp[0].threshold`?"),
    ],
)
def test_misspelt_keys_stop_the_start(load_text: LoadText, lines: str, said: str) -> None:
    [problem] = problems_of(load_text, MINIMAL + lines + "\n")
    assert said in problem
