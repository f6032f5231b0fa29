"""`retention`: rules for the tags to keep."""

from dataclasses import dataclass

from core.model.setting import setting
from core.retention.rules import RetentionRule


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """Retention rules; without any, all tags are kept."""

    rules: tuple[RetentionRule, ...] = setting(
        "rules",
        "Retention rules; a tag that rules cover but none of them keeps is deleted.",
        (),
        refuses_unknown=True,
    )
    interval_seconds: float = setting(
        "interval", "Interval at which the server applies the rules; 0 means never.", 24 * 3600.0
    )
