"""Stored certificates, keys and attempts: objects that are read back, and others that count as absent."""

from datetime import UTC, datetime, timedelta

import pytest
from typing_extensions import override

from adapters.blob_storage.memory import InMemoryBlobStorage
from core.certificates.records import Attempts, pause_seconds
from core.model.secret import Secret
from core.ports.certificate_authority import Certificate
from core.store import certificate_objects
from tests.unit.core.certificates.conftest import HOST, make_records

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CERTIFICATE = Certificate(host=HOST, chain="chain", key=Secret("key"), begins_at=NOW, ends_at=NOW + timedelta(days=90))


def test_certificate_is_renewed_when_a_third_of_its_life_is_left():
    assert CERTIFICATE.renews_at == NOW + timedelta(days=60)


def test_key_is_not_shown():
    assert "'key'" not in repr(CERTIFICATE).replace("Secret", "")


async def test_what_is_stored_is_read_back(storage):
    records = make_records(storage)
    assert await records.certificate(HOST) is None
    assert await records.account_key() is None
    await records.save(CERTIFICATE)
    await records.save_account_key(Secret("account"))
    assert await records.certificate(HOST) == CERTIFICATE
    assert await records.account_key() == Secret("account")


async def test_objects_of_another_scope_or_key_count_as_absent(storage):
    await make_records(storage).save(CERTIFICATE)
    assert await make_records(storage, "other").certificate(HOST) is None
    content = await storage.read(certificate_objects.issued("scope", HOST))
    await storage.write(certificate_objects.issued("scope", "b.example.com"), content)
    assert await make_records(storage).certificate("b.example.com") is None
    await storage.write(certificate_objects.issued("scope", HOST), b"x" * 300_000)
    assert await make_records(storage).certificate(HOST) is None


async def test_saved_certificate_ends_the_attempts(storage):
    records = make_records(storage)
    await records.note_attempt(HOST, 2)
    found = await records.attempts(HOST)
    assert found == Attempts(
        count=2, last_at=(await storage.stat(certificate_objects.attempt("scope", HOST))).modified_at
    )
    assert (await records.attempts("b.example.com")) == Attempts()
    await records.save(CERTIFICATE)
    assert (await records.attempts(HOST)).count == 0


async def test_unreadable_attempts_count_as_one(storage):
    await storage.write(certificate_objects.attempt("scope", HOST), b"none")
    assert (await make_records(storage).attempts(HOST)).count == 1


class VanishingStorage(InMemoryBlobStorage):
    """Removes an object after it was found."""

    @override
    async def stat(self, key):
        found = await super().stat(key)
        await self.delete([key])
        return found


async def test_attempts_removed_at_that_moment_count_as_one(time):
    storage = VanishingStorage(now=time.now)
    await make_records(storage).note_attempt(HOST, 4)
    assert (await make_records(storage).attempts(HOST)).count == 1


@pytest.mark.parametrize(("count", "seconds"), [(0, 0), (1, 60), (2, 300), (3, 900), (4, 3600), (40, 3600)])
def test_pauses_grow_to_an_hour(count, seconds):
    assert pause_seconds(count) == seconds
    attempts = Attempts(count=count, last_at=NOW)
    assert attempts.seconds_left(NOW + timedelta(seconds=20), after_success=0) == max(0, seconds - 20)
    assert Attempts(count=count).seconds_left(NOW, after_success=50) == 0


def test_certificate_delays_the_next_order() -> None:
    assert Attempts(last_at=NOW).seconds_left(NOW + timedelta(seconds=20), after_success=50) == 30
