"""Signed lists of values for cookies, which need no storage and are valid at all replicas."""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

LENGTH_MAX: Final = 2048
_MAC_BYTES: Final = 32


class SignedTexts:
    """Signs lists of values, and derives secrets.

    Args:
        secret: equal on all replicas.
        use: the use of the values. A value that was signed for another use is refused.
    """

    def __init__(self, secret: bytes, use: bytes) -> None:
        # A derived key: nothing that is signed with the secret for another purpose may be valid here.
        self._key = hmac.digest(secret, use, "sha256")

    def encode(self, purpose: bytes, values: Sequence[object]) -> str:
        """Return the values as a text for a cookie."""
        message = json.dumps(values).encode()
        return base64.urlsafe_b64encode(self.sign(purpose, message) + message).decode()

    def decode(self, purpose: bytes, text: str) -> Sequence[Any] | None:
        """Return the values of a text; None if this class did not sign the text for this purpose."""
        if len(text) > LENGTH_MAX:
            return None
        try:
            decoded = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        mac, message = decoded[:_MAC_BYTES], decoded[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self.sign(purpose, message)):
            return None
        values: Sequence[Any] = json.loads(message)
        return values

    def derive(self, purpose: bytes, text: str) -> str:
        """Return a secret that follows from the text, URL-safe, of 43 characters."""
        return base64.urlsafe_b64encode(self.sign(purpose, text.encode())).decode().rstrip("=")

    def sign(self, purpose: bytes, message: bytes) -> bytes:
        """Return the signature of a message."""
        return hmac.digest(self._key, purpose + b"\0" + message, "sha256")
