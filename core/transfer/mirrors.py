"""Mirrors: repositories of other registries that are copied into repositories of this one, at intervals."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from core.coordination.budget import Budget
from core.errors import NameInvalidError, ObjectNotFoundError, StorageError, UpstreamAbsentError
from core.model.events import Actor
from core.model.names import RepositoryName
from core.ports.blob_storage import BlobStorage
from core.ports.upstream import Upstream
from core.registry.facade import Registry
from core.store import layout
from core.transfer.image_copy import CopyOptions, ImageCopy, RepositoryCopyRequest
from core.transfer.mirror_rules import Deletions, MirrorRules
from core.transfer.store_target import StoreTarget
from core.transfer.tally import Tally, TransferProblem, TransferProgress, Trouble

_STATE_BYTES_MAX: Final = 64 * 1024
_PROBLEMS_MAX: Final = 20
"""Maximum number of problems in the state; all are counted."""
_TEXT_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorState:
    """The last run of a mirror, as its record in the store keeps it. Times are ISO 8601."""

    began: str
    ended: str
    succeeded: str = ""
    """End of the last run without an error or a problem; empty if there was none."""
    error: str = ""
    """The error that ended the run; empty for a complete run."""
    repositories: int = 0
    tags_copied: int = 0
    manifests_copied: int = 0
    blobs_sent: int = 0
    bytes_sent: int = 0
    deleted: int = 0
    problems: int = 0
    listed_problems: tuple[str, ...] = ()
    """The first problems."""

    @property
    def is_good(self) -> bool:
        """Whether the run was complete and had no problem."""
        return not self.error and not self.problems

    def render(self) -> bytes:
        """Return the record."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, content: bytes) -> "MirrorState | None":
        """Parse a record; None if it is not one of this version."""
        try:
            document: dict[str, Any] = json.loads(content)
            return cls(**{**document, "listed_problems": tuple(document["listed_problems"])})
        except (ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A mirror with the registry that it reads."""

    rules: MirrorRules
    source_name: str
    """The host of the registry to copy from."""
    new_source: Callable[[], Upstream]
    """Creates an adapter for one run; a run opens it and closes it."""
    registry: Registry
    """The services that store the copies."""
    budget: Budget
    """Limits the bytes per second."""


ObserveMirror = Callable[[str, MirrorState, bool], None]
"""Receives the name of a mirror, its last run, and whether this process has just done it."""


class MirrorService:
    """Runs mirrors and remembers their last runs. The caller holds the lease of the mirror.

    Args:
        storage: holds the records of the runs.
        mirrors: the configured mirrors.
        now: the time of the records.
        sleep: suspends for a number of seconds.
    """

    def __init__(
        self,
        storage: BlobStorage,
        mirrors: Sequence[Mirror],
        *,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._now = now
        self._sleep = sleep
        self.mirrors = mirrors

    async def state(self, mirror: Mirror) -> MirrorState | None:
        """Return the last run of a mirror, by any process; None before the first. One storage request."""
        try:
            return MirrorState.parse(await self._storage.read(_state_key(mirror), limit=_STATE_BYTES_MAX))
        except ObjectNotFoundError:
            return None

    async def run(
        self,
        mirror: Mirror,
        *,
        by: Actor,
        observe: Callable[[TransferProgress], None] = lambda _progress: None,
        report: Callable[[TransferProblem], None] = lambda _problem: None,
        rechecks: bool = False,
        is_dry: bool = False,
        require_writable: Callable[[], Awaitable[None]] | None = None,
    ) -> MirrorState:
        """Copy what the mirror chooses, and record the run, whether it succeeds or not.

        Args:
            mirror: one of `mirrors`.
            by: the job or command, for the events.
            observe: called with each new state.
            report: called with each problem.
            rechecks: whether the content of unchanged tags is checked too.
            is_dry: whether to write nothing, not even the record.
            require_writable: raises `ReadOnlyError` while the registry accepts no images; the run then ends.

        Raises:
            StorageError: the upstream or the store failed; the next run continues.
        """
        before = await self.state(mirror)
        listed: list[str] = []

        def note(problem: TransferProblem) -> None:
            if len(listed) < _PROBLEMS_MAX:
                listed.append(problem.line()[:_TEXT_LENGTH_MAX])
            report(problem)

        tally = Tally(observe=observe, report=note)
        began, error = self._now(), None
        try:
            target = StoreTarget(
                mirror.registry, by=by, transfer_id=mirror.rules.job, require_writable=require_writable
            )
            await self._copy(mirror, target, tally, rechecks=rechecks, is_dry=is_dry)
        except StorageError as failure:
            error = failure
        done = self._state(began, tally.progress, error, listed)
        if done.is_good:
            done = replace(done, succeeded=done.ended)
        elif before is not None:
            done = replace(done, succeeded=before.succeeded)
        if not is_dry:
            await self._storage.write(_state_key(mirror), done.render())
        if error is not None:
            raise error
        return done

    async def _copy(self, mirror: Mirror, target: StoreTarget, tally: Tally, *, rechecks: bool, is_dry: bool) -> None:
        rules = mirror.rules
        options = CopyOptions(
            wants_platform=rules.wants_platform,
            referrers=rules.referrers,
            follows_deletions=rules.deletes is Deletions.FOLLOW,
            rechecks=rechecks,
            is_dry=is_dry,
        )
        async with mirror.new_source() as source, target:
            copy = ImageCopy(source, target, options=options, tally=tally, budget=mirror.budget, sleep=self._sleep)
            for origin in await _repositories(rules, copy):
                try:
                    name = rules.target_of(origin)
                except NameInvalidError as error:
                    tally.add_problem(Trouble.INCOMPLETE, RepositoryName(rules.to), origin, str(error))
                    continue
                await copy.run(RepositoryCopyRequest(origin=origin, name=name, rules=rules.tags))

    def _state(
        self, began: datetime, progress: TransferProgress, error: StorageError | None, listed: Sequence[str]
    ) -> MirrorState:
        return MirrorState(
            began=began.isoformat(),
            ended=self._now().isoformat(),
            error=str(error)[:_TEXT_LENGTH_MAX] if error else "",
            repositories=progress.repositories,
            tags_copied=progress.tags_copied,
            manifests_copied=progress.manifests_copied,
            blobs_sent=progress.blobs_sent,
            bytes_sent=progress.bytes_sent,
            deleted=progress.deleted,
            problems=progress.problems,
            listed_problems=tuple(listed),
        )


async def _repositories(rules: MirrorRules, copy: ImageCopy) -> Sequence[str]:
    if not rules.is_glob:
        return [rules.repository]
    try:
        return await copy.repositories(rules.covers)
    except UpstreamAbsentError as error:
        raise UpstreamAbsentError(
            f"{error}: the upstream does not list its repositories, so write one mirror for each repository"
        ) from error


def _state_key(mirror: Mirror) -> str:
    return layout.job(f"{mirror.rules.job}-state")
