"""`summaries`: the record of changes, and what is derived from it for lists and search."""

from dataclasses import dataclass

from core.model.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class SummarySettings:
    """Summaries of repositories; without them every list is the same, but slower and without history."""

    enabled: bool = setting(
        "enabled", "Whether pushes, deletions and pulls are recorded, and summaries are stored.", default=True
    )
    interval_seconds: float = setting(
        "interval", "Time between two runs of the job that updates the stored summaries.", 60.0, above_zero=True
    )
