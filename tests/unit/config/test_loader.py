"""The loader finds the file, reads it, and reports all problems in it."""

from collections.abc import Callable
from pathlib import Path

import pytest

import config
from adapters.blob_storage.scs import REGIONS
from config.errors import ConfigError
from config.loader import find_path, load, load_side
from config.settings import (
    AuthKind,
    DescriptorCache,
    HttpNetwork,
    LogFormatter,
    Secret,
    Settings,
    StorageKind,
    TlsVersion,
)
from config.variables import Side
from tests.support.configuration import MINIMAL, SCS, LoadText, problems_of, shown, sources

SHIPPED = Path(config.__file__).parent
SCS_VARIABLES = {
    "REGISTRY_STORAGE_SCS_ACCESSKEY": "AK",
    "REGISTRY_STORAGE_SCS_SECRETKEY": "SK",
    "REGISTRY_STORAGE_SCS_REGION": "shctc-internal",
    "REGISTRY_STORAGE_SCS_BUCKET": "images",
}


def test_argument_comes_before_the_variable() -> None:
    environ = {"REGISTRY_CONFIGURATION_PATH": "/b"}
    assert find_path("/a", environ=environ) == "/a"
    assert find_path(None, environ=environ) == "/b"


def test_classic_paths_are_tried_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    second = tmp_path / "config.yml"
    monkeypatch.setattr("config.loader.CLASSIC_PATHS", (str(tmp_path / "none.yml"), str(second)))
    with pytest.raises(ConfigError, match=r"^configuration path unspecified: "):
        find_path(None, environ={})
    second.write_text(MINIMAL, encoding="utf-8")
    assert find_path(None, environ={}) == str(second)


@pytest.mark.parametrize(
    ("name", "value", "is_enough"),
    [
        ("REGISTRY_STORAGE", "inmemory", True),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/srv", True),
        ("REGISTRY_STORAGE_S3", "{bucket: images}", True),
        ("REGISTRY_STORAGE_SCS_SECRETKEY_FILE", "/run/secrets/scs", True),
        ("REGISTRY_STORAGE", "", False),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true", False),
        ("REGISTRY_STORAGE_SCSX", "1", False),
        ("REGISTRY_HTTP_ADDR", ":5000", False),
    ],
)
def test_no_file_is_needed_if_variables_select_the_storage(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, is_enough: bool
) -> None:
    monkeypatch.setattr("config.loader.CLASSIC_PATHS", ())
    if is_enough:
        assert find_path(None, environ={name: value}) is None
    else:
        with pytest.raises(ConfigError, match="REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"):
            find_path(None, environ={name: value})


def test_classic_path_comes_before_variables_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(MINIMAL, encoding="utf-8")
    monkeypatch.setattr("config.loader.CLASSIC_PATHS", (str(path),))
    assert find_path(None, environ={"REGISTRY_STORAGE": "inmemory"}) == str(path)


def test_variables_of_the_old_registry_are_a_configuration() -> None:
    loaded = load(None, environ=SCS_VARIABLES)
    assert loaded.settings.storage.kind is StorageKind.SCS
    assert (loaded.path, loaded.files, loaded.warnings) == (None, [], ())


@pytest.mark.parametrize("named", ["", "/etc/ssl/own.pem"])
def test_authorities_of_the_store_are_those_of_the_aws_sdks(named: str) -> None:
    loaded = load(None, environ={**SCS_VARIABLES, "AWS_CA_BUNDLE": named})
    assert loaded.settings.storage.authorities == (named or None)


def test_both_sides_of_a_copy_trust_the_authorities_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(MINIMAL, encoding="utf-8")
    for plain in (None, Side.TO):
        loaded = load_side(str(path), Side.FROM, plain=plain, environ={"AWS_CA_BUNDLE": "/own.pem"})
        assert loaded.settings.storage.authorities == "/own.pem"


def test_problems_without_a_file_name_the_variables() -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, environ={"REGISTRY_STORAGE": "s3", "REGISTRY_LOG_LEVEL": "loud"})
    assert any("REGISTRY_STORAGE_S3_BUCKET" in problem for problem in raised.value.problems)
    assert any(problem.startswith("REGISTRY_LOG_LEVEL: `log.level` must be") for problem in raised.value.problems)


