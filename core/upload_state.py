"""The signed state of an upload session, which travels in the client's `Location` from request to request.

The token is distribution's, so that a session begun on either registry goes on at the other:
base64url(HMAC-SHA256(secret, message) ‖ message), the message a JSON object with `Name`, `UUID`, `Offset` and
`StartedAt`. We add `Algorithm`, `Digest` and `HashState` of the bytes so far, which distribution skips: with them
a final PUT completes without reading the blob again, on any replica, as long as `Stamp` tells that they are the same
bytes. `GrantedTo` tells who was allowed to push into the session, so that it may outlive a token (docs/adr/0011).

What we add is believed only under a `Seal`, made with a key of its own: `http.secret` itself signs no more than
distribution's members. A state without a seal (distribution's, or ours from before there were seals) still says where a
session stands; its bytes are read once more at the end.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.digest import CANONICAL, Digest, require_algorithm
from core.errors import DigestInvalidError, NameInvalidError, UploadInvalidError
from core.names import RepositoryName

TOKEN_LENGTH_MAX: Final = 4096
GRANTEE_LENGTH_MAX: Final = 256
"""Longer names are not remembered: their owners need a fresh token for every piece."""
_MAC_BYTES: Final = hashlib.sha256().digest_size
_SEAL: Final = "Seal"
_SHARED_MEMBERS: Final = ("Name", "UUID", "Offset", "StartedAt")
"""What distribution signs too, in its order."""
_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_upload_id(text: str) -> bool:
    """Whether `text` is a UUID in its usual spelling; distribution purges only sessions named so."""
    return _UPLOAD_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """Where an upload session stands."""

    name: RepositoryName
    upload_id: str
    offset: int
    """Bytes taken in so far."""
    started_at: str
    """RFC 3339, as it stands in storage."""
    algorithm: str = CANONICAL
    """What the bytes are hashed with while they come in."""
    digest: Digest | None = None
    """The digest of the first `offset` bytes, where it is known."""
    hash_state: bytes | None = None
    """What a hasher of `algorithm` needs to go on after `offset` bytes, where it is known."""
    stamp: str | None = None
    """Tells which staged bytes `digest` and `hash_state` are of, where their number does not (`BlobWriter.stamp`)."""
    granted_to: str | None = None
    """Who was allowed to push when this was signed, the empty text for somebody without a name; None for nobody."""


class UploadStateCodec:
    """Signs and verifies upload states with keys of one secret, which all replicas share."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("the secret is empty")
        self._secret = secret
        self._seal_key = hmac.digest(secret, b"upload states", "sha256")

    def encode(self, state: UploadState) -> str:
        """Return the token: URL-safe text, about 300 characters."""
        shared = (state.name, state.upload_id, state.offset, state.started_at)
        document: dict[str, object] = dict(zip(_SHARED_MEMBERS, shared, strict=True))
        if state.algorithm != CANONICAL:
            document["Algorithm"] = state.algorithm
        if state.digest is not None:
            document["Digest"] = state.digest
        if state.hash_state is not None:
            document["HashState"] = base64.b64encode(state.hash_state).decode("ascii")
        if state.stamp is not None:
            document["Stamp"] = state.stamp
        if state.granted_to is not None and len(state.granted_to) <= GRANTEE_LENGTH_MAX:
            document["GrantedTo"] = state.granted_to
        if len(document) > len(_SHARED_MEMBERS):
            document[_SEAL] = self._seal(document)
        message = _written(document)
        return base64.urlsafe_b64encode(self._sign(message) + message).decode("ascii")

    def decode(self, token: str, *, name: RepositoryName, upload_id: str) -> UploadState:
        """Verify a token that came back for this session.

        Raises:
            UploadInvalidError: it was not signed with our secret, or belongs to another session.
        """
        message = self._verified(token)
        try:
            document = self._believed(json.loads(message))
            state = UploadState(
                name=RepositoryName(document["Name"]),
                upload_id=str(document["UUID"]),
                offset=int(document["Offset"]),
                started_at=str(document["StartedAt"]),
                algorithm=require_algorithm(document.get("Algorithm", CANONICAL)),
                digest=Digest(document["Digest"]) if "Digest" in document else None,
                hash_state=base64.b64decode(document["HashState"]) if "HashState" in document else None,
                stamp=str(document["Stamp"]) if "Stamp" in document else None,
                granted_to=str(document["GrantedTo"]) if "GrantedTo" in document else None,
            )
        # Signed by us, yet not of our form: another program that shares the secret.
        except (ValueError, KeyError, TypeError, NameInvalidError, DigestInvalidError) as error:
            raise UploadInvalidError("upload state cannot be read") from error
        if state.name != name or state.upload_id != upload_id or state.offset < 0:
            raise UploadInvalidError("upload state belongs to another session")
        return state

    def _verified(self, token: str) -> bytes:
        if len(token) > TOKEN_LENGTH_MAX:
            raise UploadInvalidError("upload state is too long")
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error) as error:
            raise UploadInvalidError("upload state is not base64") from error
        mac, message = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._sign(message)):
            raise UploadInvalidError("upload state was signed with another secret; all replicas need one http.secret")
        return message

    def _believed(self, document: object) -> dict[str, Any]:
        """Return the members that count: all of a sealed document, else those that distribution has too."""
        if not isinstance(document, dict):
            raise TypeError("not an object")
        seal = str(document.pop(_SEAL, ""))
        if hmac.compare_digest(seal.encode(), self._seal(document).encode()):
            return document
        return {member: document[member] for member in _SHARED_MEMBERS}

    def _seal(self, document: Mapping[str, object]) -> str:
        return hmac.new(self._seal_key, _written(document), "sha256").hexdigest()

    def _sign(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, "sha256")


def _written(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
