"""The resumable hashers agree with hashlib at every cut, and refuse a state that is not theirs."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hashing import resumable
from adapters.hashing.resumable import ResumableHasher, hasher_factory
from core.model.digest import SHA256, SHA512, StandardHasher

new_hasher = hasher_factory()


@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
@given(pieces=st.lists(st.binary(max_size=300), max_size=8))
def test_resumed_after_every_piece_equals_hashlib(algorithm, pieces):
    hasher = new_hasher(algorithm, None)
    for piece in pieces:
        hasher.update(piece)
        hasher = new_hasher(algorithm, hasher.export_state())
    assert hasher.digest().encoded == hashlib.new(algorithm, b"".join(pieces)).hexdigest()


@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
def test_intermediate_digest_can_be_read(algorithm):
    content = random.Random(1).randbytes(3_000_001)
    hasher = new_hasher(algorithm, None)
    hasher.update(content[:1_000_000])
    hasher.digest()
    hasher.update(memoryview(content)[1_000_000:])
    assert hasher.digest().encoded == hashlib.new(algorithm, content).hexdigest()


def test_state_has_the_form_of_go():
    hasher = new_hasher(SHA256, None)
    hasher.update(b"abc")
    state = hasher.export_state()
    assert state is not None
    assert (len(state), state[:4]) == (108, b"sha\x03")
    assert state[36:39] == b"abc"
    assert state[-8:] == (3).to_bytes(8, "big")


@pytest.mark.parametrize("state", [b"", b"sha\x03", b"sha\x07" + bytes(104), bytes(108)])
def test_foreign_state_is_refused(state):
    with pytest.raises(ValueError, match="hash state"):
        new_hasher(SHA256, state)


def test_counts_beyond_four_gibibits():
    hasher = new_hasher(SHA256, None)
    hasher.update(b"x" * 64)
    state = bytearray(hasher.export_state() or b"")
    state[-8:] = (2**33).to_bytes(8, "big")
    resumed = new_hasher(SHA256, bytes(state))
    assert resumed.export_state() == bytes(state)


def test_libcrypto_is_used_if_present():
    assert isinstance(new_hasher(SHA256, None), ResumableHasher)


def test_hashlib_is_used_without_libcrypto(monkeypatch):
    monkeypatch.setattr(resumable, "_LIBRARY", "libcrypto-that-is-not-there.so")
    assert hasher_factory() is StandardHasher
    with pytest.raises(ValueError, match="state"):
        StandardHasher(SHA256, b"state")
