"""The signed state of an upload session, which the client returns with each request (in the URL from `Location`).

The token has distribution's format, so that a session started on either registry continues on the other:
base64url(HMAC-SHA256(secret, message) ‖ message), where the message is a JSON object with `Name`, `UUID`, `Offset` and
`StartedAt`. This registry adds `Algorithm`, `Digest` and `HashState` of the bytes received so far, which distribution
ignores. With these members any replica completes a final PUT without reading the blob again, if `Stamp` shows that the
staged bytes are the same. `GrantedTo` names the user who was allowed to push, so that a session can outlive a token
(docs/adr/0011).

The added members count only under a `Seal`, which is made with a key of its own: `http.secret` itself signs only the
members of distribution. A state without a seal (from distribution, or from versions of this registry before seals) is
still accepted for the offset of a session; the staged bytes are then read once more at the end.
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

from core.errors import DigestInvalidError, NameInvalidError, UploadInvalidError
from core.model.digest import CANONICAL, Digest, require_algorithm
from core.model.names import RepositoryName

TOKEN_LENGTH_MAX: Final = 4096
GRANTEE_LENGTH_MAX: Final = 256
"""Longer user names are not recorded; such a user needs a valid token for every chunk."""
_MAC_BYTES: Final = hashlib.sha256().digest_size
_SEAL: Final = "Seal"
_SHARED_MEMBERS: Final = ("Name", "UUID", "Offset", "StartedAt")
"""The members that distribution signs too, in its order."""
_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_upload_id(text: str) -> bool:
    """Whether `text` is a UUID in its usual spelling; distribution purges only sessions with such names."""
    return _UPLOAD_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """The state of an upload session after a request."""

    name: RepositoryName
    upload_id: str
    offset: int
    """Bytes received so far."""
    started_at: str
    """RFC 3339, as stored."""
    algorithm: str = CANONICAL
    """The algorithm that hashes the bytes as they arrive."""
    digest: Digest | None = None
    """The digest of the first `offset` bytes, if known."""
    hash_state: bytes | None = None
    """The exported state of a hasher of `algorithm` after `offset` bytes, if known."""
    stamp: str | None = None
    """Identifies the staged bytes of `digest` and `hash_state`, if their number does not (`BlobWriter.stamp`)."""
    granted_to: str | None = None
    """The user who was allowed to push when the state was signed; empty for an anonymous user, None for no one."""


class UploadStateCodec:
    """Signs and verifies upload states with keys derived from one secret, which all replicas share."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("the secret is empty")
        self._secret = secret
        self._seal_key = hmac.digest(secret, b"upload states", "sha256")

    def encode(self, state: UploadState) -> str:
        """Return the token: URL-safe text of about 300 characters."""
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
        message = _serialized(document)
        return base64.urlsafe_b64encode(self._sign(message) + message).decode("ascii")

    def decode(self, token: str, *, name: RepositoryName, upload_id: str) -> UploadState:
        """Verify a token that a client sent for this session.

        Raises:
            UploadInvalidError: the token was not signed with this secret, or belongs to another session.
        """
        message = self._verified(token)
        try:
            document = self._trusted_members(json.loads(message))
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
        # The signature is valid, but the form is not: another program uses the same secret.
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
            raise UploadInvalidError(
                "upload state was signed with another secret; use the same http.secret in all replicas"
            )
        return message

    def _trusted_members(self, document: object) -> dict[str, Any]:
        """Return the trusted members: all if the seal is valid, otherwise only those that distribution has too."""
        if not isinstance(document, dict):
            raise TypeError("not an object")
        seal = str(document.pop(_SEAL, ""))
        if hmac.compare_digest(seal.encode(), self._seal(document).encode()):
            return document
        return {member: document[member] for member in _SHARED_MEMBERS}

    def _seal(self, document: Mapping[str, object]) -> str:
        return hmac.new(self._seal_key, _serialized(document), "sha256").hexdigest()

    def _sign(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, "sha256")


def _serialized(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
