"""Removal candidates: a link, or the data of a blob."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from core.collection.marks import Marks
from core.model.digest import Digest
from core.model.names import RepositoryName
from core.store import layout
from core.store.links import RemovedLink


class ItemKind(Enum):
    """Kind of a removal candidate; selects how it is re-checked."""

    MANIFEST = auto()
    """A repository's link to an unneeded manifest."""
    COMPANION = auto()
    """A link that is removed with such a manifest: a referrer link, a signature link, or a link in a tag's history."""
    REMNANT = auto()
    """A referrer link or a link in a tag's history whose manifest link no longer exists."""
    LAYER = auto()
    """A repository's link to a blob that none of the repository's kept manifests needs."""
    DATA = auto()
    """The data of an unneeded blob or manifest."""


@dataclass(frozen=True, slots=True)
class Item:
    """One removal candidate. Kept small: a round holds up to 100,000 of them."""

    kind: ItemKind
    digest: Digest
    """The digest by which clients request the content. Pins name this digest."""
    name: RepositoryName | None = None
    key: str = ""
    """The key of the link. Empty for data, and for a layer link, whose key follows from its digest."""
    target: Digest | None = None
    """The digest stored in the link, if it differs from `digest`."""
    size: int = 0

    def link(self) -> RemovedLink | None:
        """Return the link, or None for data."""
        if self.name is None:
            return None
        key = self.key or layout.layer_link(self.name, self.digest)
        return RemovedLink(key, self.target or self.digest)

    def is_garbage(self, marks: Marks) -> bool:
        """Whether the item is still unneeded according to `marks`."""
        if self.name is None:
            return not marks.needs_data(self.digest)
        if self.kind is ItemKind.LAYER:
            return not marks.needs_link(self.name, self.digest)
        if self.kind is ItemKind.REMNANT:
            return not marks.repository(self.name).has_returned(self.digest)
        return marks.repository(self.name).is_garbage(self.digest)


def links_of(items: Iterable[Item]) -> Sequence[RemovedLink]:
    """Return the links of these items, without the data items."""
    return [link for item in items if (link := item.link())]


def data_of(items: Iterable[Item]) -> Sequence[Item]:
    """Return the items that are data."""
    return [item for item in items if item.name is None]
