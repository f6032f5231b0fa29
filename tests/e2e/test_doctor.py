"""`registry doctor` beside real servers, proxies and databases: sound ones, and each broken in one way."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from entrypoints.exit_codes import ExitCode
from tests.support import processes
from tests.support.catalogs import wait_until
from tests.support.certificates import Authority, Pair
from tests.support.commands import run_registry
from tests.support.htpasswd import write_htpasswd
from tests.support.mariadb import Database, MariaDbServer
from tests.support.mounts import mounted
from tests.support.object_stores import BUCKET, ScsEndpoint, s3_environment
from tests.support.oci import make_image
from tests.support.ports import free_port
from tests.support.processes import RegistryServer, RoundRobinProxy
from tests.support.proxies import BrokenNginx, Nginx
from tests.support.redis_server import RedisServer
from tests.support.registry_client import RegistryClient
from tests.support.s3_servers import moto_endpoint, versitygw_endpoint

pytestmark = pytest.mark.e2e

Findings = dict[str, dict[str, str]]
PASSWORD = "correct horse battery staple"


def examine(config: Path, *options: str, environment: Mapping[str, str] | None = None) -> tuple[int, Findings]:
    """Run the command in this process, and return its exit code and each check's finding."""
    done = run_registry("doctor", str(config), "--json", *options, environment=environment)
    assert PASSWORD not in done.stdout + done.stderr
    lines: list[dict[str, str]] = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {line["check"]: line for line in lines}


def bad(findings: Findings) -> dict[str, str]:
    """The remedies of all that is not as it should be."""
    return {check: finding.get("remedy", "") for check, finding in findings.items() if finding["verdict"] == "failure"}


