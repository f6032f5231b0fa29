"""Rounds: published lists of digests that a collector is about to remove, with the collector's progress.

A round is a folder of `_control/rounds`. Its object `digests` is written once, as a whole, and lists the digests to be
removed. The collector then waits. Before the collector removes a batch, it writes the batch's number, so one listing of
the folder shows which batch is being removed. A digest may be in several batches (as a link in one, as data in
another); `digests` records the first and the last of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import DigestInvalidError, ObjectNotFoundError, StorageCorruptError
from core.model.digest import Digest
from core.ports.blob_storage import BlobStorage
from core.store import layout
from core.store.objects import find

ITEMS_MAX: Final = 20_000
"""Maximum number of items in a round. A server reads the digests of such a round in 0.1 s and holds them in 4 MB."""
OFFLINE_ITEMS_MAX: Final = 100_000
"""The same if no server runs. The collector holds 30 MB."""
_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batches:
    """The first and the last batch of a round that contain a digest."""

    first: int
    last: int


class RoundDigests:
    """The digests that one round lists for removal, kept small: the first 64 bits stand for a digest.

    Two digests that begin with the same 64 bits are confused. The only effect is a pin that was not needed.
    """

    def __init__(self, digests: Iterable[tuple[Digest, Batches]], *, settle_seconds: float) -> None:
        self.settle_seconds = settle_seconds
        """Seconds the collector waits between publishing the round and removing."""
        self._batches: dict[int, Batches] = {}
        shared: dict[Batches, Batches] = {}
        for digest, batches in digests:
            self._batches[_short(digest)] = shared.setdefault(batches, batches)

    def __len__(self) -> int:
        return len(self._batches)

    def get(self, digest: Digest) -> Batches | None:
        """Return the batches of a digest, or None if the round does not list it."""
        return self._batches.get(_short(digest))


@dataclass(frozen=True, slots=True)
class RoundState:
    """Progress of a round, as seen in one listing."""

    batch: int = -1
    """The batch that is being removed; -1 before the first."""
    signs: tuple[tuple[str, str], ...] = ()
    """Names and times of the objects in the folder. They change while the collector is alive."""
    has_pulse: bool = False
    """Whether the collector ever wrote a heartbeat. The rounds of verifications have none."""
    exists: bool = True
    """False for the remains of a round whose end was interrupted."""


class Rounds:
    """Reads and writes rounds. Stateless, safe for any number of tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def states(self) -> Mapping[str, RoundState]:
        """Return the state of every round, by id. One storage request."""
        batches: dict[str, int] = {}
        signs: dict[str, list[tuple[str, str]]] = {}
        existing: set[str] = set()
        async for key, stat in self._storage.walk(layout.COLLECTION_ROUNDS):
            round_id, _, name = key.removeprefix(f"{layout.COLLECTION_ROUNDS}/").rpartition("/")
            signs.setdefault(round_id, []).append((name, stat.modified_at.isoformat()))
            if name == layout.ROUND_DIGESTS:
                existing.add(round_id)
            elif name.isdecimal():
                batches[round_id] = max(int(name), batches.get(round_id, -1))
        return {
            round_id: RoundState(
                batch=batches.get(round_id, -1),
                signs=tuple(sorted(seen)),
                has_pulse=any(name == layout.ROUND_PULSE for name, _ in seen),
                exists=round_id in existing,
            )
            for round_id, seen in signs.items()
        }

    async def exists(self, round_id: str) -> bool:
        """Whether the round still exists. One storage request."""
        return await find(self._storage, layout.collection_round_digests(round_id)) is not None

    async def read(self, round_id: str) -> tuple[RoundDigests, Sequence[Digest]] | None:
        """Return the digests a round lists for removal, or None if the round has ended. One storage request.

        Returns:
            The digests with their batches, and the same digests as a list.

        Raises:
            StorageCorruptError: the object was not written by a collector.
        """
        try:
            content = await self._storage.read(layout.collection_round_digests(round_id), limit=_BYTES_MAX)
        except ObjectNotFoundError:
            return None
        try:
            settle_seconds, *lines = content.decode("ascii").splitlines()
            digests = dict(_decode(lines))
            return RoundDigests(digests.items(), settle_seconds=float(settle_seconds)), list(digests)
        except (ValueError, DigestInvalidError) as error:
            raise StorageCorruptError(f"the digests of round {round_id} cannot be read") from error

    async def begin(self, round_id: str, digests: Mapping[Digest, Batches], *, settle_seconds: float) -> None:
        """Publish digests for removal. Every listing that begins afterwards shows the round. One storage request."""
        lines = [f"{digest} {batches.first} {batches.last}" for digest, batches in digests.items()]
        content = "\n".join([str(settle_seconds), *lines]).encode("ascii")
        await self._storage.write(layout.collection_round_digests(round_id), content)

    async def enter(self, round_id: str, batch: int) -> None:
        """Record that a batch is being removed, and that the batches before it are complete. One storage request."""
        await self._storage.write(layout.collection_round_batch(round_id, batch), b"")

    async def write_heartbeat(self, round_id: str, count: int) -> None:
        """Write a heartbeat: the collector is alive. One storage request."""
        await self._storage.write(layout.collection_round_pulse(round_id), str(count).encode(), durable=False)

    async def end(self, round_id: str) -> None:
        """Delete the round. Two storage requests."""
        # Delete this object first, in a request of its own: the rest of a folder without it is not a round.
        await self._storage.delete([layout.collection_round_digests(round_id)])
        await self._storage.delete_tree(layout.collection_round(round_id))


def _short(digest: Digest) -> int:
    return int(digest.encoded[:16], 16)


def _decode(lines: Iterable[str]) -> Iterator[tuple[Digest, Batches]]:
    for line in lines:
        digest, first, last = line.split(" ")
        yield Digest(digest), Batches(int(first), int(last))
