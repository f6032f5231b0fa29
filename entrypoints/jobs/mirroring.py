"""Runs of mirrors, each by one of all replicas."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from core.coordination.read_only import ReadOnlySwitch
from core.coordination.schedule import SharedSchedule
from core.errors import ReadOnlyError
from core.model.events import Actor
from core.transfer.mirrors import Mirror, MirrorService, ObserveMirror
from entrypoints.jobs.background import Job
from entrypoints.jobs.shared import LOOK_SECONDS, shared_job

_logger = logging.getLogger(__name__)


def mirror_jobs(
    service: MirrorService, schedules: Sequence[SharedSchedule], read_only: ReadOnlySwitch, *, observe: ObserveMirror
) -> Sequence[Job]:
    """Return one job for each mirror. A run that fails is repeated at the next check, at most 10 minutes later.

    Args:
        service: runs the mirrors.
        schedules: the schedule of each mirror, shared by all replicas.
        read_only: no mirror copies while the registry is read-only.
        observe: called with the last run of a mirror at each check.
    """
    return [
        _mirror_job(service, mirror, schedule, read_only, observe)
        for mirror, schedule in zip(service.mirrors, schedules, strict=True)
    ]


def _mirror_job(
    service: MirrorService, mirror: Mirror, schedule: SharedSchedule, read_only: ReadOnlySwitch, observe: ObserveMirror
) -> Job:
    name, every = f"mirror {mirror.rules.name}", mirror.rules.every_seconds
    work = partial(run_mirror, service, mirror, by=Actor(name), read_only=read_only, observe=observe)
    job = shared_job(schedule, work, name=name, interval_seconds=every, look_seconds=LOOK_SECONDS)

    async def run() -> None:
        try:
            await read_only.require_writable()
            await job.run()
        except ReadOnlyError:
            return
        finally:
            # Also the runs of other replicas and of commands.
            if (state := await service.state(mirror)) is not None:
                observe(mirror.rules.name, state, False)  # noqa: FBT003 - the type names it

    return Job(name=job.name, run=run, every=job.every, delay=job.delay, is_upkeep=job.is_upkeep)


async def run_mirror(
    service: MirrorService, mirror: Mirror, *, by: Actor, read_only: ReadOnlySwitch, observe: ObserveMirror
) -> Mapping[str, object]:
    """Run a mirror once, and return its counts.

    Raises:
        StorageError: the upstream or the store failed; the next run continues.
    """
    try:
        done = await service.run(mirror, by=by, require_writable=read_only.require_writable)
    finally:
        if (state := await service.state(mirror)) is not None:
            observe(mirror.rules.name, state, True)  # noqa: FBT003 - the type names it
    counts = {
        "tags": done.tags_copied,
        "manifests": done.manifests_copied,
        "bytes": done.bytes_sent,
        "deleted": done.deleted,
        "problems": done.problems,
    }
    _logger.info("mirror copied", extra={"mirror": mirror.rules.name, **counts})
    for problem in done.listed_problems:
        _logger.warning("mirror problem: %s", problem, extra={"mirror": mirror.rules.name})
    return counts
