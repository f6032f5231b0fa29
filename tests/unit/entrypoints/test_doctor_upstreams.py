"""The doctor's checks of upstreams: names, certificates, sign-in, quota and the spool."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.upstream.memory import InMemoryUpstream
from config.container import build_registry
from config.loader import load
from core.diagnosis import Diagnosis, Verdict
from core.errors import UpstreamBusyError, UpstreamUnavailableError
from core.ports.upstream import UpstreamQuota
from core.pull_through.origins import Origins
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.upstreams import check_upstreams
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.upstream_server import UpstreamServer

HUB = "https://registry-1.docker.io"


def context(folder: Path, proxy: str, upstream: InMemoryUpstream | None = None) -> DoctorContext:
    path = folder / "config.yml"
    path.write_text(f"version: 0.1\nstorage: {{inmemory: {{}}}}\nproxy:\n  spool: {folder}/spool\n{proxy}")
    loaded = load(str(path))
    settings = loaded.settings
    assert settings.proxy is not None
    rules = settings.proxy.all_upstreams
    application = build_registry(replace(settings, proxy=None))
    origins = Origins([(each, upstream or InMemoryUpstream("upstream")) for each in rules])
    return DoctorContext(loaded=loaded, application=replace(application, origins=origins), scratch_id="test")


async def examine(doctor: DoctorContext) -> dict[str, Diagnosis]:
    return {each.check: each async for each in check_upstreams(doctor)}


def bad(found: dict[str, Diagnosis]) -> Sequence[str]:
    return [check for check, each in found.items() if each.verdict in {Verdict.WARNING, Verdict.FAILURE}]


async def test_registry_without_upstreams_has_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("version: 0.1\nstorage: inmemory\n")
    loaded = load(str(path))
    doctor = DoctorContext(loaded=loaded, application=build_registry(loaded.settings), scratch_id="test")
    assert await examine(doctor) == {}


async def test_sound_upstream_passes(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("localhost", days=30)
    with UpstreamServer(pair=pair) as server:
        url = f"https://localhost:{server.port}"
        found = await examine(context(tmp_path, f"  remoteurl: {url}\n  upstreams: []\n"))
        assert bad(found) == ["upstream localhost: certificate"]
        assert "proxy.upstreams[].ca" in found["upstream localhost: certificate"].remedy
        ca = tmp_path / "authority.pem"
        assert ca.exists()
        found = await examine(context(tmp_path, f"  upstreams: [{{prefix: l, urls: '{url}', ca: {ca}}}]\n"))
        assert bad(found) == []
        assert "valid for 29 more days" in found["upstream localhost: certificate"].detail
        assert "127.0.0.1" in found["upstream localhost: name"].detail
        assert found["upstream upstream: sign-in"].detail == "anonymous"
        assert found["upstreams: spool"].verdict is Verdict.OK


async def test_certificate_that_expires_soon_is_a_warning(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("localhost", days=2)
    with UpstreamServer(pair=pair) as server:
        url = f"https://localhost:{server.port}"
        found = await examine(context(tmp_path, f"  upstreams: [{{prefix: l, urls: '{url}', insecure: true}}]\n"))
    assert bad(found) == ["upstream localhost: certificate"]


async def test_port_without_tls_is_reported(tmp_path: Path) -> None:
    with UpstreamServer() as server:
        found = await examine(context(tmp_path, f"  remoteurl: https://localhost:{server.port}\n"))
    assert found["upstream localhost: certificate"].verdict is Verdict.FAILURE


async def test_unreachable_upstream_is_reported(tmp_path: Path) -> None:
    found = await examine(context(tmp_path, f"  remoteurl: https://localhost:{free_port()}\n"))
    assert "cannot be reached" in found["upstream localhost: certificate"].detail


async def test_unknown_name_is_reported(tmp_path: Path) -> None:
    found = await examine(context(tmp_path, "  remoteurl: https://registry.invalid\n"))
    assert bad(found) == ["upstream registry.invalid: name"]


async def test_name_behind_a_proxy_is_not_resolved(tmp_path: Path) -> None:
    text = "  upstreams: [{prefix: l, urls: 'https://registry.invalid', httpproxy: 'socks5h://127.0.0.1:1'}]\n"
    found = await examine(context(tmp_path, text))
    assert found["upstream registry.invalid: name"].verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (UpstreamUnavailableError("refused the credentials"), Verdict.FAILURE),
        (UpstreamBusyError("wait", retry_after=60), Verdict.WARNING),
    ],
)
async def test_failing_sign_in_is_reported(tmp_path: Path, error: UpstreamUnavailableError, verdict: Verdict) -> None:
    upstream = InMemoryUpstream("upstream")
    upstream.failure = error
    found = await examine(context(tmp_path, "  remoteurl: http://localhost\n", upstream))
    assert found["upstream upstream: sign-in"].verdict is verdict


@pytest.mark.parametrize(("remaining", "verdict"), [(90, Verdict.OK), (3, Verdict.WARNING)])
async def test_quota_that_is_left_is_reported(tmp_path: Path, remaining: int, verdict: Verdict) -> None:
    upstream = InMemoryUpstream("upstream")
    upstream.quota = UpstreamQuota(limit=100, remaining=remaining, window_seconds=21600)
    text = "  remoteurl: http://localhost\n  username: robot\n  password: hunter2\n"
    found = await examine(context(tmp_path, text, upstream))
    assert found["upstream upstream: sign-in"].detail == "with credentials"
    quota = found["upstream upstream: quota"]
    assert (quota.verdict, quota.detail) == (verdict, f"{remaining} of 100 pulls left")


async def test_docker_hub_is_asked_for_its_quota_without_a_pull(tmp_path: Path) -> None:
    upstream = InMemoryUpstream("docker.io")
    text = f"  upstreams: [{{prefix: docker.io, urls: '{HUB}', httpproxy: 'http://127.0.0.1:1'}}]\n"
    found = await examine(context(tmp_path, text, upstream))
    assert found["upstream docker.io: quota"].verdict is Verdict.SKIPPED
    assert upstream.asked == {"check": 1, "resolve": 1}


@pytest.mark.parametrize(("mode", "verdict"), [(0o700, Verdict.OK), (0o755, Verdict.WARNING)])
async def test_spool_that_others_may_read_is_a_warning(tmp_path: Path, mode: int, verdict: Verdict) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(mode)
    found = await examine(context(tmp_path, "  remoteurl: http://localhost\n"))
    assert found["upstreams: spool"].verdict is verdict


async def test_spool_that_is_no_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    found = await examine(context(tmp_path, "  remoteurl: http://localhost\n"))
    assert found["upstreams: spool"].verdict is Verdict.FAILURE
