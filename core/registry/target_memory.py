"""Which manifests tags pointed at, so that a pull by tag asks the store as little as possible."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from core.model.digest import Digest
from core.model.names import RepositoryName, Tag

TRUST_SECONDS: Final = 300.0
"""As long as a process remembers the blobs of a repository for pulls."""
ENTRIES_MAX: Final = 4_096


class Target(NamedTuple):
    """The manifest that a tag pointed at."""

    digest: Digest
    seen_at: float
    """When a request began that found the manifest's link in the repository, in seconds of the memory's clock."""


class TargetMemory:
    """The last known targets of tags; one per process. Bounded; the most recently pulled tags are kept.

    The store decides at each pull what a tag points at. This registry deletes the tags of a manifest before the link of
    the manifest, so a tag shows that the repository still holds the manifest. That link is looked for once in
    `trust_seconds`, because another program may have removed only the link.

    Args:
        clock: monotonic seconds, including the time while the machine is suspended.
        trust_seconds: how long the link of a manifest is not looked for again; 0 to look for it at each pull.
        entries_max: how many tags are remembered.
    """

    def __init__(
        self, clock: Callable[[], float], *, trust_seconds: float = TRUST_SECONDS, entries_max: int = ENTRIES_MAX
    ) -> None:
        self.now = clock
        self._trust_seconds = trust_seconds
        self._entries_max = entries_max
        self._targets: OrderedDict[tuple[RepositoryName, Tag], Target] = OrderedDict()

    def take(self, name: RepositoryName, tag: Tag) -> Target | None:
        """Return the last known target of a tag, and forget it until `put` confirms it."""
        return self._targets.pop((name, tag), None)

    def put(self, name: RepositoryName, tag: Tag, target: Target) -> None:
        """Remember the target of a tag."""
        self._targets[name, tag] = target
        if len(self._targets) > self._entries_max:
            self._targets.popitem(last=False)

    def trusts(self, target: Target) -> bool:
        """Whether the link of the manifest was found so recently that it need not be looked for."""
        return self.now() - target.seen_at < self._trust_seconds
