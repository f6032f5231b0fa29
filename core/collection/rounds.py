"""Rounds: what a collector tells everybody that it is about to remove, and how far it is.

A round is a folder of `_control/rounds`. Its `digests` are written once, whole, and say what is condemned; then the
collector waits. Before it removes a batch it writes the batch's number, and a listing of the folder therefore tells
which batch is being removed. A digest may be in several batches (as a link here, as data there): the first and the
last of them stand beside it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core import layout
from core.digest import Digest
from core.errors import DigestInvalidError, ObjectNotFoundError, StorageCorruptError
from core.ports.blob_storage import BlobStorage

ITEMS_MAX: Final = 20_000
"""How many things a round removes at most: those who serve read its digests in a tenth of a second, and hold 4 MB."""
OFFLINE_ITEMS_MAX: Final = 100_000
"""The same where nobody serves; the collector holds 30 MB."""
_BYTES_MAX: Final = 64 * 1024 * 1024
_DIGESTS: Final = "digests"
_PULSE: Final = "pulse"


@dataclass(frozen=True, slots=True)
class Batches:
    """Which batches of a round have to do with a digest."""

    first: int
    last: int


class Condemned:
    """The digests of one round, kept small: the first 64 bits of a digest stand for it.

    Two that begin alike would be taken for one another: then something is spared for nothing.
    """

    def __init__(self, digests: Iterable[tuple[Digest, Batches]], *, settle_seconds: float) -> None:
        self.settle_seconds = settle_seconds
        """How long the collector waits between condemning and removing."""
        self._batches: dict[int, Batches] = {}
        shared: dict[Batches, Batches] = {}
        for digest, batches in digests:
            self._batches[_short(digest)] = shared.setdefault(batches, batches)

    def __len__(self) -> int:
        return len(self._batches)

    def get(self, digest: Digest) -> Batches | None:
        """Return the batches of a digest, or None where it is not condemned."""
        return self._batches.get(_short(digest))


@dataclass(frozen=True, slots=True)
class RoundState:
    """How far a round is, as one listing tells."""

    batch: int = -1
    """Which batch is being removed; -1 before the first."""
    signs: tuple[tuple[str, str], ...] = ()
    """What the folder looks like: it changes as long as its collector is alive."""
    has_pulse: bool = False
    """Whether its collector ever showed that it is alive; the rounds of verifications have none."""
    exists: bool = True
    """False for what is left of one whose end was interrupted."""


class Rounds:
    """Reads and writes rounds; holds nothing, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def states(self) -> Mapping[str, RoundState]:
        """Return every round by its id. One storage request."""
        batches: dict[str, int] = {}
        signs: dict[str, list[tuple[str, str]]] = {}
        existing: set[str] = set()
        async for key, stat in self._storage.walk(layout.COLLECTION_ROUNDS):
            round_id, _, name = key.removeprefix(f"{layout.COLLECTION_ROUNDS}/").rpartition("/")
            signs.setdefault(round_id, []).append((name, stat.modified_at.isoformat()))
            if name == _DIGESTS:
                existing.add(round_id)
            elif name.isdecimal():
                batches[round_id] = max(int(name), batches.get(round_id, -1))
        return {
            round_id: RoundState(
                batch=batches.get(round_id, -1),
                signs=tuple(sorted(seen)),
                has_pulse=any(name == _PULSE for name, _ in seen),
                exists=round_id in existing,
            )
            for round_id, seen in signs.items()
        }

    async def exists(self, round_id: str) -> bool:
        """Whether the round is still there to be seen. One storage request."""
        try:
            await self._storage.stat(layout.collection_round_digests(round_id))
        except ObjectNotFoundError:
            return False
        return True

    async def read(self, round_id: str) -> tuple[Condemned, Sequence[Digest]] | None:
        """Return what a round condemns, also as a list, or None where it has ended. One storage request.

        Raises:
            StorageCorruptError: it is not what a collector wrote.
        """
        try:
            content = await self._storage.read(layout.collection_round_digests(round_id), limit=_BYTES_MAX)
        except ObjectNotFoundError:
            return None
        try:
            settle_seconds, *lines = content.decode("ascii").splitlines()
            digests = dict(_decode(lines))
            return Condemned(digests.items(), settle_seconds=float(settle_seconds)), list(digests)
        except (ValueError, DigestInvalidError) as error:
            raise StorageCorruptError(f"the digests of round {round_id} cannot be read") from error

    async def begin(self, round_id: str, digests: Mapping[Digest, Batches], *, settle_seconds: float) -> None:
        """Condemn digests: from when this returns, everybody who looks sees it. One storage request."""
        lines = [f"{digest} {batches.first} {batches.last}" for digest, batches in digests.items()]
        content = "\n".join([str(settle_seconds), *lines]).encode("ascii")
        await self._storage.write(layout.collection_round_digests(round_id), content)

    async def enter(self, round_id: str, batch: int) -> None:
        """Tell that a batch is being removed, and that those before it are done with. One storage request."""
        await self._storage.write(layout.collection_round_batch(round_id, batch), b"")

    async def beat(self, round_id: str, count: int) -> None:
        """Show that the collector is alive. One storage request."""
        await self._storage.write(layout.collection_round_pulse(round_id), str(count).encode(), durable=False)

    async def end(self, round_id: str) -> None:
        """Have the round no more. Two storage requests."""
        # Alone and first: what is left of a round that is not whole is no round.
        await self._storage.delete([layout.collection_round_digests(round_id)])
        await self._storage.delete_tree(layout.collection_round(round_id))


def _short(digest: Digest) -> int:
    return int(digest.encoded[:16], 16)


def _decode(lines: Iterable[str]) -> Iterator[tuple[Digest, Batches]]:
    for line in lines:
        digest, first, last = line.split(" ")
        yield Digest(digest), Batches(int(first), int(last))