def test_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(MINIMAL, encoding="utf-8")
    monkeypatch.setenv("REGISTRY_CONFIGURATION_PATH", str(path))
    monkeypatch.setenv("REGISTRY_TAGS_MAXTAGS", "7")
    assert load(find_path(None)).settings.tags.tags_max == 7


def _directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda _path: None, "cannot be read: No such file"),
        (_directory, "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
        (lambda path: path.write_bytes(b"#" * 600_000), "is larger than 524288 bytes"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, prepare: Callable[[Path], object], said: str) -> None:
    path = tmp_path / "config.yml"
    prepare(path)
    with pytest.raises(ConfigError) as raised:
        load(str(path), environ={})
    assert raised.value.problems[0].startswith(f"{path}: {said}")


@pytest.mark.parametrize("version", ["0.1", "'0.1'"])
def test_version_may_be_quoted(load_text: LoadText, version: str) -> None:
    assert load_text(f"version: {version}\nstorage: inmemory\n").settings.version == "0.1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "`version` must be given as 0.1"),
        ("version: 0.2", "`version` must be one of 0.1, not `0.2`"),
        ("version: 0.10", "not `0.10`"),
        ("version: [0.1]", "must be a single value"),
    ],
)
def test_other_versions_are_refused(load_text: LoadText, line: str, said: str) -> None:
    [problem] = problems_of(load_text, f"{line}\nstorage: inmemory\n")
    assert said in problem


def test_smallest_file_gives_the_defaults(load_text: LoadText) -> None:
    assert load_text(MINIMAL).settings == Settings()


def test_all_problems_are_reported_at_once(load_text: LoadText) -> None:
    text = """\
        version: 0.1
        storage: {filesystem: {maxthreads: many}}
        http: {addr: nowhere, prefix: "a b", host: registry, draintimeout: soon}
        log: {level: loud, formatter: xml, fields: 5}
        health: {tcp: [{addr: 'x:1'}, {}]}
        """
    problems = problems_of(load_text, text)
    keys = {problem.split("`")[1] for problem in problems}
    assert keys == {
        "storage.filesystem.maxthreads",
        "http.addr",
        "http.prefix",
        "http.host",
        "http.draintimeout",
        "log.level",
        "log.formatter",
        "log.fields",
        "health.tcp[1].addr",
    }
    assert all(problem.split("`")[0].endswith((":2: ", ":3: ", ":4: ", ":5: ")) for problem in problems)


@pytest.mark.parametrize("addr", [":5000", "127.0.0.1:0", "[::1]:5000", "registry.example.com:80", "[fe80::1%eth0]:1"])
def test_tcp_addresses_are_parsed(load_text: LoadText, addr: str) -> None:
    assert load_text(MINIMAL + f"http: {{addr: '{addr}'}}\n").settings.http.addr == addr


@pytest.mark.parametrize("addr", ["5000", "localhost", ":", ":65536", "::1:5000", "a b:1", "http://x:1", ":-1"])
def test_other_addresses_are_refused(load_text: LoadText, addr: str) -> None:
    [problem] = problems_of(load_text, MINIMAL + f"http: {{addr: '{addr}'}}\n")
    assert "`http.addr` must be `host:port`" in problem


def test_unix_socket_address_is_a_path(load_text: LoadText) -> None:
    http = load_text(MINIMAL + "http: {net: unix, addr: /run/registry.sock}\n").settings.http
    assert (http.net, http.addr) == (HttpNetwork.UNIX, "/run/registry.sock")
    [problem] = problems_of(load_text, MINIMAL + "http: {net: unix}\n")
    assert "`http.addr` must be the path of a socket" in problem


@pytest.mark.parametrize(("given", "taken"), [("/", "/"), ("a", "/a/"), ("/a/b", "/a/b/"), ("/a/", "/a/"), ("//", "/")])
def test_prefix_gets_both_slashes(load_text: LoadText, given: str, taken: str) -> None:
    assert load_text(MINIMAL + f"http: {{prefix: {given}}}\n").settings.http.prefix == taken


