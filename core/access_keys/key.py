"""An API key, its stored form, and the token that its holder sends.

A token is `srk_<id>_<secret><checksum>`: scanners of source code find it by its prefix, and can confirm it by the
checksum. The id names the stored object; the secret has 256 bits, so that a plain hash of it cannot be reversed.
"""

import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from core.errors import InvalidInputError, StorageCorruptError
from core.model.access import EVERYONE, Rule, RuleAction
from core.model.globs import EVERYTHING, glob_problem
from core.model.times import time_text

PREFIX: Final = "srk_"
LABEL_LENGTH_MAX: Final = 100
GLOBS_MAX: Final = 100
_GLOB_LENGTH_MAX: Final = 255
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_BYTES: Final = 8
_ID_LENGTH: Final = 11
_SECRET_BYTES: Final = 32
_SECRET_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_ID: Final = re.compile(rf"[0-9A-Za-z]{{{_ID_LENGTH}}}")
_TOKEN: Final = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})"
)
Entropy = Callable[[int], bytes]
"""Returns this number of random bytes, suitable for secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An API key without its secret."""

    id: str
    owner: str
    """The user whose rights the key has, within its limits."""
    label: str
    limit: Rule
    """The repositories and actions to which the key is limited."""
    created_at: datetime
    """UTC-aware."""
    expires_at: datetime | None
    """UTC-aware; None for a key without an end."""
    secret_hash: str

    def is_expired(self, now: datetime) -> bool:
        """Whether the key has ended."""
        return self.expires_at is not None and self.expires_at <= now

    def matches(self, secret: str) -> bool:
        """Whether this is the secret of the key; the duration does not depend on the secret."""
        return hmac.compare_digest(self.secret_hash, hash_secret(secret))

    def encode(self) -> bytes:
        """Return the stored form."""
        document = {
            "version": 1,
            "owner": self.owner,
            "label": self.label,
            "repositories": self.limit.repositories,
            "actions": self.limit.actions,
            "created": time_text(self.created_at),
            "expires": self.expires_at and time_text(self.expires_at),
            "sha256": self.secret_hash,
        }
        return json.dumps(document).encode()

    @classmethod
    def decode(cls, key_id: str, content: bytes) -> Self:
        """Parse the stored form.

        Raises:
            StorageCorruptError: the content is not that of a key.
        """
        try:
            document: dict[str, Any] = json.loads(content)
            expires = document["expires"]
            return cls(
                id=key_id,
                owner=str(document["owner"]),
                label=str(document["label"]),
                limit=limit_to([*map(str, document["repositories"])], [*map(str, document["actions"])]),
                created_at=_time(document["created"]),
                expires_at=None if expires is None else _time(expires),
                secret_hash=str(document["sha256"]),
            )
        except (ValueError, TypeError, KeyError, InvalidInputError) as error:
            raise StorageCorruptError(f"the API key {key_id} cannot be read") from error


@dataclass(frozen=True, slots=True)
class Token:
    """A token, taken apart."""

    id: str
    secret: str

    @property
    def text(self) -> str:
        """The token as its holder sends it."""
        body = f"{PREFIX}{self.id}_{self.secret}"
        return body + _checksum(body)

    @classmethod
    def new(cls, entropy: Entropy) -> Self:
        """Return a new token."""
        return cls(_encode(entropy(_ID_BYTES), _ID_LENGTH), _encode(entropy(_SECRET_BYTES), _SECRET_LENGTH))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the token, or None if the text is none: a password may have the same prefix."""
        match = _TOKEN.fullmatch(text)
        if match is None or _checksum(text[:-_CHECKSUM_LENGTH]) != match[3]:
            return None
        return cls(match[1], match[2])


def is_key_id(text: str) -> bool:
    """Whether a text is the id of a key."""
    return _ID.fullmatch(text) is not None


def limit_to(repositories: Sequence[str], actions: Sequence[str]) -> Rule:
    """Return the limit of a key.

    Raises:
        InvalidInputError: there are no or too many globs or actions, or one of them is invalid.
    """
    if not 1 <= len(repositories) <= GLOBS_MAX or not actions:
        raise InvalidInputError(f"a key needs 1 to {GLOBS_MAX} globs of repositories, and an action")
    for glob in repositories:
        if len(glob) > _GLOB_LENGTH_MAX or glob_problem(glob):
            raise InvalidInputError("a repository must be given as a name or a glob such as `team/**`")
    try:
        chosen = tuple(RuleAction(action) for action in dict.fromkeys(actions))
    except ValueError:
        known = ", ".join(RuleAction)
        raise InvalidInputError(f"an action must be one of {known}") from None
    return Rule(who=(EVERYONE,), repositories=tuple(dict.fromkeys(repositories)), actions=chosen)


EVERYWHERE: Final = (EVERYTHING,)
"""The globs of a key for all repositories."""


def require_label(label: str) -> str:
    """Return a label without spaces at its ends.

    Raises:
        InvalidInputError: it is empty, too long, or contains control characters.
    """
    text = label.strip()
    if not text or len(text) > LABEL_LENGTH_MAX or not text.isprintable():
        raise InvalidInputError(f"a label has 1 to {LABEL_LENGTH_MAX} printable characters")
    return text


def hash_secret(secret: str) -> str:
    """Return the hash of a secret as it is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without an offset")
    return time.astimezone(UTC)


def _checksum(body: str) -> str:
    return _encode(zlib.crc32(body.encode()).to_bytes(4, "big"), _CHECKSUM_LENGTH)


def _encode(content: bytes, length: int) -> str:
    """Return bytes as digits of base 62, of which `length` are enough."""
    number = int.from_bytes(content, "big")
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
