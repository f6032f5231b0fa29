import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UploadInvalidError
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.registry.upload_state import UploadState, UploadStateCodec, is_upload_id

ID = "01234567-89ab-4def-8123-456789abcdef"
NAME = RepositoryName("a/b")
CODEC = UploadStateCodec(b"secret")


def sealed(document, key=b"secret"):
    seal_key = hmac.digest(key, b"upload states", "sha256")
    message = json.dumps(document, separators=(",", ":")).encode()
    return {**document, "Seal": hmac.new(seal_key, message, "sha256").hexdigest()}


def signed(document, secret=b"secret"):
    message = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, message, hashlib.sha256) + message).decode()


@given(
    offset=st.integers(0, 2**60),
    algorithm=st.sampled_from(["sha256", "sha512"]),
    digest=st.none() | st.binary().map(Digest.of),
    hash_state=st.none() | st.binary(max_size=204),
    stamp=st.none() | st.text(max_size=80),
    granted_to=st.none() | st.text(max_size=20),
)
def test_state_survives_encoding(*, offset, algorithm, digest, hash_state, stamp, granted_to):
    state = UploadState(
        name=NAME,
        upload_id=ID,
        offset=offset,
        started_at="2026-11-24T00:00:00Z",
        algorithm=algorithm,
        digest=digest,
        hash_state=hash_state,
        stamp=stamp,
        granted_to=granted_to,
    )
    assert CODEC.decode(CODEC.encode(state), name=NAME, upload_id=ID) == state


def test_state_with_all_members_survives_encoding():
    state = UploadState(
        name=NAME,
        upload_id=ID,
        offset=5,
        started_at="2026-11-24T00:00:00Z",
        algorithm="sha512",
        digest=Digest.of(b"content"),
        hash_state=b"state",
        stamp="stamp",
        granted_to="alice",
    )
    assert CODEC.decode(CODEC.encode(state), name=NAME, upload_id=ID) == state


def test_token_equals_that_of_distribution():
    """HMAC-SHA256 before a JSON message whose members come in distribution's order."""
    state = UploadState(name=NAME, upload_id=ID, offset=5, started_at="2026-11-24T00:00:00Z")
    raw = base64.urlsafe_b64decode(CODEC.encode(state))
    assert raw[:32] == hmac.digest(b"secret", raw[32:], hashlib.sha256)
    assert list(json.loads(raw[32:])) == ["Name", "UUID", "Offset", "StartedAt"]


def test_token_of_distribution_is_accepted():
    token = signed({"Name": "a/b", "UUID": ID, "Offset": 7, "StartedAt": "2016-02-23T10:11:12.123456789Z"})
    state = CODEC.decode(token, name=NAME, upload_id=ID)
    assert (state.offset, state.digest, state.hash_state) == (7, None, None)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"1",
        {"Name": "A", "UUID": ID, "Offset": 0, "StartedAt": ""},
        {"Name": "a/c", "UUID": ID, "Offset": 0, "StartedAt": ""},
        {"Name": "a/b", "UUID": "x", "Offset": 0, "StartedAt": ""},
        {"Name": "a/b", "UUID": ID, "Offset": -1, "StartedAt": ""},
        {"Name": "a/b", "UUID": ID, "Offset": None, "StartedAt": ""},
        sealed({"Name": "a/b", "UUID": ID, "Offset": 0, "StartedAt": "", "Digest": "x"}),
        sealed({"Name": "a/b", "UUID": ID, "Offset": 0, "StartedAt": "", "Algorithm": "md5"}),
        sealed({"Name": "a/b", "UUID": ID, "Offset": 0, "StartedAt": "", "HashState": "x"}),
        {"Name": "a/b", "UUID": ID, "Offset": 0, "StartedAt": "", "Seal": "\ud800"},
    ],
)
def test_signed_state_of_another_form_or_session_is_refused(document):
    with pytest.raises(UploadInvalidError):
        CODEC.decode(signed(document), name=NAME, upload_id=ID)


@pytest.mark.parametrize("seal", [None, "", "0" * 64, sealed({}, b"other")["Seal"]])
def test_fields_unknown_to_distribution_need_a_seal(seal):
    """`http.secret` itself signs what distribution signs: no digest, no state of a hash, no right to push."""
    trusted = {"Digest": Digest.of(b""), "Algorithm": "sha512", "HashState": "AAAA", "Stamp": "s", "GrantedTo": "eve"}
    shared = {"Name": "a/b", "UUID": ID, "Offset": 7, "StartedAt": "2026-11-24T00:00:00Z"}
    token = signed({**shared, **trusted, **({} if seal is None else {"Seal": seal})})
    plain = UploadState(name=NAME, upload_id=ID, offset=7, started_at="2026-11-24T00:00:00Z")
    assert CODEC.decode(token, name=NAME, upload_id=ID) == plain


def test_keys_of_all_purposes_differ():
    """No key is the secret itself, and none is another purpose's."""
    document = {"Name": "a/b", "UUID": ID, "Offset": 0, "StartedAt": "", "GrantedTo": "eve"}
    message = json.dumps(document, separators=(",", ":")).encode()
    for key in (b"secret", hmac.digest(b"secret", b"login tokens", "sha256")):
        forged = signed({**document, "Seal": hmac.new(key, message, "sha256").hexdigest()})
        assert CODEC.decode(forged, name=NAME, upload_id=ID).granted_to is None


def test_another_secret_is_refused():
    state = UploadState(name=NAME, upload_id=ID, offset=0, started_at="")
    with pytest.raises(UploadInvalidError, match="another secret"):
        CODEC.decode(UploadStateCodec(b"other").encode(state), name=NAME, upload_id=ID)
    with pytest.raises(ValueError, match="empty"):
        UploadStateCodec(b"")


@given(st.text() | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_unsigned_token_is_refused(token):
    with pytest.raises(UploadInvalidError):
        CODEC.decode(token, name=NAME, upload_id=ID)


def test_overlong_token_is_refused_unread():
    with pytest.raises(UploadInvalidError, match="too long"):
        CODEC.decode("A" * 5000, name=NAME, upload_id=ID)


def test_upload_id_is_a_uuid():
    assert is_upload_id(ID)
    assert not is_upload_id(ID.upper())
    assert not is_upload_id("../" + ID[3:])