def test_durations_are_go_texts_or_nanoseconds(load_text: LoadText) -> None:
    text = MINIMAL + "http: {draintimeout: 1m30s}\nhealth: {storagedriver: {interval: 10000000000}}\n"
    settings = load_text(text).settings
    assert settings.http.drain_timeout_seconds == 90.0
    assert settings.health.storage.interval_seconds == 10.0


def test_texts_of_the_file_keep_their_spelling(load_text: LoadText) -> None:
    text = SCS.replace("SK", "012").replace("AK", "1e3").replace("images", "yes")
    scs = load_text(text).settings.storage.scs
    assert (scs.access_key, scs.secret_key, scs.bucket) == ("1e3", Secret("012"), "yes")


@pytest.mark.parametrize(("given", "taken"), [("-5", 1000), ("0", 1000), ("50", 50), ("'50'", 50)])
def test_catalog_page_falls_back(load_text: LoadText, given: str, taken: int) -> None:
    assert load_text(MINIMAL + f"catalog: {{maxentries: {given}}}\n").settings.catalog.entries_max == taken


def test_scs_reports_all_missing_keys(load_text: LoadText) -> None:
    problems = problems_of(load_text, "version: 0.1\nstorage: {scs: {accesskey: , bucket: ''}}\n")
    for key in ("accesskey", "secretkey", "region", "bucket"):
        expected = f"`storage.scs.{key}` is missing; set it in the file or as REGISTRY_STORAGE_SCS_{key.upper()}"
        assert sum(expected in problem for problem in problems) == 1
    assert len(problems) == 4


@pytest.mark.parametrize("region", REGIONS)
def test_scs_has_known_regions(load_text: LoadText, region: str) -> None:
    assert load_text(SCS.replace("bjcnc", region)).settings.storage.scs.region == region


def test_scs_lists_its_regions_unless_there_is_an_endpoint(load_text: LoadText) -> None:
    text = SCS.replace("bjcnc", "mars")
    [problem] = problems_of(load_text, text)
    assert "`storage.scs.region` must be one of " + ", ".join(REGIONS) in problem
    with_endpoint = {"REGISTRY_STORAGE_SCS_ENDPOINT": "localhost:9000"}
    assert load_text(text, with_endpoint).settings.storage.scs.endpoint == "localhost:9000"


@pytest.mark.parametrize(
    ("parameters", "keys"),
    [
        ("", {"bucket", "region"}),
        ("bucket: b", {"region"}),
        ("bucket: b, region: r, accesskey: a", {"secretkey"}),
        ("bucket: b, region: r, secretkey: s", {"accesskey"}),
        ("bucket: b, region: r, chunksize: 100", {"chunksize"}),
        ("bucket: b, region: r, storageclass: COLD", {"storageclass"}),
        ("bucket: b, region: r, objectacl: mine", {"objectacl"}),
    ],
)
def test_s3_needs_bucket_place_and_whole_pairs(load_text: LoadText, parameters: str, keys: set[str]) -> None:
    problems = problems_of(load_text, f"version: 0.1\nstorage: {{s3: {{{parameters}}}}}\n")
    assert {problem.split("`")[1] for problem in problems} == {f"storage.s3.{key}" for key in keys}


@pytest.mark.parametrize("driver", ["s3", "s3aws", "s3goamz"])
def test_s3_driver_has_three_names(load_text: LoadText, driver: str) -> None:
    text = f"version: 0.1\nstorage: {{{driver}: {{bucket: b, regionendpoint: 'http://x', storageclass: NONE}}}}\n"
    storage = load_text(text, {f"REGISTRY_STORAGE_{driver.upper()}_SECURE": "false"}).settings.storage
    assert (storage.kind, storage.s3.bucket, storage.s3.secure) == (StorageKind.S3, "b", False)
    assert storage.s3.storage_class is None