def tree(folder: Path) -> set[str]:
    """Return the objects of a store, without the finished uploads that the server removes a second later.

    A running server keeps emptied session folders in `.tmp` for reuse, and removes them when it ends.
    """
    # A running server may remove folders at the same time; os.walk passes over them.
    files = {str((Path(at) / name).relative_to(folder)) for at, _, names in os.walk(folder) for name in names}
    objects = {path for path in files if not path.startswith(".tmp/")}
    # A server writes these at any time, with or without a doctor.
    records = ("docker/registry/v2/_control/", "docker/registry/v2/_summaries/")
    return {path for path in objects if "doctor" in path or not (path.startswith(records) or "/_uploads/" in path)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """One registry, set up as the documentation describes, for all tests of proxies and certificates."""
    folder = tmp_path_factory.mktemp("sound")
    with RegistryServer(folder / "server", folder / "storage") as server:
        yield server


@contextmanager
def behind(server: RegistryServer, folder: Path, edits: Mapping[str, str]) -> Iterator[tuple[str, Pair]]:
    """nginx in front of a registry, set up as the documentation describes but for `edits`."""
    pair = Authority(folder).issue("proxy")
    with BrokenNginx(folder / "proxy", server.host, pair, edits=edits) as proxy:
        yield f"https://127.0.0.1:{proxy.port}", pair


def test_sound_registry_passes_and_nothing_is_left(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("nginx")
    with (
        RegistryServer(tmp_path / "server", tmp_path / "storage") as server,
        behind(server, tmp_path, {}) as (url, pair),
    ):
        RegistryClient(server.host).push("team/app", "v1", make_image(950))
        before = tree(server.storage)
        code, findings = examine(
            server.config_path,
            "--url",
            url,
            "--ca",
            str(pair.authority),
            "--largest-body",
            "20",
            "--replica",
            server.url,
        )
        assert bad(findings) == {}
        assert code == ExitCode.OK
        # The disk of this machine may be nearly full.
        verdicts = {each["verdict"] for check, each in findings.items() if not check.startswith("disk: ")}
        assert verdicts == {"ok"}, findings
        assert len(findings) > 30
        wait_until(lambda: tree(server.storage) == before)
        assert RegistryClient(server.host).catalog() == ["team/app"]
    left = [path.name for path in (server.storage / ".tmp").rglob("*") if path.is_file()]
    assert left == ["reserve"]


@pytest.mark.parametrize(
    ("edits", "check", "remedy"),
    [
        (
            {"proxy_set_header X-Forwarded-Proto $scheme;": ""},
            "push: Location of POST",
            "X-Forwarded-Proto",
        ),
        ({"proxy_set_header Host $http_host;": "proxy_set_header Host $host;"}, "push: Location of POST", "port"),
        (
            {"proxy_set_header Host $http_host;": "proxy_set_header Host registry.internal;"},
            "push: Location of POST",
            "http.host",
        ),
        ({"client_max_body_size 0;": "client_max_body_size 1m;"}, "limits: a body of 2 MiB", "client_max_body_size"),
        (
            {"client_max_body_size 0;": "client_max_body_size 0; limit_except GET POST PUT PATCH { deny all; }"},
            "push: DELETE of a manifest",
            "DELETE",
        ),
        (
            {"proxy_buffering off;": "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;"},
            "push: GET of a blob",
            "compress",
        ),
        ({"location / {": "location /v1/ {"}, "push: API root", "/v2/"),
        (
            {"proxy_buffering off;": "proxy_hide_header Docker-Content-Digest;"},
            "push: Docker-Content-Digest",
            "forward",
        ),
    ],
    ids=["scheme", "port", "host", "body", "delete", "gzip", "path", "header"],
)
def test_wrong_proxy_is_reported_with_its_remedy(
    edits: Mapping[str, str],
    check: str,
    remedy: str,
    *,
    sound: RegistryServer,
    tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    tool("nginx")
    with behind(sound, tmp_path, edits) as (url, pair):
        options = ("--url", url, "--ca", str(pair.authority), "--largest-body", "4")
        code, findings = examine(sound.config_path, *options)
        assert code == ExitCode.DAMAGE
        assert remedy in bad(findings)[check], findings[check]
        assert not {line for line in tree(sound.storage) if "/blobs/" in line}


@pytest.mark.parametrize(
    ("days", "trusts", "remedy"),
    [(-1.0, ["proxy"], "renew"), (30.0, [], "chain")],
    ids=["expired", "unknown-authority"],
)
def test_wrong_certificate_is_reported(
    days: float,
    trusts: list[str],
    remedy: str,
    *,
    sound: RegistryServer,
    tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    tool("nginx")
    authority = Authority(tmp_path)
    pair = authority.issue("proxy", days=days)
    with Nginx(tmp_path / "proxy", sound.host, pair) as proxy:
        trust = ("--ca", str(pair.authority)) if trusts else ()
        code, findings = examine(sound.config_path, "--url", f"https://127.0.0.1:{proxy.port}", *trust)
    assert code == ExitCode.DAMAGE
    assert remedy in bad(findings)["certificate: trusted by clients"]
    assert findings["certificate: age"]["verdict"] == ("ok" if days > 0 else "failure")


@pytest.mark.parametrize("way", ["balancer", "replicas"])
def test_differing_secrets_are_reported(
    way: str, sound: RegistryServer, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("nginx")
    other = {"http": {"secret": "another secret of one replica"}}
    with (
        RegistryServer(tmp_path / "two", sound.storage, config=other) as two,
        RoundRobinProxy(tmp_path / "proxy", [sound, two]) as proxy,
    ):
        options = ("--url", proxy.url) if way == "balancer" else ("--replica", sound.url, "--replica", two.url)
        code, findings = examine(sound.config_path, *options, "--largest-body", "1")
        assert code == ExitCode.DAMAGE
        assert "http.secret" in bad(findings)["replicas: upload across replicas"]


def test_replicas_on_different_storage_are_reported(sound: RegistryServer, tmp_path: Path) -> None:
    with RegistryServer(tmp_path / "two", tmp_path / "elsewhere") as two:
        _, findings = examine(sound.config_path, "--replica", sound.url, "--replica", two.url)
        assert "same storage" in bad(findings)["replicas: upload across replicas"]


def test_user_and_password_are_accepted(tmp_path: Path) -> None:
    users = write_htpasswd(tmp_path / "users", doctor=PASSWORD)
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    config = {"auth": {"htpasswd": {"realm": "test", "path": str(users)}}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server:
        options = ("--url", server.url, "--largest-body", "1")
        _, findings = examine(server.config_path, *options)
        assert "--user" in bad(findings)["push: API root"]
        code, findings = examine(
            server.config_path, *options, "--user", "doctor", "--password-file", str(password_file)
        )
        assert (code, bad(findings)) == (ExitCode.OK, {})


def test_disabled_deletion_is_reported(tmp_path: Path) -> None:
    config = {"storage": {"delete": {"enabled": False}}}
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server:
        code, findings = examine(server.config_path, "--url", server.url, "--largest-body", "1")
        assert code == ExitCode.DAMAGE
        assert "storage.delete.enabled" in bad(findings)["push: DELETE of a manifest"]
        # Content that the API does not delete is removed too.
        assert tree(server.storage) == set()


def write_config(tmp_path: Path, **sections: Any) -> Path:
    document = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}}, **sections}
    path = tmp_path / "config.yml"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        ("ALL", set()),
        ("SELECT", {"INSERT", "UPDATE", "DELETE"}),
        ("SELECT, INSERT, UPDATE", {"DELETE"}),
        ("SELECT, INSERT, DELETE, CREATE", {"UPDATE"}),
    ],
)
def test_each_missing_right_in_mysql_is_reported(
    rights: str, missing: set[str], database: Database, mariadb: MariaDbServer, tmp_path: Path
) -> None:
    database.sql("CREATE TABLE repositories (name VARCHAR(255) NOT NULL PRIMARY KEY, createTime BIGINT NOT NULL)")
    user = mariadb.create_user(database, f"limited_{abs(hash(rights)) % 10**8}", rights)
    environment = {"PATH": "/usr/bin", "SEARCH_BACKEND": "MYSQL", "SEARCH_BACKEND_MYSQL": user.dsn}
    code, findings = examine(write_config(tmp_path), environment=environment)
    assert {check.removeprefix("mysql: ") for check in bad(findings)} == missing
    assert code == (ExitCode.DAMAGE if missing else ExitCode.OK)
    assert all("GRANT" in remedy for remedy in bad(findings).values())
    is_granted = rights == "ALL" or "CREATE" in rights
    assert findings["mysql: CREATE"]["verdict"] == ("ok" if is_granted else "warning")
    assert database.sql("SELECT name FROM repositories") == []
    assert user.password not in json.dumps(findings)


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        ("SELECT, INSERT, UPDATE, DELETE, CREATE", set()),
        ("SELECT, CREATE", {"INSERT", "UPDATE", "DELETE"}),
        ("SELECT, INSERT, UPDATE, DELETE", {"CREATE"}),
    ],
)
def test_missing_table_is_reported_and_not_created(
    rights: str, missing: set[str], database: Database, mariadb: MariaDbServer, tmp_path: Path
) -> None:
    """An empty table would look like a complete catalog."""
    user = mariadb.create_user(database, f"unmade_{abs(hash(rights)) % 10**8}", rights)
    environment = {"PATH": "/usr/bin", "SEARCH_BACKEND": "MYSQL", "SEARCH_BACKEND_MYSQL": user.dsn}
    code, findings = examine(write_config(tmp_path), environment=environment)
    assert {check.removeprefix("mysql: ") for check in bad(findings)} == missing
    assert code == (ExitCode.DAMAGE if missing else ExitCode.OK)
    assert findings["catalog: mysql"]["verdict"] == "warning"
    assert "registry catalog rebuild" in findings["catalog: mysql"]["remedy"]
    if "CREATE" in missing:
        assert "CREATE TABLE IF NOT EXISTS repositories" in findings["mysql: CREATE"]["remedy"]
    assert database.sql("SHOW TABLES") == []


