"""Digests of the form `algorithm:hex`, and the hashers that compute them. Every instance of `Digest` is valid.

Only registered algorithms that the store supports are accepted (OCI image-spec, descriptor.md, "Digests"). The error
for any other algorithm names it.
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
"""The default algorithm for content."""

_HEX_LENGTHS: Final = {SHA256: 64, SHA512: 128}
_GRAMMAR: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX: Final = re.compile(r"[0-9a-f]+")


class Digest(str):
    """A digest of a supported algorithm in canonical spelling; compares and hashes as text.

    Raises:
        DigestInvalidError: the text is not a digest, or its algorithm is not supported.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Validate `value`; the text is kept unchanged."""
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
        """Return the digest of `content`."""
        require_algorithm(algorithm)
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")


def require_algorithm(name: str) -> str:
    """Return `name` if it is a supported algorithm.

    Raises:
        DigestInvalidError: the algorithm is not supported.
    """
    if name not in _HEX_LENGTHS:
        raise DigestInvalidError(f"unsupported digest algorithm {name[:64]!r}", detail=name[:64])
    return name


class Hasher(ABC):
    """Incremental hash of a stream; one task at a time may use it."""

    algorithm: str

    @abstractmethod
    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes to the hash. Takes about a millisecond per 1.5 MiB: call it off the event loop."""

    @abstractmethod
    def digest(self) -> Digest:
        """Return the digest of all bytes added up to now; more may be added later."""

    @abstractmethod
    def export_state(self) -> bytes | None:
        """Return the state from which `HasherFactory` continues in another process, or None if unsupported."""


HasherFactory = Callable[[str, bytes | None], Hasher]
"""Create a hasher for an algorithm: new, or continuing from an exported state.

A factory raises `ValueError` for a state that it cannot restore; the caller then hashes from the first byte.
"""


class StandardHasher(Hasher):
    """Hasher based on `hashlib`; its state cannot be exported."""

    def __init__(self, algorithm: str, state: bytes | None = None) -> None:
        if state is not None:
            raise ValueError("hashlib cannot restore a state")
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