@pytest.mark.parametrize(
    "text",
    [
        "version: 0.1\n",
        "version: 0.1\nstorage: {delete: {enabled: true}}\n",
        "version: 0.1\nstorage: floppy\n",
        "version: 0.1\nstorage: \n",
    ],
)
def test_no_driver_is_refused_with_the_choices(load_text: LoadText, text: str) -> None:
    [problem] = problems_of(load_text, text)
    choices = "filesystem, inmemory, scs, s3, gcs, oss, swift"
    assert f"`storage` selects no driver: give one of {choices} here, or in REGISTRY_STORAGE" in problem


def test_two_auth_methods_are_refused(load_text: LoadText) -> None:
    text = MINIMAL + "auth: {htpasswd: {realm: r, path: p}}\n"
    variables = {"REGISTRY_AUTH_SILLY_REALM": "r", "REGISTRY_AUTH_SILLY_SERVICE": "s"}
    assert any(
        "`auth` selects 2 methods, silly and htpasswd" in each for each in problems_of(load_text, text, variables)
    )


def test_empty_auth_section_is_none(load_text: LoadText) -> None:
    assert load_text(MINIMAL + "auth:\n").settings.auth.methods == (AuthKind.NONE,)


def test_tls_needs_certificate_and_key(load_text: LoadText) -> None:
    problems = problems_of(load_text, MINIMAL + "http: {tls: {clientcas: [ca.pem]}}\n")
    keys = {problem.split("`")[1] for problem in problems}
    assert {"http.tls.certificate", "http.tls.key"} <= keys
    assert load_text(MINIMAL + "http: {tls: {certificate: , key: }}\n").settings.http.tls is None


def test_old_tls_versions_are_refused(load_text: LoadText) -> None:
    text = MINIMAL + "http: {tls: {certificate: c, key: k, minimumtls: tls1.0}}\n"
    assert any(f"must be one of {', '.join(TlsVersion)}" in problem for problem in problems_of(load_text, text))


def test_mysql_address_of_the_file_is_read(load_text: LoadText) -> None:
    catalog = load_text(MINIMAL + "catalog: {backend: mysql, mysql: {dsn: 'u:p@tcp(h:1)/d'}}\n").settings.catalog
    assert catalog.mysql_dsn == Secret("u:p@tcp(h:1)/d")


@pytest.mark.parametrize("pattern", ["(", "[[:alpha:]]", "*a"])
def test_bad_regular_expressions_are_refused(load_text: LoadText, pattern: str) -> None:
    [problem] = problems_of(load_text, MINIMAL + f"validation: {{manifests: {{urls: {{deny: [ok, '{pattern}']}}}}}}\n")
    assert f"urls.deny[1]` must be a regular expression of Python, not `{pattern}`" in problem


def test_problems_show_no_secret(load_text: LoadText) -> None:
    text = "version: 0.1\nstorage: {s3: {bucket: b, secretkey: hunter2}}\nhttp: {secret: [hunter2]}\n"
    problems = problems_of(load_text, text, {"SEARCH_BACKEND_MYSQL": "hunter2", "REGISTRY_REDIS_PASSWORD": "hunter2"})
    assert len(problems) == 3
    assert "hunter2" not in "".join(problems)


def test_shipped_scs_file_waits_for_the_environment() -> None:
    path = str(SHIPPED / "config-scs.yml")
    with pytest.raises(ConfigError) as raised:
        load(path, environ={})
    assert len(raised.value.problems) == 4
    loaded = load(path, environ=SCS_VARIABLES)
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.storage.kind is StorageKind.SCS
    assert (settings.storage.scs.access_key, settings.storage.scs.region) == ("AK", "shctc-internal")
    assert settings.storage.blob_descriptor_cache is DescriptorCache.INMEMORY
    assert settings.log.fields == {"service": "registry"}
    assert settings.http.addr == ":5000"
    assert settings.http.headers == {"X-Content-Type-Options": ("nosniff",)}
    assert (settings.health.storage.enabled, settings.health.storage.threshold) == (True, 3)
    assert load(path, environ={"REGISTRY_STORAGE": "filesystem"}).settings.storage.kind is StorageKind.FILESYSTEM


def test_shipped_development_file_loads_as_it_is() -> None:
    loaded = load(str(SHIPPED / "config-dev.yml"), environ={})
    assert (loaded.warnings, loaded.notes) == ((), ())
    assert loaded.settings.storage.filesystem.root_directory == "./var/registry"
    assert loaded.settings.log.formatter is LogFormatter.TEXT


