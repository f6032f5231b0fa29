"""The blobs that recently served manifests of cached repositories refer to."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import RepositoryName

CLAIMS_MAX: Final = 20_000
"""Number of blobs remembered; a forgotten one costs a question to the upstream."""


class Claims:
    """Remembers which blobs belong to a cached repository, because a manifest cached there refers to them.

    A client may read such a blob under the name of the repository without a question to the upstream. One per process;
    in memory only.
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[RepositoryName, Digest], int] = OrderedDict()

    def note(self, name: RepositoryName, blobs: Iterable[Descriptor]) -> None:
        """Remember the blobs that a manifest, served from this repository, refers to."""
        for blob in blobs:
            key = (name, blob.digest)
            self._sizes[key] = blob.size
            self._sizes.move_to_end(key)
            if len(self._sizes) > CLAIMS_MAX:
                self._sizes.popitem(last=False)

    def covers(self, name: RepositoryName, digest: Digest) -> bool:
        """Whether a manifest of this repository is known to refer to the blob."""
        return (name, digest) in self._sizes

    def size(self, name: RepositoryName, digest: Digest) -> int | None:
        """Return the size that a manifest of this repository gives for the blob, or None."""
        return self._sizes.get((name, digest))

    def forget(self, name: RepositoryName, digest: Digest) -> None:
        """Forget a blob, because the upstream does not have it."""
        self._sizes.pop((name, digest), None)
