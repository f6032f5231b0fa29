"""The pull-through cache as the container builds it: its upstreams, and the folder of its spool."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.upstream.options import UpstreamOptions
from config.container import Observers, build_registry, build_server, build_server_parts, spool_folder
from config.container.spooling import prepare_spool
from config.errors import ConfigError
from config.settings import (
    FilesystemSettings,
    HttpSettings,
    ProxyExecSettings,
    ProxySettings,
    Settings,
    StorageKind,
    StorageSettings,
)
from core.errors import StorageUnavailableError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.pull_through.origins import LOCAL_ONLY
from core.store import layout
from entrypoints.opening import opened
from entrypoints.process.start_warnings import warn_at_start
from tests.support.configuration import MINIMAL, LoadText

DIGEST = Digest.of(b"{}")
NOWHERE = "http://127.0.0.1:9"
"""The port of the discard service, on which nobody listens."""
PROXY = ProxySettings(
    remote_url=NOWHERE,
    exec=ProxyExecSettings(command="no-such-helper"),
    upstreams=(UpstreamOptions(prefix="quay.io", urls=(NOWHERE,)),),
)


def in_memory(proxy: ProxySettings | None = PROXY, addr: str = ":5000") -> Settings:
    return Settings(
        storage=StorageSettings(kind=StorageKind.INMEMORY), http=HttpSettings(addr=addr, secret=None), proxy=proxy
    )


def test_registry_without_upstreams_has_no_cache() -> None:
    application = build_registry(in_memory(None))
    assert application.pull_through is None
    assert application.origins is LOCAL_ONLY


async def test_catalog_lists_cached_repositories_only_if_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    listed = UpstreamOptions(prefix="ghcr.io", urls=(NOWHERE,), catalog=True)
    application = build_registry(in_memory(replace(PROXY, remote_url="", upstreams=(*PROXY.upstreams, listed))))
    async with opened(application):
        for name in map(RepositoryName, ("ghcr.io/app", "quay.io/app", "team/app")):
            await application.storage.write(layout.revision_link(name, DIGEST), DIGEST.encode())
        page = await application.registry.catalog.page(9, "")
    assert page.items == ["ghcr.io/app", "team/app"]


async def test_upstreams_are_opened_with_the_registry_and_not_contacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parts = build_server_parts(in_memory())
    application = build_server(parts, Observers())
    async with opened(application):
        found = application.origins.find(RepositoryName("quay.io/team/app"))
        assert found is not None
        assert found.name == "team/app"
        assert application.origins.find(RepositoryName("team/app")) is not None
    folder = spool_folder(in_memory(), PROXY)
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (UpstreamOptions(prefix="quay.io", urls=(NOWHERE,), ca="/no/such.pem"), "`ca`: cannot be used: No such file"),
        (UpstreamOptions(prefix="quay.io", urls=(NOWHERE,), exec=ProxyExecSettings(command="'")), "`exec.command`"),
        (UpstreamOptions(prefix="quay.io", urls=(NOWHERE,), exec=ProxyExecSettings(command=" ")), "`exec.command`"),
    ],
)
def test_unusable_files_and_programs_stop_the_start(options: UpstreamOptions, problem: str) -> None:
    with pytest.raises(ConfigError, match="quay") as caught:
        build_registry(in_memory(ProxySettings(upstreams=(options,))))
    assert problem in str(caught.value)


def test_spool_lies_beside_a_store_in_a_folder() -> None:
    storage = StorageSettings(kind=StorageKind.FILESYSTEM, filesystem=FilesystemSettings(root_directory="/images"))
    assert spool_folder(Settings(storage=storage), PROXY) == Path("/images/.tmp/spool")


def test_configured_spool_is_used() -> None:
    assert spool_folder(in_memory(), replace(PROXY, spool="/fast")) == Path("/fast")


def test_servers_have_spools_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kinds = [Settings(storage=StorageSettings(kind=kind)) for kind in (StorageKind.S3, StorageKind.SCS)]
    settings = [*kinds, in_memory(), in_memory(addr=":5001")]
    folders = {spool_folder(each, PROXY) for each in settings}
    assert len(folders) == len(settings)
    assert spool_folder(in_memory(), PROXY) in folders
    assert all(str(os.getuid()) in folder.name for folder in folders)


@pytest.mark.parametrize("mode", [0o755, 0o770])
async def test_spool_that_others_may_open_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = spool_folder(in_memory(), PROXY)
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StorageUnavailableError, match=r"must be a folder of the registry's user with mode 0700"):
        async with opened(build_registry(in_memory())):
            pass


def test_spool_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailableError, match="cannot be created: Not a directory"):
        prepare_spool(tmp_path / "file" / "spool")


@pytest.mark.parametrize(("user", "gives"), [(0, True), (1000, False)])
def test_root_gives_the_spool_to_the_owner_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, *, gives: bool
) -> None:
    given: list[tuple[object, int, int]] = []
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("os.chown", lambda path, uid, gid: given.append((path, uid, gid)))
    folder = tmp_path / ".tmp" / "spool"
    for _ in range(2):
        prepare_spool(folder)
    owner = tmp_path.stat()
    assert given == ([(folder, owner.st_uid, owner.st_gid)] if gives else [])


OPEN_RULE = "access: {rules: [{who: [anonymous], actions: [pull], repositories: ['%s']}]}\n"
SIGNED_IN = "proxy: {upstreams: [{prefix: docker.io, urls: 'http://h', username: u, password: p}]}\n"
PUBLIC = "proxy: {upstreams: [{prefix: docker.io, urls: 'http://h'}]}\n"
EVERYTHING = "proxy: {remoteurl: 'http://h', username: u, password: p}\n"


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ("", True),
        (OPEN_RULE % "**", True),
        (OPEN_RULE % "docker.io/**", True),
        (OPEN_RULE % "docker*/**", True),
        (OPEN_RULE % "docker.io/library/alpine", True),
        (OPEN_RULE % "quay.io/**", False),
        (OPEN_RULE % "docker", False),
        (OPEN_RULE.replace("anonymous", "authenticated") % "**", False),
        (OPEN_RULE.replace("[pull]", "[push]") % "**", False),
    ],
)
def test_credentials_that_serve_everybody_are_logged_at_start(
    load_text: LoadText, caplog: pytest.LogCaptureFixture, text: str, *, warns: bool
) -> None:
    warn_at_start(build_server_parts(load_text(MINIMAL + text + SIGNED_IN).settings))
    assert ("every client may pull below docker.io with the registry's credentials" in caplog.text) is warns


@pytest.mark.parametrize(("text", "warns"), [(PUBLIC, False), (EVERYTHING, True)])
def test_only_upstreams_with_credentials_are_warned_about(
    load_text: LoadText, caplog: pytest.LogCaptureFixture, text: str, *, warns: bool
) -> None:
    warn_at_start(build_server_parts(load_text(MINIMAL + text).settings))
    assert ("every client may pull below" in caplog.text) is warns
