"""Links: small objects that hold a digest and refer from a repository to the shared content."""

import logging
from dataclasses import dataclass
from typing import Final

from core.errors import DigestInvalidError, ObjectNotFoundError, ObjectTooLargeError
from core.model.digest import Digest
from core.ports.blob_storage import BlobStorage
from core.store.objects import find

_logger = logging.getLogger(__name__)

_BYTES_MAX: Final = 1024
"""A link is 71 or 135 bytes long; a longer object is not a link."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """The object at a link's key: none, an object that is not a link, or a link."""

    is_there: bool
    content: bytes | None = None
    """The exact bytes; None if there is no object, or one that is too long for a link."""
    target: Digest | None = None
    """The digest that the link holds; None if there is none."""


async def read_link(storage: BlobStorage, key: str) -> LinkState:
    """Read the object at a link's key. One storage request."""
    try:
        content = await storage.read(key, limit=_BYTES_MAX)
    except ObjectNotFoundError:
        return LinkState(is_there=False)
    except ObjectTooLargeError:
        return LinkState(is_there=True)
    return LinkState(is_there=True, content=content, target=parse_link(content))


def parse_link(content: bytes) -> Digest | None:
    """Return the digest that a link with this content holds, or None."""
    try:
        # Registries write no newline, but repairs by hand often add one.
        return Digest(content.decode("ascii").rstrip("\n"))
    except (UnicodeDecodeError, DigestInvalidError):
        return None


def link_object(key: str, digest: Digest) -> tuple[str, bytes]:
    """Return a link to `digest` as it is stored: key and content."""
    return key, digest.encode("ascii")


@dataclass(frozen=True, slots=True)
class RemovedLink:
    """A removed link: its key, and the digest that it held."""

    key: str
    target: Digest


class Links:
    """Reads and writes links. Stateless; safe for concurrent tasks."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def read(self, key: str) -> Digest | None:
        """Return the digest that the link points at, or None if there is no link. One storage request.

        A link that holds no digest (a torn write of an old registry) counts as absent, and a warning is logged.
        """
        state = await read_link(self._storage, key)
        if state.is_there and state.content is None:
            _logger.warning("link ignored: too long", extra={"key": key})
        elif state.is_there and state.target is None:
            _logger.warning("link ignored: it contains no digest", extra={"key": key})
        return state.target

    async def stands(self, key: str, digest: Digest) -> bool:
        """Whether a complete link to `digest` exists at `key`. One storage request, which reads no content.

        Only the length is checked: a torn link is shorter, and a link with a trailing newline is longer.
        """
        stat = await find(self._storage, key)
        return stat is not None and stat.size >= len(digest)

    async def write(self, key: str, digest: Digest) -> None:
        """Point the link at `digest`, durably and atomically. Idempotent. One storage request."""
        await self._storage.write(key, digest.encode("ascii"))

    async def delete(self, key: str) -> None:
        """Remove the link. Idempotent. One storage request."""
        await self._storage.delete([key])
