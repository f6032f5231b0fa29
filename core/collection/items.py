"""What a run may remove: one link, or the data of one blob."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from core import layout
from core.collection.marks import Marks
from core.digest import Digest
from core.names import RepositoryName
from core.trash_entry import RemovedLink


class ItemKind(Enum):
    """What an item is, by which it is decided whether it is still garbage."""

    MANIFEST = auto()
    """A repository's link to a manifest that nothing needs."""
    COMPANION = auto()
    """A link that goes with such a manifest: as a referrer, of a signature, of what a tag once pointed at."""
    REMNANT = auto()
    """Such a link whose manifest has been gone for long."""
    LAYER = auto()
    """A repository's link to a blob that none of its manifests needs."""
    DATA = auto()
    """The data of a blob or a manifest that nobody needs."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to remove; small, for a round holds a hundred thousand."""

    kind: ItemKind
    digest: Digest
    """What those who serve would speak of."""
    name: RepositoryName | None = None
    key: str = ""
    """The key of a link; empty for the data, and for a link to a layer, whose key follows from its digest."""
    target: Digest | None = None
    """What the link holds, where that is not its digest."""
    size: int = 0

    def link(self) -> RemovedLink | None:
        """Return the link, or None for data."""
        if self.name is None:
            return None
        key = self.key or layout.layer_link(self.name, self.digest)
        return RemovedLink(key, self.target or self.digest)

    def is_garbage(self, marks: Marks) -> bool:
        """Whether nothing has come to need it, as far as is known."""
        if self.name is None:
            return not marks.needs_data(self.digest)
        if self.kind is ItemKind.LAYER:
            return not marks.needs_link(self.name, self.digest)
        if self.kind is ItemKind.REMNANT:
            return not marks.repository(self.name).has_returned(self.digest)
        return marks.repository(self.name).is_garbage(self.digest)


def links_of(items: Iterable[Item]) -> Sequence[RemovedLink]:
    """Return the links among items."""
    return [link for item in items if (link := item.link())]


def data_of(items: Iterable[Item]) -> Sequence[Item]:
    """Return the data among items."""
    return [item for item in items if item.name is None]
