"""Suspects common to all phases: damaged data, broken links and leftover objects."""

from dataclasses import dataclass

from core.model.digest import Digest
from core.ports.blob_storage import ObjectStat
from core.store import layout
from core.verification.context import Context
from core.verification.findings import Finding, Kind, Outcome, Suspect


def suspect_data(context: Context, digest: Digest) -> Suspect:
    """Return the data of a blob as a suspect: it is read again, and quarantined if it is damaged.

    Data that cannot be read stays in its place, because the connection to the store may be the cause.
    """
    case = _DataCase(context, digest)
    return Suspect(case.recheck, case.repair)


@dataclass(slots=True)
class _DataCase:
    context: Context
    digest: Digest
    seen: ObjectStat | None = None
    """Size and time of the data, from just before it was last read."""
    is_readable: bool = False

    async def recheck(self) -> Finding | None:
        key = layout.blob_data(self.digest)
        self.seen = await self.context.reader.stat(key)
        state = await self.context.reader.data(key, self.digest.algorithm)
        if state is None or state.digest == self.digest:
            return None
        self.is_readable = state.digest is not None
        self.context.damaged.add(self.digest)
        return Finding(kind=Kind.CORRUPT_DATA, key=key, digest=self.digest, detail=str(state))

    async def repair(self) -> Outcome | None:
        is_unchanged = await self.context.reader.stat(layout.blob_data(self.digest)) == self.seen
        if not is_unchanged and await self.recheck() is None:
            # A push has replaced the data since it was read.
            self.context.damaged.discard(self.digest)
            return None
        if not self.is_readable:
            return Outcome.FOUND
        outcome = await self.context.repairer.set_aside(self.digest)
        self.context.damaged.discard(self.digest)
        return outcome


def suspect_link(context: Context, key: str, digest: Digest) -> Suspect:
    """Return a blob or manifest link that may not hold `digest`, the digest in its key.

    The repair rewrites the link if the data of `digest` exists, since a link has this key for no other digest.
    Otherwise the repair removes the link.
    """

    async def recheck() -> Finding | None:
        state = await context.reader.link(key)
        if not state.is_there or may_hold(digest, state.target):
            return None
        held = f"link contains {state.target}" if state.target else "link contains no digest"
        return Finding(kind=Kind.BROKEN_LINK, key=key, digest=digest, repository=repository_of(key), detail=held)

    async def repair() -> Outcome | None:
        if digest not in context.damaged and await context.size_now(digest) is not None:
            return await context.repairer.rebuild_link(key, digest)
        # A concurrent push may have written a valid link.
        state = await context.reader.link(key)
        if may_hold(digest, state.target):
            return None
        return await context.repairer.remove_link(key, None)

    return Suspect(recheck, repair)


def suspect_leftover(context: Context, key: str) -> Suspect:
    """Return an object that perhaps no registry reads."""

    async def recheck() -> Finding | None:
        stat = await context.reader.stat(key)
        if stat is None or not context.is_settled(stat):
            return None
        return Finding(
            kind=Kind.LEFTOVER,
            key=key,
            repository=repository_of(key),
            detail=f"{stat.size} bytes that no registry reads; remove the object by hand",
        )

    return Suspect(recheck)


def may_hold(digest: Digest, target: Digest | None) -> bool:
    """Whether a link with the key of `digest` may hold `target`: the same digest, or one of another algorithm."""
    return target == digest or (target is not None and target.algorithm != digest.algorithm)


def repository_of(key: str) -> str:
    """Return the repository a key belongs to."""
    return key.removeprefix(f"{layout.REPOSITORIES}/").partition("/_")[0]
