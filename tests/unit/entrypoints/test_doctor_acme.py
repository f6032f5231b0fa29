"""The doctor's check of the certificates that an ACME server issued."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.blob_storage.memory import InMemoryBlobStorage
from adapters.certificates.memory import InMemoryAuthority
from config.container import build_registry
from config.loader import load
from core.certificates.records import CertificateRecords
from core.certificates.service import JOB, Certificates
from core.coordination.lease import Lease
from core.diagnosis import Verdict
from core.model.secret import Secret
from core.ports.certificate_authority import Certificate
from core.store import layout
from entrypoints.doctor.certificates import check_certificates
from entrypoints.doctor.context import DoctorContext
from tests.support.simulated_time import SimulatedTime

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOSTS = ("fresh.example.com", "due.example.com", "late.example.com", "expired.example.com", "missing.example.com")
DAYS_LEFT = {"fresh.example.com": 80, "due.example.com": 29, "late.example.com": 20, "expired.example.com": -1}


async def test_days_of_each_stored_certificate_are_judged(tmp_path: Path) -> None:
    time, storage = SimulatedTime(), InMemoryBlobStorage(now=lambda: NOW)
    records = CertificateRecords(
        storage, scope="scope", seal=lambda _key, content: content, unseal=lambda _key, content: content
    )
    for host, days in DAYS_LEFT.items():
        ends = NOW + timedelta(days=days)
        begins = ends - timedelta(days=90)
        await records.save(Certificate(host=host, chain="", key=Secret("key"), begins_at=begins, ends_at=ends))
    lease = Lease(storage, layout.lease(JOB), owner_id=lambda: "doctor", ttl=30, clock=time.clock, sleep=time.sleep)
    certificates = Certificates(
        records,
        InMemoryAuthority(now=lambda: NOW),
        lease,
        hosts=HOSTS,
        now=lambda: NOW,
        clock=time.clock,
        sleep=time.sleep,
    )
    path = tmp_path / "config.yml"
    path.write_text("version: 0.1\nstorage: inmemory\n")
    loaded = load(str(path))
    application = replace(build_registry(loaded.settings), certificates=certificates, now=lambda: NOW)
    doctor = DoctorContext(loaded=loaded, application=application, scratch_id="test")

    found = {each.check.split()[1]: (each.verdict, each.detail) async for each in check_certificates(doctor)}

    assert {host: verdict for host, (verdict, _) in found.items()} == {
        "fresh.example.com": Verdict.OK,
        "due.example.com": Verdict.OK,
        "late.example.com": Verdict.WARNING,
        "expired.example.com": Verdict.FAILURE,
        "missing.example.com": Verdict.FAILURE,
    }
    assert found["fresh.example.com"][1].startswith("80 days left, renewed from ")
