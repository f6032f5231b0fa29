"""The doctor's checks on stores and clocks that fail in one way each, and its parsing of odd answers."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from typing_extensions import override

from adapters.blob_storage.filesystem.diagnosis import diagnose_folder
from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.catalog_index.file_diagnosis import diagnose_file
from config.container import build_registry, utc_now
from config.loader import load
from core.diagnosis import Diagnosis, Verdict
from core.errors import StorageFullError, StorageUnavailableError
from core.ports.staging import StagingStorage
from entrypoints.doctor.certificates import check_certificates
from entrypoints.doctor.checks import run_checks
from entrypoints.doctor.client import Answer, Credentials, PublicRegistry, parse_challenge
from entrypoints.doctor.clock import check_clock
from entrypoints.doctor.context import CheckGroup, DoctorContext
from entrypoints.doctor.settings import check_configuration
from entrypoints.doctor.storage import check_storage
from tests.support.certificates import Authority
from tests.support.faulty_blob_storage import FaultyBlobStorage

T = TypeVar("T")

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class RefusingBlobStorage(FaultyBlobStorage):
    """Refuses some operations, as a bucket whose policy lacks a right."""

    def __init__(self, *refused: str) -> None:
        super().__init__(InMemoryBlobStorage(now=lambda: NOW))
        self._refused = refused

    @override
    async def begin(self, operation: str, key: str) -> None:
        if operation in self._refused:
            raise StorageUnavailableError(f"{operation}: access denied")
        await super().begin(operation, key)

    @override
    async def carry_out(self, operation: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        await self.begin(operation, key)
        return await call()


class StaleBlobStorage(InMemoryBlobStorage):
    """Reads the content before the last write, and does not delete."""

    def __init__(self) -> None:
        super().__init__(now=lambda: NOW)
        self._before: dict[str, bytes] = {}

    @override
    async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        self._before[key] = await super().read(key) if key in self._objects else content
        await super().write(key, content, durable=durable)

    @override
    async def read(self, key: str, *, limit: int = 4096) -> bytes:
        return self._before.get(key) or await super().read(key)

    @override
    async def create(self, key: str, content: bytes) -> bool:
        await super().write(key, content)
        return True

    @override
    async def delete_tree(self, *prefixes: str) -> None:
        """Forget to."""


class LaxBlobStorage(InMemoryBlobStorage):
    """Cannot create exclusively."""

    creates_exclusively = False


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., DoctorContext]:
    """Makes contexts with another storage, or more of a configuration."""

    def make(
        storage: StagingStorage | None = None,
        text: str = "",
        now: Callable[[], datetime] = lambda: NOW,
        **settings: object,
    ) -> DoctorContext:
        path = tmp_path / "config.yml"
        path.write_text(f"version: 0.1\nstorage: {{inmemory: {{}}}}\n{text}")
        loaded = load(str(path))
        application = replace(
            build_registry(loaded.settings), storage=storage or InMemoryBlobStorage(now=lambda: NOW), now=now
        )
        return DoctorContext(loaded=loaded, application=application, scratch_id="test", **settings)  # type: ignore[arg-type] # of the tests

    return make


async def verdicts(found: AsyncIterator[Diagnosis]) -> dict[str, Verdict]:
    return {diagnosis.check: diagnosis.verdict async for diagnosis in found}


async def failures(found: AsyncIterator[Diagnosis]) -> set[str]:
    return {check for check, verdict in (await verdicts(found)).items() if verdict is Verdict.FAILURE}


async def test_sound_store_passes(doctor: Callable[..., DoctorContext]) -> None:
    found = await verdicts(check_storage(doctor()))
    assert set(found.values()) == {Verdict.OK}
    assert len(found) == 8


async def test_full_store_gives_one_finding(doctor: Callable[..., DoctorContext]) -> None:
    class FullBlobStorage(InMemoryBlobStorage):
        @override
        async def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
            raise StorageFullError(f"no space left at {key}")

    findings = [each async for each in check_storage(doctor(FullBlobStorage(now=lambda: NOW)))]
    [failed] = [each for each in findings if each.verdict is Verdict.FAILURE]
    assert failed.check == "storage: write and read"
    assert "trash empty" in failed.remedy
    skipped = [each.check for each in findings if each.verdict is Verdict.SKIPPED]
    checks = ("overwrite", "list", "create once", "move", "delete")
    assert skipped == [f"storage: {check}" for check in checks]


@pytest.mark.parametrize(
    ("refused", "checks"),
    [
        (("delete", "delete_tree"), {"delete", "list", "cleanup"}),
        (("write",), {"write and read", "overwrite", "list", "move", "delete"}),
        (("create",), {"create once"}),
        (("open_writer",), {"large object"}),
        (("move",), {"move"}),
        (("walk",), {"list", "cleanup"}),
    ],
    ids=["delete", "write", "create", "upload", "copy", "list"],
)
async def test_missing_right_is_reported(
    refused: Sequence[str], checks: set[str], doctor: Callable[..., DoctorContext]
) -> None:
    found = [each async for each in check_storage(doctor(RefusingBlobStorage(*refused)))]
    assert {each.check.removeprefix("storage: ") for each in found if each.verdict is Verdict.FAILURE} == checks
    assert all(each.remedy for each in found if each.verdict is Verdict.FAILURE)


async def test_lagging_store_is_reported(doctor: Callable[..., DoctorContext]) -> None:
    found = await failures(check_storage(doctor(StaleBlobStorage())))
    assert {"storage: overwrite", "storage: create once", "storage: delete", "storage: cleanup"} <= found


async def test_store_without_conditional_writes_is_a_warning(doctor: Callable[..., DoctorContext]) -> None:
    found = await verdicts(check_storage(doctor(LaxBlobStorage(now=lambda: NOW))))
    assert found["storage: create once"] is Verdict.WARNING


@pytest.mark.parametrize(
    ("skew", "verdict"),
    [(0, Verdict.OK), (20, Verdict.OK), (60, Verdict.WARNING), (-60, Verdict.WARNING), (3600, Verdict.FAILURE)],
)
async def test_skewed_clock_is_reported(skew: int, verdict: Verdict, doctor: Callable[..., DoctorContext]) -> None:
    storage = InMemoryBlobStorage(now=lambda: NOW + timedelta(seconds=skew))
    found = [each async for each in check_clock(doctor(storage))]
    assert [each.verdict for each in found] == [verdict]
    if verdict is not Verdict.OK:
        assert ("ahead of" if skew > 0 else "behind") in found[0].detail


async def test_clock_of_a_store_that_fails_is_skipped(doctor: Callable[..., DoctorContext]) -> None:
    assert await verdicts(check_clock(doctor(RefusingBlobStorage("write")))) == {"clock: the store": Verdict.SKIPPED}


async def test_non_persistent_configuration_is_reported(doctor: Callable[..., DoctorContext]) -> None:
    found = await verdicts(check_configuration(doctor(text="unknownkey: 1\n")))
    assert found == dict.fromkeys(
        ["configuration: warnings", "configuration: http.secret", "configuration: storage"], Verdict.WARNING
    )


@pytest.mark.parametrize(
    ("days", "verdict"), [(60, Verdict.OK), (10, Verdict.WARNING), (-1, Verdict.FAILURE)], ids=["long", "soon", "over"]
)
async def test_age_of_the_configured_certificate_is_checked(
    days: int, verdict: Verdict, doctor: Callable[..., DoctorContext], tmp_path: Path
) -> None:
    pair = Authority(tmp_path).issue("server", days=days)
    one = doctor(text=f"http: {{tls: {{certificate: {pair.certificate}, key: {pair.key}}}}}\n", now=utc_now)
    found = await verdicts(check_certificates(one))
    assert found["certificate: files of http.tls"] is Verdict.OK
    assert found["certificate: age of http.tls"] is verdict
    assert found["certificate: chain of http.tls"] is Verdict.WARNING


async def test_authorities_of_clients_are_checked(doctor: Callable[..., DoctorContext], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, junk = authority.issue("server"), tmp_path / "junk"
    junk.write_text("junk")
    tls = f"certificate: {pair.certificate}, key: {pair.key}, clientcas: [{authority.path}, {junk}]"
    found = await verdicts(check_certificates(doctor(text=f"http: {{tls: {{{tls}}}}}\n", now=utc_now)))
    assert found[f"certificate: authority of clients in {authority.path}"] is Verdict.OK
    assert found[f"certificate: authority of clients in {junk}"] is Verdict.FAILURE


async def test_chain_of_the_configured_certificate_is_checked(
    doctor: Callable[..., DoctorContext], tmp_path: Path
) -> None:
    pair = Authority(tmp_path).issue("server")
    other = Authority(tmp_path, "other")
    chain = tmp_path / "chain.pem"
    for issuer, verdict in ((pair.authority, Verdict.OK), (other.path, Verdict.FAILURE)):
        chain.write_bytes(pair.certificate.read_bytes() + issuer.read_bytes())
        one = doctor(text=f"http: {{tls: {{certificate: {chain}, key: {pair.key}}}}}\n", now=utc_now)
        found = await verdicts(check_certificates(one))
        assert found["certificate: chain of http.tls"] is verdict


async def test_certificate_of_another_name_is_reported(doctor: Callable[..., DoctorContext], tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    # The certificate is for 127.0.0.1, and all of 127/8 is this machine.
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.2", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        text = f"http: {{tls: {{certificate: {pair.certificate}, key: {pair.key}}}}}\n"
        public = PublicRegistry(f"https://127.0.0.2:{port}", context=None)
        one = doctor(text=text, now=utc_now, public=public, ca_file=str(pair.authority))
        found = {each.check: each async for each in check_certificates(one)}
    assert "subjectAltName" in found["certificate: trusted by clients"].remedy
    assert found["certificate: age"].verdict is Verdict.OK
    assert found["certificate: name of http.tls"].verdict is Verdict.WARNING


async def test_server_that_never_ends_a_tls_session_is_no_failure(
    doctor: Callable[..., DoctorContext], tmp_path: Path
) -> None:
    pair = Authority(tmp_path).issue("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as clients:
        listener.settimeout(60)

        def serve() -> None:
            sock, _ = listener.accept()
            with context.wrap_socket(sock, server_side=True):
                over.wait(60)

        served = [clients.submit(serve) for _ in range(2)]
        public = PublicRegistry(f"https://127.0.0.1:{listener.getsockname()[1]}", context=None)
        found = await verdicts(check_certificates(doctor(public=public, now=utc_now, ca_file=str(pair.authority))))
        over.set()
        for each in served:
            await asyncio.wrap_future(each)
    assert found == {"certificate: trusted by clients": Verdict.OK, "certificate: age": Verdict.OK}


async def test_address_without_a_listener_is_skipped(doctor: Callable[..., DoctorContext]) -> None:
    one = doctor(public=PublicRegistry("https://127.0.0.1:1", context=None))
    assert await verdicts(check_certificates(one)) == {"certificate: trusted by clients": Verdict.SKIPPED}


async def test_key_of_another_certificate_is_reported(doctor: Callable[..., DoctorContext], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    text = f"http: {{tls: {{certificate: {one.certificate}, key: {other.key}}}}}\n"
    assert await failures(check_certificates(doctor(text=text))) == {"certificate: files of http.tls"}
    x509.load_pem_x509_certificate(one.certificate.read_bytes())


async def test_crashing_check_stops_no_other(
    doctor: Callable[..., DoctorContext], caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_doctor_context: DoctorContext) -> AsyncIterator[Diagnosis]:
        yield Diagnosis(check="first", verdict=Verdict.OK)
        raise ValueError("a secret")

    async def away(_doctor_context: DoctorContext) -> AsyncIterator[Diagnosis]:
        raise StorageUnavailableError("the store is away")
        yield

    groups: dict[str, CheckGroup] = {"broken": broken, "away": away, "clock": check_clock}
    found = [each async for each in run_checks(doctor(), groups)]
    assert [each.check for each in found] == ["first", "broken", "away", "clock: the store"]
    assert "a secret" not in found[1].detail
    assert "a check raised an unexpected error" in caplog.text


def test_full_disk_and_missing_folder_are_reported(tmp_path: Path) -> None:
    checks = {each.check: each.verdict for each in diagnose_folder(str(tmp_path), str(tmp_path / ".tmp"))}
    assert checks.keys() == {"disk: space", "disk: files", "disk: one file system"}
    # A file system of the kernel has no space at all.
    [space, _, _] = diagnose_folder("/proc", "/proc/none")
    assert space.verdict is Verdict.FAILURE
    [missing] = diagnose_folder(str(tmp_path / "gone"), "")
    assert (missing.check, missing.verdict) == ("disk: folder", Verdict.FAILURE)
    [*_, one] = diagnose_folder(str(tmp_path), "/proc")
    assert one.verdict is Verdict.WARNING


def test_check_of_the_catalog_file_shows_its_mount(tmp_path: Path) -> None:
    file = tmp_path / "names"
    [missing] = diagnose_file(tmp_path / "nowhere" / "names")
    assert missing.verdict is Verdict.FAILURE
    [missing] = diagnose_file(file)
    assert missing.verdict is Verdict.WARNING
    file.write_text("")
    [usable, mount] = diagnose_file(file)
    assert (usable.verdict, mount.detail) == (Verdict.OK, "")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 2 0:3 /x {file} rw - ext4 /dev/x rw\nshort line\n")
    [_, mount] = diagnose_file(file, mounts=mounts)
    assert "in place" in mount.detail
    [_, mount] = diagnose_file(file, mounts=tmp_path / "gone")
    assert mount.verdict is Verdict.OK


def test_challenge_is_parsed() -> None:
    challenge = 'Bearer realm="https://auth.example/token?a=b",service="registry", scope="repository:a:pull,push"'
    assert parse_challenge(challenge) == {
        "realm": "https://auth.example/token?a=b",
        "service": "registry",
        "scope": "repository:a:pull,push",
    }
    assert parse_challenge("Bearer realm=plain, service=x") == {"realm": "plain", "service": "x"}
    assert parse_challenge("Negotiate") == {}


def test_source_of_an_answer_is_recognized() -> None:
    ours = Answer(404, {}, b'{"errors": [{"code": "BLOB_UNKNOWN"}]}', 0.1)
    proxys = Answer(413, {"Server": "nginx"}, b"<html>\n<b>too large</b>", 0.1)
    assert ours.describe() == "404 BLOB_UNKNOWN"
    assert proxys.describe() == "413 from nginx: <html> <b>too large</b>"
    assert Answer(502, {}, b"", 0.1).describe() == "502"


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(Credentials("user", "secret"))
    assert Credentials("user", "secret").basic == "Basic dXNlcjpzZWNyZXQ="
