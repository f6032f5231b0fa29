"""The blobs that served manifests refer to."""

from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.media_types import OCTET_STREAM
from core.model.names import RepositoryName
from core.pull_through import claims
from core.pull_through.claims import Claims

NAME = RepositoryName("docker.io/library/alpine")
OTHER = RepositoryName("quay.io/alpine")


def blob(content: bytes) -> Descriptor:
    return Descriptor(media_type=OCTET_STREAM, digest=Digest.of(content), size=len(content))


def test_claim_is_of_one_repository():
    known = Claims()
    known.note(NAME, [blob(b"one"), blob(b"three")])
    assert known.size(NAME, Digest.of(b"one")) is not None
    assert known.size(NAME, Digest.of(b"three")) == 5
    assert known.size(OTHER, Digest.of(b"one")) is None
    assert known.size(OTHER, Digest.of(b"one")) is None


def test_forgotten_claim_is_gone():
    known = Claims()
    known.note(NAME, [blob(b"one")])
    known.forget(NAME, Digest.of(b"one"))
    known.forget(NAME, Digest.of(b"one"))
    assert known.size(NAME, Digest.of(b"one")) is None


def test_oldest_claims_are_dropped(monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS_MAX", 2)
    known = Claims()
    known.note(NAME, [blob(b"1"), blob(b"2"), blob(b"1"), blob(b"3")])
    assert [known.size(NAME, Digest.of(content)) is not None for content in (b"1", b"2", b"3")] == [True, False, True]