def test_effective_values_have_values_and_sources(load_text: LoadText) -> None:
    text = MINIMAL + "http: {draintimeout: 90s, headers: {X-A: [b]}}\nhealth: {tcp: [{addr: 'x:1'}]}\n"
    loaded = load_text(text, {"REGISTRY_HTTP_SECRET": "s" * 16, "REGISTRY_LOG_FIELDS_A": "b c"})
    values, places = shown(loaded), sources(loaded)
    assert (values["http.draintimeout"], places["http.draintimeout"]) == ("90s", "config.yml:3")
    assert (values["http.secret"], places["http.secret"]) == ('"********"', "REGISTRY_HTTP_SECRET")
    assert values["http.headers"] == '{"X-A": ["********"]}'
    assert values["log.fields"] == '{"a": "b c"}'
    assert values["health.tcp[0].addr"] == '"x:1"'
    assert (values["health.tcp[0].interval"], places["health.tcp[0].interval"]) == ("10s", "default")
    assert (values["storage.inmemory"], places["storage.inmemory"]) == ("{}", "config.yml:2")
    unselected = ("storage.scs", "storage.s3", "auth.htpasswd", "auth.token", "auth.silly", "redis.", "http.tls")
    assert not any(key.startswith(unselected) for key in values)


def test_effective_values_hide_free_parameters(load_text: LoadText) -> None:
    text = MINIMAL + "middleware: {registry: [{name: own, options: {privatekey: hunter2}}]}\n"
    assert shown(load_text(text))["middleware.registry[0].options"] == '["privatekey"]'


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ("{'X Y': [a]}", "`http.headers.X Y` is not a legal header name"),
        ('{X: ["a\\r\\nSet-Cookie: b"]}', "`http.headers.X` contains a control character"),
        ("{X: [a, {b: c}]}", "`http.headers.X[1]` must be a single value"),
        ("[a]", "`http.headers` must be a mapping of header names to lists"),
        ("{X: {b: c}}", "`http.headers.X` must be a list"),
    ],
)
def test_headers_are_legal(load_text: LoadText, headers: str, said: str) -> None:
    [problem] = problems_of(load_text, MINIMAL + f"http: {{headers: {headers}}}\n")
    assert said in problem


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("health: {tcp: {addr: 'x:1'}}", "`health.tcp` must be a list"),
        ("log: info", "`log` must be a mapping of keys"),
        ("log: [info]", "`log` must be a mapping of keys"),
        ("tags: {maxtags: [1]}", "`tags.maxtags` must be a single value"),
        ("tags: {maxtags: true}", "`tags.maxtags` must be a whole number"),
        ("tags: {maxtags: 1.5}", "`tags.maxtags` must be a whole number"),
        ("health: {storagedriver: {interval: -1s}}", "must be a duration such as 10s"),
        ("health: {http: [{uri: 'http://u', statuscode: 99}]}", "must be from 100 to 599, not `99`"),
        ("redis: {addrs: [nowhere]}", "`redis.addrs[0]` must be `host:port`"),
    ],
)
def test_wrong_shapes_and_values_are_reported(load_text: LoadText, line: str, said: str) -> None:
    [problem] = problems_of(load_text, MINIMAL + line + "\n")
    assert said in problem


def test_storage_section_must_be_one(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, "version: 0.1\nstorage: [inmemory]\n")
    assert "`storage` must be a mapping of keys" in problem


def test_token_section_needs_a_key_to_verify_with(load_text: LoadText) -> None:
    problems = problems_of(load_text, MINIMAL + "auth: {token: {realm: r, issuer: i, service: s}}\n")
    assert any("`auth.token.rootcertbundle` is missing, unless `jwks` is given" in problem for problem in problems)


@pytest.mark.parametrize(("given", "taken"), [("0", None), ("8", 8)])
def test_tag_concurrency_0_is_the_number_of_cores(load_text: LoadText, given: str, taken: int | None) -> None:
    text = f"version: 0.1\nstorage: {{inmemory: , tag: {{concurrencylimit: {given}}}}}\n"
    assert load_text(text).settings.storage.tag_concurrency_limit == taken


