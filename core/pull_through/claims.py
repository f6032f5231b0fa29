"""The sizes of the blobs that recently served manifests of cached repositories refer to."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from core.model.descriptor import Descriptor
from core.model.digest import Digest
from core.model.names import RepositoryName

CLAIMS_MAX: Final = 20_000
"""Number of blobs remembered; a forgotten one costs a question to the upstream."""


class Claims:
    """Remembers the sizes that manifests give for the blobs of a cached repository.

    So a `HEAD` of a cold blob costs no question to the upstream. One per process; in memory only.
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

    def size(self, name: RepositoryName, digest: Digest) -> int | None:
        """Return the size that a manifest of this repository gives for the blob, or None."""
        return self._sizes.get((name, digest))

    def forget(self, name: RepositoryName, digest: Digest) -> None:
        """Forget a blob, because the upstream does not have it."""
        self._sizes.pop((name, digest), None)
