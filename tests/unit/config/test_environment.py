"""Variables over the file: distribution's rules, and each of its traps that is repaired here."""

from pathlib import Path

import pytest

from config.settings import AuthKind, CatalogBackend, LogLevel, Secret, StorageKind
from tests.support.configuration import MINIMAL, SCS, LoadText, problems_of, shown, sources

FILESYSTEM = "version: 0.1\nstorage: {filesystem: {rootdirectory: /data}, delete: {enabled: false}}\n"


def test_variables_beat_the_file_and_the_file_beats_defaults(load_text: LoadText) -> None:
    loaded = load_text(MINIMAL + "log: {level: warn, formatter: json}\n", {"REGISTRY_LOG_LEVEL": "debug"})
    assert loaded.settings.log.level is LogLevel.DEBUG
    found = sources(loaded)
    assert found["log.level"] == "REGISTRY_LOG_LEVEL"
    assert found["log.formatter"] == "config.yml:3"
    assert found["log.reportcaller"] == "default"


def test_storage_variable_replaces_the_whole_section(load_text: LoadText) -> None:
    storage = load_text(FILESYSTEM, {"REGISTRY_STORAGE": "inmemory"}).settings.storage
    assert storage.kind is StorageKind.INMEMORY
    assert storage.delete_enabled


def test_longer_names_add_to_what_shorter_ones_replaced(load_text: LoadText) -> None:
    variables = {"REGISTRY_STORAGE_DELETE_ENABLED": "false", "REGISTRY_STORAGE": "filesystem"}
    variables["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"] = "/elsewhere"
    storage = load_text(MINIMAL, variables).settings.storage
    assert storage.filesystem.root_directory == "/elsewhere"
    assert not storage.delete_enabled


def test_second_driver_is_refused_with_both_names_and_the_remedy(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, FILESYSTEM, {"REGISTRY_STORAGE_S3_BUCKET": "b"})
    assert "selects 2 drivers" in problem
    assert "filesystem (" in problem
    assert "s3 (REGISTRY_STORAGE_S3_BUCKET)" in problem
    assert "REGISTRY_STORAGE=s3 replaces the section" in problem


def test_section_value_resets_its_other_keys(load_text: LoadText) -> None:
    text = MINIMAL + "http: {prefix: /p/, relativeurls: true}\n"
    http = load_text(text, {"REGISTRY_HTTP": '{addr: ":5001"}'}).settings.http
    assert (http.addr, http.prefix, http.relative_urls) == (":5001", "/", False)


@pytest.mark.parametrize(
    "variables",
    [
        {"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true"},
        {"REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}"},
        {"REGISTRY_STORAGE_MAINTENANCE": "{readonly: {enabled: true}}"},
    ],
)
@pytest.mark.parametrize(
    "text", [MINIMAL, "version: 0.1\nstorage: {inmemory: , maintenance: {readonly: {enabled: false}}}\n"]
)
def test_read_only_can_be_switched_by_all_three_forms(
    load_text: LoadText, text: str, variables: dict[str, str]
) -> None:
    assert load_text(text, variables).settings.storage.readonly_enabled


def test_upload_purging_can_be_switched_off(load_text: LoadText) -> None:
    variables = {"REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED": "false"}
    purging = load_text(MINIMAL, variables).settings.storage.upload_purging
    assert not purging.enabled
    assert purging.age_seconds == 168 * 3600


@pytest.mark.parametrize(
    "secret", ["@a", "a: b", "a #b", "[x", "*x", "&x", "%x", "`x", "!x", "012", "1e3", "yes", "a b"]
)
def test_secrets_need_no_yaml_quotes(load_text: LoadText, secret: str) -> None:
    variables = {"REGISTRY_REDIS_PASSWORD": secret, "REGISTRY_STORAGE_SCS_SECRETKEY": secret}
    settings = load_text(SCS, variables).settings
    assert settings.redis is not None
    assert settings.redis.password == Secret(secret)
    assert settings.storage.scs.secret_key == Secret(secret)


