"""Events: what has happened in the registry, and who brought it about. What is sent of them is not decided here."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.digest import Digest


class EventAction(StrEnum):
    """What was done; the words are those of distribution's events."""

    PULL = "pull"
    PUSH = "push"
    MOUNT = "mount"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One thing that happened, and cannot be undone by a failure any more, to a manifest, blob, tag or repository.

    A delete names what went: a digest (manifest or blob), a tag, or with neither the repository as a whole.
    """

    action: EventAction
    repository: str
    digest: Digest | None = None
    media_type: str = ""
    size: int = 0
    tag: str | None = None
    """The tag that was pushed, pulled by or deleted."""
    from_repository: str | None = None
    """Where a blob was mounted from, if the client said so."""
    url: str = ""
    """Where the content can be fetched; empty for what is gone."""
    references: tuple[Mapping[str, object], ...] = ()
    """Descriptors of what a manifest refers to, in document order, where somebody wants them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The request that brought something about; empty for what the registry did by itself or on a command."""

    request_id: str = ""
    address: str = ""
    """The client's address, with its port where no proxy stands in between."""
    host: str = ""
    """The `Host` that the client asked for."""
    method: str = ""
    user_agent: str = ""
    actor: str = ""
    """The user's name, if they said who they are."""


BY_THE_REGISTRY = Origin()
"""Nobody asked: retention, garbage collection, a command."""
