"""Events: changes and pulls in the registry, and their origin. `core.notifications` decides which are delivered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.model.digest import Digest


class EventAction(StrEnum):
    """The action of an event, in the words of distribution's events."""

    PULL = "pull"
    PUSH = "push"
    MOUNT = "mount"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """A completed action on a manifest, blob, tag or repository, which no later failure can undo.

    A delete names a digest (manifest or blob), a tag, or neither; neither means the whole repository.
    """

    action: EventAction
    repository: str
    digest: Digest | None = None
    media_type: str = ""
    size: int = 0
    tag: str | None = None
    """The tag that was pushed, deleted, or used for a pull."""
    from_repository: str | None = None
    """The repository from which a blob was mounted, if the client named one."""
    url: str = ""
    """The URL of the content; empty for deleted content."""
    references: tuple[Mapping[str, object], ...] = ()
    """Descriptors of the content that a manifest refers to, in document order; filled in on demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The request that caused an event; empty for commands and the registry's own jobs."""

    request_id: str = ""
    address: str = ""
    """The client's address, with the port unless the client is behind a proxy."""
    host: str = ""
    """The `Host` header of the request."""
    method: str = ""
    user_agent: str = ""
    actor: str = ""
    """The user name, empty for an anonymous caller."""
    root: str = ""
    """The URL of the registry as the client sees it, ending with a slash. Links to content begin with it."""


@dataclass(slots=True)
class Actor:
    """The user, command or job that carries out an operation. Every operation of the registry that publishes takes one.

    Not frozen, because each pull creates one, and frozen classes take longer to create.
    """

    name: str = ""
    """The authenticated user; empty for an anonymous caller."""
    describe: Callable[[], Origin] | None = None
    """Describes the request; called only if an event is published. None without a request."""

    def origin(self) -> Origin:
        """Return the origin of the actor's events."""
        return Origin(actor=self.name) if self.describe is None else self.describe()


UNNAMED: Final = Actor()
"""An actor without a name and without a request."""
