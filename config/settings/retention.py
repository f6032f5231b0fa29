"""Settings of retention: rules for the tags to keep."""

from dataclasses import dataclass, field
from enum import StrEnum


class RetentionOrder(StrEnum):
    """The order of images that defines "last" in a rule."""

    PUSHED = "pushed"
    SEMVER = "semver"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRuleSettings:
    """The tags that a rule covers, and the conditions under which it keeps them; the loader guarantees one."""

    repositories: tuple[str, ...] = ("**",)
    """Globs; `*` stops at a slash, `**` does not."""
    tags: tuple[str, ...] = ("*",)
    keep_last: int = 0
    """The number of latest images whose tags are kept; 0 is no condition."""
    order: RetentionOrder = RetentionOrder.PUSHED
    pushed_within_seconds: float | None = None
    pulled_within_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """Retention rules; without any, all tags are kept."""

    rules: tuple[RetentionRuleSettings, ...] = field(default_factory=tuple)
    interval_seconds: float = 24 * 3600.0
    """The interval at which the server applies the rules; 0 for never."""
