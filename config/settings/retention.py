"""Settings of retention: which tags stay."""

from dataclasses import dataclass, field
from enum import StrEnum


class RetentionOrder(StrEnum):
    """What "last" means to a rule."""

    PUSHED = "pushed"
    SEMVER = "semver"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRuleSettings:
    """Which tags a rule speaks of, and which of these it keeps; the loader guarantees that there is a condition."""

    repositories: tuple[str, ...] = ("**",)
    """Globs; `*` stops at a slash, `**` does not."""
    tags: tuple[str, ...] = ("*",)
    keep_last: int = 0
    """Of how many images the tags stay; 0 is no condition."""
    order: RetentionOrder = RetentionOrder.PUSHED
    pushed_within_seconds: float | None = None
    pulled_within_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """Rules; without any, all tags stay."""

    rules: tuple[RetentionRuleSettings, ...] = field(default_factory=tuple)
    interval_seconds: float = 24 * 3600.0
    """How often the server applies them; 0 for not by itself."""
