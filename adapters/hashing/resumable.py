"""SHA-2 hashes with exportable state, through libcrypto's own structures.

`hashlib` does not expose the state of an unfinished hash, so that a blob sent in pieces to several replicas would have
to be read again at the end. libcrypto's `SHA256_CTX` is plain memory, so the state can be sent in the client's signed
upload token instead. The state is in the format of Go's `crypto/sha256` and `crypto/sha512` (`MarshalBinary`), which is
the same on every machine.
"""

import ctypes
import struct
from typing import ClassVar, Final

from typing_extensions import override

from core.model.digest import SHA256, SHA512, Digest, Hasher, HasherFactory, StandardHasher, require_algorithm

_LIBRARY: Final = "libcrypto.so.3"


class _Sha256Context(ctypes.Structure):
    _fields_: ClassVar = [
        ("h", ctypes.c_uint32 * 8),
        ("bits_low", ctypes.c_uint32),
        ("bits_high", ctypes.c_uint32),
        ("block", ctypes.c_ubyte * 64),
        ("num", ctypes.c_uint),
        ("md_len", ctypes.c_uint),
    ]


class _Sha512Context(ctypes.Structure):
    _fields_: ClassVar = [
        ("h", ctypes.c_uint64 * 8),
        ("bits_low", ctypes.c_uint64),
        ("bits_high", ctypes.c_uint64),
        ("block", ctypes.c_ubyte * 128),
        ("num", ctypes.c_uint),
        ("md_len", ctypes.c_uint),
    ]


class _Family:
    """The functions of one algorithm, and the format of its state."""

    def __init__(
        self,
        library: ctypes.CDLL,
        context: type[_Sha256Context | _Sha512Context],
        *,
        magic: bytes,
        word: str,
        size: int,
    ) -> None:
        name = f"SHA{size * 8}"
        self.context = context
        self.size = size
        self.init = _function(library, f"{name}_Init", [ctypes.c_void_p])
        self.update = _function(library, f"{name}_Update", [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t])
        self.final = _function(library, f"{name}_Final", [ctypes.c_void_p, ctypes.c_void_p])
        self.block_bytes = ctypes.sizeof(context().block)
        self.word_bits = struct.calcsize(word) * 8
        self.magic = magic
        self.layout = struct.Struct(f">4s8{word}{self.block_bytes}sQ")

    def export_state(self, context: _Sha256Context | _Sha512Context) -> bytes:
        total_bytes = (context.bits_high << self.word_bits | context.bits_low) // 8
        # The bytes in the block after `num` are left over from earlier blocks.
        block = bytes(context.block)[: context.num].ljust(self.block_bytes, b"\0")
        return self.layout.pack(self.magic, *context.h, block, total_bytes)

    def import_state(self, state: bytes) -> _Sha256Context | _Sha512Context:
        if len(state) != self.layout.size:
            raise ValueError("hash state has the wrong length")
        magic, *words, block, total_bytes = self.layout.unpack(state)
        if magic != self.magic:
            raise ValueError("hash state belongs to another algorithm")
        context = self.context()
        self.init(ctypes.byref(context))
        context.h[:] = words
        context.block[:] = block
        context.num = total_bytes % self.block_bytes
        bits = total_bytes * 8
        context.bits_low = bits & ((1 << self.word_bits) - 1)
        context.bits_high = bits >> self.word_bits
        return context


def _function(library: ctypes.CDLL, name: str, arguments: list[type]) -> "ctypes._NamedFuncPointer":
    function = library[name]
    function.argtypes = arguments
    function.restype = ctypes.c_int
    return function


class ResumableHasher(Hasher):
    """SHA-256 or SHA-512 with a state that can be exported and resumed elsewhere; as fast as `hashlib`."""

    def __init__(self, family: _Family, algorithm: str, state: bytes | None) -> None:
        self.algorithm = algorithm
        self._family = family
        if state is None:
            self._context = family.context()
            family.init(ctypes.byref(self._context))
        else:
            self._context = family.import_state(state)

    @override
    def update(self, data: bytes | bytearray | memoryview) -> None:
        # bytes and writable buffers are passed without a copy; a read-only view is copied once.
        if isinstance(data, memoryview) and data.readonly:
            data = bytes(data)
        content = data if isinstance(data, bytes) or not data else ctypes.byref(ctypes.c_char.from_buffer(data))
        self._family.update(ctypes.byref(self._context), content, len(data))

    @override
    def digest(self) -> Digest:
        copy = type(self._context).from_buffer_copy(self._context)
        output = (ctypes.c_ubyte * self._family.size)()
        self._family.final(output, ctypes.byref(copy))
        return Digest(f"{self.algorithm}:{bytes(output).hex()}")

    @override
    def export_state(self) -> bytes | None:
        return self._family.export_state(self._context)


def hasher_factory() -> HasherFactory:
    """Return the factory of resumable hashers, or of `hashlib`'s if libcrypto 3 is not available.

    With `hashlib`, a blob that arrives in several pieces is read again at its end.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
        families = {
            SHA256: _Family(library, _Sha256Context, magic=b"sha\x03", word="I", size=32),
            SHA512: _Family(library, _Sha512Context, magic=b"sha\x07", word="Q", size=64),
        }
    except (OSError, AttributeError):
        return StandardHasher

    def make(algorithm: str, state: bytes | None) -> Hasher:
        return ResumableHasher(families[require_algorithm(algorithm)], algorithm, state)

    return make
