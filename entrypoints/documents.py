"""JSON documents of reports, which commands print with `--json` and the API returns."""

import re
from collections.abc import Mapping
from datetime import datetime

from core.access_keys.key import AccessKey
from core.coordination.job_state import JobState
from core.coordination.read_only import ReadOnlySwitch
from core.model.times import time_text
from core.notifications.queues import QueueState
from core.restoration.listing import Removal, TagOf
from core.restoration.service import Restoration
from core.retention.rules import TagVerdict
from core.retention.service import RetentionPlan
from core.trash.store import TrashSummary
from core.verification.journal import Checkpoint


def removal_document(removal: Removal, *, expires_at: datetime, tags_max: int | None = None) -> dict[str, object]:
    """Return a trash entry, with at most `tags_max` of its tags."""
    entry = removal.entry
    return {
        "entry": entry.id,
        "kind": entry.kind.value,
        "when": time_text(entry.when),
        "expires": time_text(expires_at),
        "by": entry.by,
        "repository": entry.repository,
        "reason": entry.reason,
        "tags": [_tag_document(each) for each in removal.tags[:tags_max]],
        "tagCount": len(removal.tags),
        "manifests": removal.manifests,
        "links": removal.links,
        "blobs": removal.blobs,
        "bytes": removal.blob_bytes,
        "complete": removal.is_complete,
    }


def restoration_document(restoration: Restoration) -> dict[str, object]:
    """Return the result of a restoration."""
    return {
        "entry": restoration.entry.id,
        "tags": [_tag_document(each) for each in restoration.tags],
        "manifests": restoration.manifests,
        "repositories": restoration.repositories,
        "missing": restoration.missing,
        "lost": restoration.lost,
    }


def discard_document(summary: TrashSummary) -> dict[str, object]:
    """Return the counts of a permanent removal."""
    return {"entries": summary.entries, "blobs": summary.blobs, "bytes": summary.blob_bytes}


def read_only_document(switch: ReadOnlySwitch, *, configured: str | None) -> dict[str, object]:
    """Return the state of read-only mode.

    Args:
        switch: the switch, as last read.
        configured: the reason in the configuration; None if the configuration leaves the registry writable.
    """
    mode, left = switch.mode, switch.seconds_left
    return {
        "readonly": configured is not None or mode is not None,
        "configured": configured is not None,
        "reason": mode.reason if mode else configured or None,
        "by": mode.by if mode else None,
        "secondsLeft": None if left is None else round(left),
    }


def plan_document(plan: RetentionPlan) -> dict[str, object]:
    """Return the decisions of retention for the tags of a repository."""
    return {"repository": plan.name, "tags": [_verdict_document(verdict) for verdict in plan.verdicts]}


def _verdict_document(verdict: TagVerdict) -> dict[str, object]:
    state = verdict.state
    pulled_at = None if state.pulled_at is None or state.is_pull_assumed else time_text(state.pulled_at)
    return {
        "tag": state.tag,
        "digest": state.digest,
        "pushed": time_text(state.pushed_at),
        "pulled": pulled_at,
        "delete": verdict.goes,
        "reasons": verdict.reasons,
    }


def queue_document(state: QueueState, *, is_configured: bool) -> dict[str, object]:
    """Return the numbers of undelivered events of one endpoint, without their contents."""
    return {
        "endpoint": state.endpoint,
        "configured": is_configured,
        "queued": state.queued,
        "queuedSince": state.queued_since and time_text(state.queued_since),
        "dead": state.dead,
        "deadSince": state.dead_since and time_text(state.dead_since),
        "complete": state.is_complete,
    }


def job_document(state: JobState, *, next_at: datetime | None) -> dict[str, object]:
    """Return the state of a job that one replica runs at a time."""
    last = {"when": time_text(state.done_at), "report": _camel_case(state.report)} if state.done_at else None
    return {
        "running": state.holder is not None,
        "by": state.holder,
        "progress": _camel_case(state.progress) if state.holder is not None else None,
        "last": last,
        "next": next_at and time_text(next_at),
    }


def checkpoint_document(checkpoint: Checkpoint) -> dict[str, object]:
    """Return the progress and the counts of a verification."""
    state = {"phase": checkpoint.phase.value, "complete": checkpoint.is_complete}
    return state | counts_document(checkpoint)


def counts_document(checkpoint: Checkpoint) -> dict[str, object]:
    """Return the counts of a verification."""
    return {
        "blobs": checkpoint.blobs,
        "bytes": checkpoint.blob_bytes,
        "repositories": checkpoint.repositories,
        "manifests": checkpoint.manifests,
        "damage": checkpoint.damage,
        "left": checkpoint.left,
        "notes": checkpoint.notes,
    }


def _camel_case(fields: Mapping[str, object]) -> dict[str, object]:
    return {re.sub("_(.)", lambda found: found[1].upper(), name): value for name, value in fields.items()}


def _tag_document(of: TagOf) -> dict[str, str]:
    name, tag, digest = of
    return {"repository": name, "tag": tag, "digest": digest}


def access_key_document(key: AccessKey, *, used_at: datetime | None = None) -> dict[str, object]:
    """Return the JSON of an API key, without its secret."""
    members: dict[str, object | None] = {
        "id": key.id,
        "owner": key.owner,
        "label": key.label,
        "repositories": list(key.limit.repositories),
        "actions": list(key.limit.actions),
        "created": time_text(key.created_at),
        "expires": key.expires_at and time_text(key.expires_at),
        "used": used_at and time_text(used_at),
    }
    return {name: value for name, value in members.items() if value is not None}