def test_impossible_path_is_reported() -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        load("config\0.yml", environ={})


def test_credentials_in_urls_are_not_shown(load_text: LoadText) -> None:
    text = (
        MINIMAL
        + """\
notifications: {endpoints: [{name: n, url: 'https://user:hunter2@host/events', headers: {Authorization: [hunter2]}}]}
health: {http: [{uri: 'https://:hunter2@host/', headers: {Authorization: [hunter2]}}]}
"""
    )
    loaded = load_text(text)
    assert loaded.settings.notifications.endpoints[0].url == "https://user:hunter2@host/events"
    assert shown(loaded)["notifications.endpoints[0].url"] == '"https://********@host/events"'
    assert "hunter2" not in str(loaded.effective)
    [problem] = problems_of(load_text, MINIMAL + "redis: {addr: 'redis://:hunter2@host:6379'}\n")
    assert problem.endswith("must be `host:port`, `:port` or `[ipv6]:port`, not `redis://********@host:6379`")


def test_middleware_options_have_names(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL + "middleware: {registry: [{name: a, options: [b]}]}\n")
    assert "`middleware.registry[0].options` must be a mapping of names to values" in problem


def test_effective_values_hide_credentials_of_urls_and_headers(load_text: LoadText) -> None:
    """Users, passwords and queries of URLs, and the values of all headers."""
    text = (
        MINIMAL
        + "notifications: {endpoints: [{name: a, url: 'https://hunter2:hunter2@a/x?t=hunter2',"
        + " headers: {X-Key: [hunter2]}}]}\n"
        + "health: {http: [{uri: 'http://a/y?sig=hunter2', headers: {X-Key: hunter2}}]}\n"
        + "http: {headers: {X-Secret: [hunter2]}}\n"
    )
    loaded = load_text(text)
    values = shown(loaded)
    assert values["notifications.endpoints[0].url"] == '"https://********@a/x?********"'
    assert values["health.http[0].uri"] == '"http://a/y?********"'
    assert "hunter2" not in "".join(each.line() for each in loaded.effective)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("storage: {s3: {region: r, bucket: a/b}}", "`storage.s3.bucket` must be the name of a bucket alone"),
        ("storage: {s3: {region: r, bucket: 's3://b'}}", "`storage.s3.bucket` must be the name of a bucket alone"),
        ("storage: {scs: {accesskey: a, secretkey: b, region: bjcnc, bucket: a/b}}", "`storage.scs.bucket` must be"),
        ("storage: {s3: {regionendpoint: 'ftp://a', bucket: b}}", "`storage.s3.regionendpoint` must be `host`"),
        ("storage: {s3: {regionendpoint: 'a:b', bucket: b}}", "`storage.s3.regionendpoint` must be `host`"),
        ("storage: {s3: {region: r, redirectendpoint: 'a b', bucket: b}}", "`storage.s3.redirectendpoint` must be"),
        (
            "storage: {scs: {accesskey: a, secretkey: b, region: r, bucket: b, endpoint: 'a:99999'}}",
            "`storage.scs.endpoint` must be",
        ),
        ("storage: inmemory\nhealth: {tcp: [{addr: nowhere}]}", "`health.tcp[0].addr` must be `host:port`"),
        ("storage: inmemory\nhealth: {http: [{uri: nowhere}]}", "`health.http[0].uri` must be a URL such as"),
    ],
)
def test_impossible_addresses_are_refused(load_text: LoadText, line: str, said: str) -> None:
    [problem] = problems_of(load_text, f"version: 0.1\n{line}\n")
    assert said in problem


@pytest.mark.parametrize("bucket", ["images", "My_Old.Bucket", "arn:aws:s3:eu-west-1:1:accesspoint/ap"])
def test_names_of_buckets_are_those_of_s3(load_text: LoadText, bucket: str) -> None:
    storage = load_text(f"version: 0.1\nstorage: {{s3: {{region: r, bucket: '{bucket}'}}}}\n").settings.storage
    assert storage.s3.bucket == bucket
