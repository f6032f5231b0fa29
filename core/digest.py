"""Digests: `algorithm:hex`, valid by existence, and the hashers that compute them.

Only registered algorithms that the store can hold are known here; another one is refused by name (OCI image-spec,
descriptor.md, "Digests").
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Self

from core.errors import DigestInvalidError
from core.typing import override

SHA256: Final = "sha256"
SHA512: Final = "sha512"
CANONICAL: Final = SHA256
"""The algorithm that content gets when nobody asks for another one."""

_HEX_LENGTHS: Final = {SHA256: 64, SHA512: 128}
_GRAMMAR: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX: Final = re.compile(r"[0-9a-f]+")


class Digest(str):
    """A digest of a supported algorithm in its one spelling; equal and hashable as text.

    Raises:
        DigestInvalidError: the text is no digest, or its algorithm is not supported.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check `value` and keep it as it is."""
        algorithm, _, encoded = value.partition(":")
        length = _HEX_LENGTHS.get(algorithm)
        if length is None:
            if _GRAMMAR.fullmatch(value):
                raise DigestInvalidError(f"unsupported digest algorithm {algorithm!r}", detail=value[:256])
            raise DigestInvalidError("invalid digest", detail=value[:256])
        if len(encoded) != length or not _HEX.fullmatch(encoded):
            raise DigestInvalidError(f"a {algorithm} digest has {length} lower-case hex digits", detail=value[:256])
        return super().__new__(cls, value)

    @property
    def algorithm(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hex digits after the colon."""
        return self.partition(":")[2]

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> Self:
        """Hash `content`."""
        require_algorithm(algorithm)
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")


def require_algorithm(name: str) -> str:
    """Return `name` if content may be addressed by it.

    Raises:
        DigestInvalidError: the algorithm is not supported.
    """
    if name not in _HEX_LENGTHS:
        raise DigestInvalidError(f"unsupported digest algorithm {name[:64]!r}", detail=name[:64])
    return name


class Hasher(ABC):
    """Hashes a stream piece by piece; used by one task at a time."""

    algorithm: str

    @abstractmethod
    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in more bytes. Costs about a millisecond per 1.5 MiB: call it off the event loop."""

    @abstractmethod
    def digest(self) -> Digest:
        """Return the digest of all bytes so far; more may follow."""

    @abstractmethod
    def export_state(self) -> bytes | None:
        """Return what `HasherFactory` needs to go on elsewhere, or None where that cannot be done."""


HasherFactory = Callable[[str, bytes | None], Hasher]
"""Makes a hasher for an algorithm, fresh or from an exported state.

A factory raises `ValueError` for a state it cannot take up; the caller then hashes from the first byte.
"""


class StandardHasher(Hasher):
    """`hashlib`'s hashing, whose state cannot leave the process."""

    def __init__(self, algorithm: str, state: bytes | None = None) -> None:
        if state is not None:
            raise ValueError("hashlib cannot take up a state")
        self.algorithm = require_algorithm(algorithm)
        self._hash = hashlib.new(algorithm)

    @override
    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._hash.update(data)

    @override
    def digest(self) -> Digest:
        return Digest(f"{self.algorithm}:{self._hash.hexdigest()}")

    @override
    def export_state(self) -> bytes | None:
        return None