def test_yaml_quotes_of_older_deployments_are_undone(load_text: LoadText) -> None:
    settings = load_text(MINIMAL, {"REGISTRY_HTTP_SECRET": "'a #b of older days'"}).settings
    assert settings.http.secret == Secret("a #b of older days")


def test_empty_values_mean_the_default(load_text: LoadText) -> None:
    text = MINIMAL + "http: {addr: ':7000', secret: s}\n"
    http = load_text(text, {"REGISTRY_HTTP_ADDR": "", "REGISTRY_HTTP_SECRET": "~"}).settings.http
    assert (http.addr, http.secret) == (":5000", None)


def test_scalar_lists_take_indexes(load_text: LoadText) -> None:
    text = MINIMAL + "validation: {manifests: {urls: {allow: [a, b]}}}\n"
    name = "REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW"
    variables = {f"{name}_1": "B", f"{name}_2": "c"}
    assert load_text(text, variables).settings.validation.url_allow == ("a", "B", "c")


def test_ten_and_more_items_come_in_order(load_text: LoadText) -> None:
    variables = {f"REGISTRY_VALIDATION_MANIFESTS_URLS_DENY_{index}": f"item{index}" for index in range(12)}
    deny = load_text(MINIMAL, variables).settings.validation.url_deny
    assert deny == tuple(f"item{index}" for index in range(12))


@pytest.mark.parametrize("value", ["[a, b]", "a"])
def test_lists_take_yaml_lists_and_single_values(load_text: LoadText, value: str) -> None:
    allow = load_text(MINIMAL, {"REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW": value}).settings.validation.url_allow
    assert allow == (("a", "b") if value == "[a, b]" else ("a",))


def test_lists_of_sections_take_indexes_and_fields(load_text: LoadText) -> None:
    variables = {
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME": "first",
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL": "http://first/",
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_HEADERS_AUTHORIZATION_0": "Bearer x",
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_1": "{name: second, url: 'http://second/'}",
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_1_IGNORE_ACTIONS_0": "pull",
    }
    first, second = load_text(MINIMAL, variables).settings.notifications.endpoints
    assert (first.name, first.headers) == ("first", {"authorization": (Secret("Bearer x"),)})
    assert (second.name, second.url, second.ignored_actions) == ("second", "http://second/", ("pull",))


def test_variables_reach_into_lists_of_the_file(load_text: LoadText) -> None:
    text = MINIMAL + "notifications: {endpoints: [{name: a, url: 'http://a/', timeout: 5s}]}\n"
    variables = {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL": "http://b/"}
    [endpoint] = load_text(text, variables).settings.notifications.endpoints
    assert (endpoint.url, endpoint.timeout_seconds) == ("http://b/", 5.0)


def test_index_beyond_the_end_is_refused(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL, {"REGISTRY_HEALTH_TCP_1_ADDR": "a:1"})
    assert problem == "REGISTRY_HEALTH_TCP_1_ADDR: undefined index: `health.tcp` has only 0 items"


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("REGISTRY_HEALTH_FILECHECKERS", "[{file: /x}]", "health.file[0].file"),
        ("REGISTRY_HEALTH_FILE", "[{file: /x}]", "health.file[0].file"),
        ("REGISTRY_HEALTH_FILE_0_FILE", "/x", "health.file[0].file"),
        ("REGISTRY_HEALTH_HTTPCHECKERS_0_URI", "http://x/", "health.http[0].uri"),
        ("REGISTRY_HEALTH_TCPCHECKERS_0_ADDR", "x:1", "health.tcp[0].addr"),
        ("REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES", "true", "notifications.events.includereferences"),
        ("REGISTRY_NOTIFICATIONS_EVENTS_INCLUDEREFERENCES", "true", "notifications.events.includereferences"),
        ("REGISTRY_REDIS_ADDRS", "[x:1]", "redis.addrs"),
        ("REGISTRY_REDIS_OPTIONS_ADDRS", "[x:1]", "redis.addrs"),
        ("REGISTRY_REDIS_ADDR", "x:1", "redis.addrs"),
        ("REGISTRY_LOGLEVEL", "debug", "log.level"),
    ],
)
def test_go_names_and_file_names_both_work(load_text: LoadText, variable: str, value: str, key: str) -> None:
    loaded = load_text(MINIMAL, {variable: value})
    assert sources(loaded)[key] == variable
    assert not [warning for warning in loaded.warnings if "known key" in warning]


