"""`retention`: rules for the tags to keep."""

from typing import Any, Final

from marshmallow import ValidationError
from typing_extensions import override

from config.schema.access import REPOSITORIES_DOC, glob_problem
from config.schema.base import SectionSchema, SubList
from config.schema.collections import ListOf
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Choice, Duration, Integer, Text
from config.settings import RetentionOrder, RetentionRuleSettings, RetentionSettings

_CONDITIONS: Final = ("keep_last", "pushed_within_seconds", "pulled_within_seconds")


class RetentionRuleSchema(SectionSchema):
    """`retention.rules[]`."""

    settings = RetentionRuleSettings
    refuses_unknown = True

    repositories = ListOf(Text("repositories", REPOSITORIES_DOC, check=glob_problem))
    tags = ListOf(
        Text("tags", "Globs of tags that the rule covers; tags that no rule covers are kept.", check=glob_problem)
    )
    keep_last = Integer(
        "keeplast", "Number of latest images whose tags are kept; tags of one manifest count as one.", at_least=1
    )
    order = Choice("orderby", "Order that defines the latest images: time of push, or version.", RetentionOrder)
    pushed_within_seconds = Duration("pushedwithin", "How long tags are kept after their last push.", above_zero=True)
    pulled_within_seconds = Duration(
        "pulledwithin", "How long tags are kept after the last pull of their image, or their push.", above_zero=True
    )

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject a rule without a condition, which would delete all tags that it covers."""
        if not any(values.get(condition) for condition in _CONDITIONS):
            raise ValidationError({"keeplast": [f"{MISSING_VALUE}: give `keeplast`, `pushedwithin` or `pulledwithin`"]})
        if values.get("order") is RetentionOrder.SEMVER and not values.get("keep_last"):
            raise ValidationError({"orderby": ["needs `keeplast`"]})
        return values


class RetentionSchema(SectionSchema):
    """`retention`."""

    settings = RetentionSettings
    refuses_unknown = True

    rules = SubList(
        "rules", "Retention rules; a tag that rules cover but none of them keeps is deleted.", RetentionRuleSchema
    )
    interval_seconds = Duration("interval", "Interval at which the server applies the rules; 0 means never.")
