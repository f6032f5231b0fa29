"""The doctor's checks of issuers of tokens."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from config.container import build_registry
from config.loader import load
from core.diagnosis import Diagnosis, Verdict
from entrypoints.doctor.context import DoctorContext
from entrypoints.doctor.issuers import check_issuers
from tests.support.identity_provider import JWKS, IdentityProvider, Reply


def context(folder: Path, url: str, more: str = "") -> DoctorContext:
    path = folder / "config.yml"
    path.write_text(
        f"version: 0.1\nstorage: inmemory\nauth:\n  workloads:\n"
        f"  - {{issuer: '{url}', audiences: [a], when: {{sub: x}}, user: 'a:{{sub}}'{more}}}\n"
        f"  - {{issuer: '{url}', audiences: [a], when: {{sub: y}}, user: 'b:{{sub}}'{more}}}\n"
    )
    loaded = load(str(path))
    return DoctorContext(loaded=loaded, application=build_registry(loaded.settings), scratch_id="test")


async def examine(doctor: DoctorContext) -> list[Diagnosis]:
    return [each async for each in check_issuers(doctor)]


async def test_sound_issuer_passes(tmp_path: Path) -> None:
    with IdentityProvider(algorithm="ES256") as provider:
        keys, clock = await examine(context(tmp_path, provider.url))
        assert (keys.check, keys.verdict, keys.detail) == (f"issuer {provider.url}: keys", Verdict.OK, "1 usable")
        assert (clock.check, clock.verdict) == (f"issuer {provider.url}: clock", Verdict.OK)


async def test_provider_at_which_people_sign_in_is_examined(tmp_path: Path) -> None:
    with IdentityProvider(algorithm="ES256") as provider:
        path = tmp_path / "config.yml"
        path.write_text(
            f"version: 0.1\nstorage: inmemory\nauth: {{oidc: {{issuer: '{provider.url}', clientid: c}}}}\n"
            "access: {rules: [{who: authenticated, actions: pull}]}\n"
        )
        loaded = load(str(path))
        application = build_registry(loaded.settings)
        keys, clock = await examine(DoctorContext(loaded=loaded, application=application, scratch_id="test"))
        assert (keys.check, keys.verdict, clock.verdict) == (f"issuer {provider.url}: keys", Verdict.OK, Verdict.OK)


async def test_wrong_clock_is_found(tmp_path: Path) -> None:
    with IdentityProvider(algorithm="ES256") as provider:
        date = datetime.now(UTC) - timedelta(hours=1)
        provider.replies[JWKS] = Reply(provider.key_set, date=date)
        keys, clock = await examine(context(tmp_path, provider.url))
        assert (keys.verdict, clock.verdict) == (Verdict.OK, Verdict.FAILURE)
        assert "3600 seconds behind" in clock.detail or "3599 seconds behind" in clock.detail


async def test_issuer_that_cannot_be_used_fails(tmp_path: Path) -> None:
    with IdentityProvider(algorithm="ES256") as provider:
        provider.is_down = True
        [keys] = await examine(context(tmp_path, provider.url))
        assert (keys.verdict, "cannot" in keys.detail) == (Verdict.FAILURE, True)
        [keys] = await examine(context(tmp_path, provider.url, ", jwks: /missing"))
        assert (keys.verdict, "/missing" in keys.detail) == (Verdict.FAILURE, True)


async def test_keys_of_a_file_are_counted(tmp_path: Path) -> None:
    with IdentityProvider(algorithm="ES256") as provider:
        (tmp_path / "keys.json").write_bytes(provider.key_set)
    [keys] = await examine(context(tmp_path, "https://issuer.example", f", jwks: {tmp_path / 'keys.json'}"))
    assert (keys.verdict, keys.detail) == (Verdict.OK, "1 usable")


async def test_registry_without_issuers_has_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("version: 0.1\nstorage: inmemory\n")
    loaded = load(str(path))
    doctor = DoctorContext(loaded=loaded, application=build_registry(loaded.settings), scratch_id="test")
    assert await examine(doctor) == []
