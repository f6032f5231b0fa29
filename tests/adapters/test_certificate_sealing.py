"""Encryption of certificates in the store."""

import pytest

from adapters.certificates.sealing import Sealing

SEALING = Sealing(b"secret", "https://acme.example/dir")


def test_only_the_same_secret_opens_an_object() -> None:
    sealed = SEALING.seal("/a", b"private key")
    assert b"private" not in sealed
    assert SEALING.unseal("/a", sealed) == b"private key"
    assert Sealing(b"secret", "https://acme.example/dir").unseal("/a", sealed) == b"private key"
    assert Sealing(b"other", "https://acme.example/dir").unseal("/a", sealed) is None


def test_object_is_valid_for_its_key_only() -> None:
    assert SEALING.unseal("/b", SEALING.seal("/a", b"private key")) is None


@pytest.mark.parametrize("sealed", [b"", b"x", b"x" * 12, b"x" * 100])
def test_other_content_is_no_object(sealed: bytes) -> None:
    assert SEALING.unseal("/a", sealed) is None


def test_changed_object_is_refused() -> None:
    sealed = bytearray(SEALING.seal("/a", b"private key"))
    sealed[-1] ^= 1
    assert SEALING.unseal("/a", bytes(sealed)) is None


def test_scopes_of_secrets_and_authorities_differ() -> None:
    scopes = {
        sealing.scope
        for sealing in (SEALING, Sealing(b"other", "https://acme.example/dir"), Sealing(b"secret", "https://b/dir"))
    }
    assert len(scopes) == 3
    assert all(scope.isalnum() for scope in scopes)
