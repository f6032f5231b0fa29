"""JSON documents of reports, which commands print with `--json` and the API returns."""

from datetime import datetime

from core.coordination.read_only import ReadOnlySwitch
from core.restoration.listing import Removal, TagOf
from core.restoration.service import Restoration
from core.trash.store import TrashSummary


def removal_document(removal: Removal, *, expires_at: datetime, tags_max: int | None = None) -> dict[str, object]:
    """Return a trash entry, with at most `tags_max` of its tags."""
    entry = removal.entry
    return {
        "entry": entry.id,
        "kind": entry.kind.value,
        "when": entry.when.isoformat(),
        "expires": expires_at.isoformat(),
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


def _tag_document(of: TagOf) -> dict[str, str]:
    name, tag, digest = of
    return {"repository": name, "tag": tag, "digest": digest}
