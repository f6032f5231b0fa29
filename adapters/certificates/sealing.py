"""Encryption of certificates and keys in the store, with keys derived from `http.secret`."""

import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12
_SCOPE_LENGTH: Final = 16


class Sealing:
    """AES-256-GCM. The storage key is authenticated too: the content of one key is invalid under another.

    Args:
        secret: the secret that all replicas share.
        authority: the address of the ACME server.
    """

    def __init__(self, secret: bytes, authority: str) -> None:
        self._cipher = AESGCM(hmac.digest(secret, b"certificates", "sha256"))
        scope = hmac.digest(secret, b"scope of certificates " + authority.encode(), "sha256")
        self.scope = scope.hex()[:_SCOPE_LENGTH]
        """A text that differs for each secret and authority, and reveals neither."""

    def seal(self, key: str, content: bytes) -> bytes:
        """Encrypt the content of a storage key."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, key.encode())

    def unseal(self, key: str, sealed: bytes) -> bytes | None:
        """Return the content; None if it was not sealed for this key with this secret."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key.encode())
        except (InvalidTag, ValueError):
            return None