def test_missing_catalog_file_is_reported_and_not_created(tmp_path: Path) -> None:
    names = tmp_path / "names"
    config = write_config(tmp_path, catalog={"local": {"path": str(names)}})
    code, findings = examine(config, environment={"PATH": "/usr/bin", "SEARCH_BACKEND": "LOCAL"})
    assert code == ExitCode.OK
    assert "the registry creates it" in findings["catalog file: read and write"]["detail"]
    assert not names.exists()


def test_unreachable_mysql_is_reported_without_its_password(tmp_path: Path) -> None:
    dsn = f"user:{PASSWORD.replace(' ', '')}@tcp(127.0.0.1:{free_port()})/registry"
    environment = {"PATH": "/usr/bin", "SEARCH_BACKEND": "MYSQL", "SEARCH_BACKEND_MYSQL": dsn}
    code, findings = examine(write_config(tmp_path), environment=environment)
    assert code == ExitCode.DAMAGE
    assert "catalog: mysql" in bad(findings)
    assert PASSWORD.replace(" ", "") not in json.dumps(findings)


def test_folder_in_place_of_the_catalog_file_is_reported(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.mkdir()
    config = write_config(tmp_path, catalog={"local": {"path": str(names)}})
    code, findings = examine(config, environment={"PATH": "/usr/bin", "SEARCH_BACKEND": "LOCAL"})
    assert code == ExitCode.DAMAGE
    assert "touch" in bad(findings)["catalog file: read and write"]


def test_storage_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    code, findings = examine(write_config(tmp_path))
    assert code == ExitCode.DAMAGE
    assert bad(findings)["storage: open"] == "set the path of a folder"
    assert "remedy" not in findings["storage: open"]["detail"]


def test_unreachable_redis_is_reported(tool: Callable[[str], str], tmp_path: Path) -> None:
    port = free_port()
    redis = subprocess.Popen(
        [tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        check = f"redis: 127.0.0.1:{port}"
        config = write_config(tmp_path, redis={"addrs": [f"127.0.0.1:{port}"], "password": PASSWORD})
        wait_until(lambda: examine(config)[1][check]["verdict"] == "ok")
        _, findings = examine(write_config(tmp_path, redis={"addrs": [f"127.0.0.1:{port}"], "password": "wrong"}))
        assert "redis.password" in bad(findings)[check]
    finally:
        redis.kill()
        redis.wait(timeout=10)
    _, findings = examine(config)
    assert "redis.addrs" in bad(findings)[check]


def test_redis_with_tls_of_the_system_authorities_is_reached(tool: Callable[[str], str], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    options = ["--tls-cert-file", pair.certificate, "--tls-key-file", pair.key, "--tls-ca-cert-file", authority.path]
    with RedisServer(tool("redis-server"), *map(str, options), "--tls-auth-clients", "no", plain=False) as server:
        address = f"127.0.0.1:{server.port}"
        config = write_config(tmp_path, redis={"addrs": [address], "tls": {"enabled": True}})
        _, findings = examine(config, environment={"SSL_CERT_FILE": str(authority.path)})
        assert findings[f"redis: {address}"]["verdict"] == "ok"


def test_read_only_folder_is_reported(unavailable: Callable[[str], NoReturn], tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "data").mkdir()
    with mounted(unavailable, tmp_path / "data", "-t", "tmpfs", "-o", "ro", "tmpfs"):
        code, findings = examine(config)
    assert code == ExitCode.DAMAGE
    assert bad(findings).keys() == {"storage: open"}
    assert "storage.filesystem.rootdirectory" in findings["storage: open"]["detail"]
    assert "read-only file system" in findings["storage: open"]["detail"]


def test_full_disk_is_reported(unavailable: Callable[[str], NoReturn], tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "data").mkdir()
    with mounted(unavailable, tmp_path / "data", "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        _, findings = examine(config)
        assert tree(tmp_path / "data") == set()
    assert bad(findings).keys() == {"storage: large object", "disk: space"}
    assert all("trash empty" in remedy for remedy in bad(findings).values())


def test_catalog_file_that_is_mounted_alone_is_used(unavailable: Callable[[str], NoReturn], tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("a\n")
    config = write_config(tmp_path, catalog={"local": {"path": str(names)}})
    with mounted(unavailable, names, "--bind", str(names)):
        code, findings = examine(config, environment={"PATH": "/usr/bin", "SEARCH_BACKEND": "LOCAL"})
    assert (code, names.read_text()) == (ExitCode.OK, "a\n")
    assert "rename" in findings["catalog file: mount"]["detail"]


def test_token_is_fetched_if_one_is_required(tmp_path: Path) -> None:
    users = write_htpasswd(tmp_path / "users", doctor=PASSWORD)
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD)
    config = {
        "auth": {"htpasswd": {"realm": "test", "path": str(users)}},
        "access": {
            "rules": [
                {"who": ["anonymous"], "repositories": ["**"], "actions": ["pull"]},
                {"who": ["doctor"], "repositories": ["**"], "actions": ["pull", "push", "delete"]},
            ]
        },
    }
    with RegistryServer(tmp_path / "server", tmp_path / "storage", config=config) as server:
        options = ("--url", server.url, "--largest-body", "1")
        code, findings = examine(
            server.config_path, *options, "--user", "doctor", "--password-file", str(password_file)
        )
        assert (code, bad(findings)) == (ExitCode.OK, {})
        assert findings["push: DELETE of a blob"]["verdict"] == "ok"
        _, findings = examine(server.config_path, *options)
        assert "--user" in " ".join(bad(findings).values())


@pytest.mark.parametrize("kind", ["scs", "s3"])
def test_object_store_passes_and_nothing_is_left(kind: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        if kind == "scs":
            environment = stack.enter_context(ScsEndpoint(tmp_path / "scs")).settings()
        else:
            environment = s3_environment(stack.enter_context(moto_endpoint(BUCKET)))
        server = stack.enter_context(RegistryServer(tmp_path / "ours", tmp_path / "unused", environment=environment))
        options = ("--url", server.url, "--largest-body", "20")
        code, findings = examine(server.config_path, *options, environment=server.environment)
        assert (code, bad(findings)) == (ExitCode.OK, {})
        assert findings["push: redirect to the store"]["verdict"] == "ok"
        assert findings["storage: create once"]["verdict"] == ("warning" if kind == "scs" else "ok")
        assert RegistryClient(server.host).catalog() == []


@pytest.mark.parametrize("found", [False, True])
def test_region_that_the_store_does_not_have_is_corrected(
    tool: Callable[[str], str], tmp_path: Path, *, found: bool
) -> None:
    """In requests and in the signed URLs of pulls, with keys of the settings and with those that the SDK finds."""
    (tmp_path / "gateway").mkdir()
    with versitygw_endpoint(tool("versitygw"), BUCKET, tmp_path / "gateway") as url:
        environment = {**s3_environment(url), "REGISTRY_STORAGE_S3_REGION": "eu-central-1"}
        if found:
            section = json.loads(environment["REGISTRY_STORAGE"])
            keys = {name: section["s3"].pop(name) for name in ("accesskey", "secretkey")}
            environment["REGISTRY_STORAGE"] = json.dumps(section)
            environment |= {"AWS_ACCESS_KEY_ID": keys["accesskey"], "AWS_SECRET_ACCESS_KEY": keys["secretkey"]}
        with RegistryServer(tmp_path / "ours", tmp_path / "unused", environment=environment) as server:
            code, findings = examine(server.config_path, "--url", server.url, environment=server.environment)
    assert (code, bad(findings)) == (ExitCode.OK, {})
    assert findings["push: redirect to the store"]["verdict"] == "ok"


def test_store_that_refuses_signed_urls_is_named(tmp_path: Path) -> None:
    refusing = processes.Nginx(tmp_path / "nginx", "server {{ listen 127.0.0.1:{port}; return 403; }}")
    with moto_endpoint(BUCKET) as url, refusing:
        environment = {**s3_environment(url), "REGISTRY_STORAGE_S3_REDIRECTENDPOINT": refusing.url}
        with RegistryServer(tmp_path / "ours", tmp_path / "unused", environment=environment) as server:
            _, findings = examine(server.config_path, "--url", server.url, environment=server.environment)
    assert list(bad(findings)) == ["push: redirect to the store"]
    assert "check the region" in findings["push: redirect to the store"]["remedy"]