def test_header_names_may_be_written_with_underscores(load_text: LoadText) -> None:
    text = MINIMAL + "http: {headers: {X-Frame-Options: [DENY]}}\n"
    variables = {
        "REGISTRY_HTTP_HEADERS_X-Foo": "[bar, baz]",
        "REGISTRY_HTTP_HEADERS_X_FRAME_OPTIONS": "SAMEORIGIN",
        "REGISTRY_HTTP_HEADERS_X_Bar_0": "one",
    }
    headers = load_text(text, variables).settings.http.headers
    assert headers == {"X-Frame-Options": ("SAMEORIGIN",), "x-foo": ("bar", "baz"), "x-bar": ("one",)}


def test_log_fields_keep_underscores(load_text: LoadText) -> None:
    variables = {"REGISTRY_LOG_FIELDS_DATA_CENTER": "012", "REGISTRY_LOG_FIELDS_FILE": "plain"}
    assert load_text(MINIMAL, variables).settings.log.fields == {"data_center": "012", "file": "plain"}


def test_middleware_options_are_free(load_text: LoadText) -> None:
    text = MINIMAL + "middleware: {registry: [{name: own, options: {baseURL: 'http://a'}}]}\n"
    variables = {
        "REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_BASEURL": "http://b",
        "REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_A_B": "3",
        "REGISTRY_MIDDLEWARE_REGISTRY_0_OPTIONS_ODD": "[x",
    }
    [entry] = load_text(text, variables).settings.middleware.registry
    assert entry.options == {"baseURL": "http://b", "a": {"b": 3}, "odd": "[x"}


def test_auth_none_is_accepted_in_any_case(load_text: LoadText) -> None:
    assert load_text(MINIMAL, {"REGISTRY_AUTH": "None"}).settings.auth.methods == (AuthKind.NONE,)


def test_wrong_values_name_their_variable(load_text: LoadText) -> None:
    variables = {
        "REGISTRY_STORAGE_DELETE_ENABLED": "maybe",
        "REGISTRY_HTTP_DRAINTIMEOUT": "10",
        "REGISTRY_LOG_LEVEL": "loud",
    }
    variables["REGISTRY_TAGS_MAXTAGS"] = "-1"
    problems = problems_of(load_text, MINIMAL, variables)
    assert set(problems) == {
        "REGISTRY_STORAGE_DELETE_ENABLED: `storage.delete.enabled` must be true or false, not `maybe`",
        "REGISTRY_LOG_LEVEL: `log.level` must be one of debug, info, warn, error, not `loud`",
        f"REGISTRY_TAGS_MAXTAGS: `tags.maxtags` must be from 0 to {2**53}, not `-1`",
    }


@pytest.mark.parametrize("word", ["true", "yes", "on", "'true'", "True", "ON"])
def test_switches_take_words_and_quoted_words(load_text: LoadText, word: str) -> None:
    assert load_text(MINIMAL, {"REGISTRY_HTTP_RELATIVEURLS": word}).settings.http.relative_urls


