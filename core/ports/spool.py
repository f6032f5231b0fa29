"""The port for the spool: blobs on their way from an upstream, shared by the worker processes of one machine.

A spooled blob grows from its first byte. One process fills it at a time; others follow, and read what is there. The
bytes are not verified until the phase is `VERIFIED`, and readers must not yield a blob completely before.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from core.model.digest import Digest
from core.model.names import RepositoryName
from core.ports.resource import Resource

FAILURE_MESSAGE_LENGTH_MAX: Final = 500
"""Number of characters of a failure's message that are kept."""


class SpoolPhase(Enum):
    """The progress of a spooled blob."""

    FILLING = auto()
    """Bytes are missing or not verified. If no process leads, another one may continue from the bytes that are here."""
    VERIFIED = auto()
    """All bytes are here and match the digest."""
    STORED = auto()
    """The store has the blob already; the bytes are not needed, and may be missing here."""
    FAILED = auto()
    """The process that filled the blob gave up."""


class SpoolFailureKind(Enum):
    """The class of a failure, for the right answer to the clients of all processes."""

    ABSENT = auto()
    BUSY = auto()
    TIMEOUT = auto()
    UNAVAILABLE = auto()
    FULL = auto()
    """The spool has no space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFailure:
    """The reason why a process gave up."""

    kind: SpoolFailureKind
    message: str
    """For the client; no credentials. A long message is cut."""
    name: str
    """The cached repository for which the process asked the upstream."""
    retry_after: int = 0
    """Seconds that the upstream asked to wait; only with `BUSY`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolState:
    """The state of a spooled blob at one moment."""

    filled: int = 0
    """Number of bytes that are here, from the first."""
    size: int | None = None
    """Size of the whole blob, as the upstream gave it; None before the upstream has answered."""
    phase: SpoolPhase = SpoolPhase.FILLING
    failure: SpoolFailure | None = None
    """Present in the phase `FAILED`."""


class SpooledBlob(ABC):
    """One process's handle of a spooled blob; belongs to one event loop.

    All methods may raise `StorageUnavailableError`. A handle stays readable after any process removed the
    blob. The bytes that a handle reads never change; they only become more.
    """

    @property
    @abstractmethod
    def state(self) -> SpoolState:
        """The current state. Costs at most some microseconds and no wait for a disk."""

    @abstractmethod
    async def lead(self) -> bool:
        """Become the one process that fills the blob; return False if another handle leads.

        The role ends with `release`, `close`, or the process. An earlier failure is cleared: the phase becomes
        `FILLING`, unless it is `VERIFIED` or `STORED`. Idempotent.
        """

    @abstractmethod
    async def release(self) -> None:
        """Give up the leading role. Idempotent."""

    @abstractmethod
    async def begin(self, size: int) -> None:
        """Set the size of the whole blob. Only for the leading handle."""

    @abstractmethod
    async def append(self, piece: bytes) -> None:
        """Append bytes. Only for the leading handle.

        If this raises or is cancelled, the bytes that are here are still a prefix of all bytes appended; the caller
        reads `state.filled`.

        Raises:
            StorageFullError: the spool has no space.
        """

    @abstractmethod
    async def is_removed(self) -> bool:
        """Whether this blob was removed, so that new handles of its digest lead to another one, or to none."""

    @abstractmethod
    async def finish(self, phase: SpoolPhase) -> None:
        """Set the phase `VERIFIED` or `STORED`. Only for the leading handle."""

    @abstractmethod
    async def fail(self, failure: SpoolFailure) -> None:
        """Set the phase `FAILED`. Only for the leading handle."""

    @abstractmethod
    async def read(self, offset: int, length: int) -> bytes:
        """Return between 1 and `length` bytes that are here; empty if there are none at `offset`."""

    @abstractmethod
    async def wait(self, seen: SpoolState) -> None:
        """Return when the state may differ from `seen`, or another handle stopped leading.

        May return early. A change by another process is noticed within some 20 ms.
        """

    @abstractmethod
    async def mark(self, name: RepositoryName) -> None:
        """Record for all processes that the upstream served the blob, or a byte of it, for this cached repository.

        A mark may be lost; the caller then asks the upstream again.
        """

    @abstractmethod
    async def is_marked(self, name: RepositoryName) -> bool:
        """Whether the repository was marked, by any process."""

    @abstractmethod
    async def remove(self) -> None:
        """Remove the blob from the spool; open handles stay readable. Idempotent. Only for the leading handle."""

    @abstractmethod
    def close(self) -> None:
        """Close the handle; it stops leading. Idempotent. No other method may be running."""


class Spool(Resource):
    """Holds growing blobs. One per process, opened as a context manager; safe for concurrent tasks.

    The owner of a handle closes it before the spool stops.
    """

    @property
    @abstractmethod
    def open_handles(self) -> int:
        """Number of handles of this process that are open."""

    @abstractmethod
    async def open(self, digest: Digest) -> SpooledBlob:
        """Open a handle of the blob with this digest, which is created empty if it is not here.

        Raises:
            StorageUnavailableError: this process has too many handles open, or the spool cannot be used.
            StorageFullError: the spool has no space.
        """

    @abstractmethod
    async def sweep(self, *, unchanged_seconds: float) -> int:
        """Remove the blobs that no process leads and that have not changed for this time; return their number.

        Such blobs remain of failed fetches and killed processes.
        """
