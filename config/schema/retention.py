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
        Text("tags", "Globs of tags that the rule speaks of; what no rule speaks of stays.", check=glob_problem)
    )
    keep_last = Integer("keeplast", "Of how many images the tags stay; tags of one manifest count as one.", at_least=1)
    order = Choice("orderby", "Which images are the last: by their push, or by their version.", RetentionOrder)
    pushed_within_seconds = Duration("pushedwithin", "Tags stay for so long after their last push.", above_zero=True)
    pulled_within_seconds = Duration(
        "pulledwithin", "Tags stay for so long after the last pull of their image, or the push.", above_zero=True
    )

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject a rule without a condition, which would delete all tags that it covers."""
        if not any(values.get(condition) for condition in _CONDITIONS):
            raise ValidationError({"keeplast": [f"{MISSING_VALUE}, or `pushedwithin`, or `pulledwithin`"]})
        if values.get("order") is RetentionOrder.SEMVER and not values.get("keep_last"):
            raise ValidationError({"orderby": ["needs `keeplast`"]})
        return values


class RetentionSchema(SectionSchema):
    """`retention`."""

    settings = RetentionSettings
    refuses_unknown = True

    rules = SubList(
        "rules", "What keeps tags; a tag goes if a rule speaks of it and none keeps it.", RetentionRuleSchema
    )
    interval_seconds = Duration("interval", "How often the server applies the rules; 0 for not by itself.")