@pytest.mark.parametrize(
    "name",
    [
        "REGISTRY_PORT",
        "REGISTRY_SERVICE_HOST",
        "REGISTRY_SERVICE_PORT",
        "REGISTRY_SERVICE_PORT_HTTPS",
        "REGISTRY_PORT_5000_TCP",
        "REGISTRY_PORT_5000_TCP_ADDR",
        "REGISTRY_REDIS_PORT",
        "REGISTRY_REDIS_SERVICE_HOST",
        "REGISTRY_AUTH_PORT_5001_TCP_PROTO",
    ],
)
def test_variables_of_container_platforms_are_only_noted(load_text: LoadText, name: str) -> None:
    loaded = load_text(MINIMAL, {name: "tcp://10.0.0.1:5000"})
    assert loaded.warnings == ()
    assert loaded.notes == (f"{name}: ignored; container platforms set it for a service",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REGISTRY_HTTP_ADR", "; did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_http_addr", "; did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIR", "; did you mean REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY?"),
        ("REGISTRY_XYZZY", ""),
        ("REGISTRY_HEALTH_TCP_" + "9" * 5000, ""),
        ("REGISTRY_", ""),
        ("REGISTRY__HTTP_ADDR", "; did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_A\x1b[0m", ""),
    ],
)
def test_unknown_variables_are_warned_about(load_text: LoadText, name: str, hint: str) -> None:
    [warning] = load_text(MINIMAL, {name: "hunter2"}).warnings
    assert warning.endswith(f": ignored, because it names no known key{hint}")
    assert warning.isprintable()
    assert "hunter2" not in warning


def test_version_and_path_variables_are_left_alone(load_text: LoadText) -> None:
    loaded = load_text(MINIMAL, {"REGISTRY_VERSION": "2.8.1", "REGISTRY_CONFIGURATION_PATH": "/x", "OTHER": "y"})
    assert (loaded.warnings, loaded.notes, loaded.settings.version) == ((), (), "0.1")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_secret_files_lose_one_line_end(load_text: LoadText, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(f" a: [b #c, sixteen\n{ending}".encode())
    loaded = load_text(MINIMAL, {"REGISTRY_HTTP_SECRET_FILE": str(path)})
    expected = " a: [b #c, sixteen" if not ending else " a: [b #c, sixteen\n"
    assert loaded.settings.http.secret == Secret(expected)
    assert sources(loaded)["http.secret"] == "REGISTRY_HTTP_SECRET_FILE"


def test_files_of_other_kinds_are_parsed(load_text: LoadText, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("25\n", encoding="utf-8")
    assert load_text(MINIMAL, {"REGISTRY_TAGS_MAXTAGS_FILE": str(path)}).settings.tags.tags_max == 25


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "is not UTF-8"),
        (b"x" * 70_000, "is larger than"),
    ],
)
def test_unusable_secret_files_are_refused(
    load_text: LoadText, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    [problem] = problems_of(load_text, MINIMAL, {"REGISTRY_HTTP_SECRET_FILE": str(path)})
    assert problem.startswith("REGISTRY_HTTP_SECRET_FILE: ")
    assert said in problem


def test_value_and_file_together_are_refused(load_text: LoadText, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("x", encoding="utf-8")
    [problem] = problems_of(
        load_text, MINIMAL, {"REGISTRY_HTTP_SECRET": "a" * 32, "REGISTRY_HTTP_SECRET_FILE": str(path)}
    )
    assert problem == "REGISTRY_HTTP_SECRET_FILE: REGISTRY_HTTP_SECRET is also set: keep one of the two"


@pytest.mark.parametrize("value", ["MYSQL", "mysql"])
def test_search_backend_mysql_takes_its_address(load_text: LoadText, value: str) -> None:
    dsn = "user:p@ss:/word@tcp(db:3306)/domeos?loc=Local&parseTime=true"
    catalog = load_text(MINIMAL, {"SEARCH_BACKEND": value, "SEARCH_BACKEND_MYSQL": dsn}).settings.catalog
    assert catalog.backend is CatalogBackend.MYSQL
    assert catalog.mysql_dsn == Secret(dsn)


def test_search_backend_beats_the_file_and_registry_variables(load_text: LoadText) -> None:
    variables = {"SEARCH_BACKEND": "local", "REGISTRY_CATALOG_BACKEND": "MYSQL", "REGISTRY_CATALOG_LOCAL_PATH": "/r"}
    catalog = load_text(MINIMAL + "catalog: {backend: LISTING}\n", variables).settings.catalog
    assert (catalog.backend, catalog.local_path) == (CatalogBackend.LOCAL, "/r")


def test_search_backend_address_may_come_from_a_file(load_text: LoadText, tmp_path: Path) -> None:
    path = tmp_path / "dsn"
    path.write_text("u:p@tcp(db)/x\n", encoding="utf-8")
    loaded = load_text(MINIMAL, {"SEARCH_BACKEND": "MYSQL", "SEARCH_BACKEND_MYSQL_FILE": str(path)})
    assert loaded.settings.catalog.mysql_dsn == Secret("u:p@tcp(db)/x")
    assert shown(loaded)["catalog.mysql.dsn"] == '"********"'


@pytest.mark.parametrize("value", ["Mysql", "redis", "MYSQL2"])
def test_other_search_backends_are_refused_with_the_choices(load_text: LoadText, value: str) -> None:
    [problem] = problems_of(load_text, MINIMAL, {"SEARCH_BACKEND": value})
    assert problem == f"SEARCH_BACKEND: `catalog.backend` must be one of LISTING, MYSQL, LOCAL, not `{value}`"


def test_empty_search_backend_is_unset(load_text: LoadText) -> None:
    assert load_text(MINIMAL, {"SEARCH_BACKEND": ""}).settings.catalog.backend is CatalogBackend.LISTING


def test_mysql_without_address_is_refused(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL, {"SEARCH_BACKEND": "MYSQL"})
    assert "`catalog.mysql.dsn` is missing; set it in the file or as SEARCH_BACKEND_MYSQL" in problem


def test_invalid_yaml_in_variables_is_refused_without_its_text(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL, {"REGISTRY_HTTP": "{secret: *hunter2"})
    assert problem.startswith("REGISTRY_HTTP: not valid YAML")
    assert "hunter2" not in problem


def test_variables_that_are_not_text_are_refused(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL, {"REGISTRY_HTTP_SECRET": "a\udcff"})
    assert problem == "REGISTRY_HTTP_SECRET: is not UTF-8 text"


def test_variables_do_not_change_the_shape_of_the_file(load_text: LoadText) -> None:
    [problem] = problems_of(load_text, MINIMAL + "http: 5\n", {"REGISTRY_HTTP_ADDR": ":1"})[:1]
    assert problem.startswith("REGISTRY_HTTP_ADDR: `http` has a different type in ")


def test_index_turns_a_single_value_into_a_list(load_text: LoadText) -> None:
    text = MINIMAL + "validation: {manifests: {urls: {allow: a}}}\n"
    variables = {"REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW_1": "b"}
    assert load_text(text, variables).settings.validation.url_allow == ("a", "b")


@pytest.mark.parametrize(
    "name", ["REGISTRY_HEALTH_TCP_X_ADDR", "REGISTRY_HEALTH_TCP_0_X", "REGISTRY_LOG_LEVEL_X", "REGISTRY_LOG_FILE"]
)
def test_variables_without_a_key_are_warned_about(load_text: LoadText, name: str) -> None:
    [warning] = load_text(MINIMAL, {name: "x"}).warnings
    assert warning.startswith(f"{name}: ignored, because it names no known key")


def test_free_maps_can_be_set_as_a_whole(load_text: LoadText) -> None:
    settings = load_text(MINIMAL, {"REGISTRY_LOG_FIELDS": "{a: b}", "REGISTRY_HTTP_HEADERS": "{X: [y]}"}).settings
    assert settings.log.fields == {"a": "b"}
    assert settings.http.headers == {"X": ("y",)}
