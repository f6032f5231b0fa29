"""`access`: access rules without a token server, and immutable tags."""

from typing import Any

from marshmallow import ValidationError
from typing_extensions import override

from config.schema.base import SectionSchema, SubList
from config.schema.collections import ListOf
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Choice, Duration, Text
from config.settings import (
    AccessSettings,
    AuthKind,
    AuthSettings,
    ImmutableTagSettings,
    RuleActionSetting,
    RuleSettings,
)


def glob_problem(text: str) -> str | None:
    """Return the problem with a glob, or None."""
    return None if text and text.isprintable() and " " not in text else "must be a glob such as `team/**`"


def _who_problem(text: str) -> str | None:
    return None if text.removeprefix("@") else "must be a user, an `@group`, `authenticated` or `anonymous`"


REPOSITORIES_DOC = "Globs of repositories; `*` stops at a slash, `**` does not."


class RuleSchema(SectionSchema):
    """`access.rules[]`."""

    settings = RuleSettings
    refuses_unknown = True

    who = ListOf(
        Text("who", "Users, `@groups`, `authenticated`, or `anonymous`, which means everybody.", check=_who_problem)
    )
    repositories = ListOf(Text("repositories", REPOSITORIES_DOC, check=glob_problem))
    actions = ListOf(Choice("actions", "What they may do.", RuleActionSetting))

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject a rule without users or actions, which allows nothing and cannot be intended."""
        missing = {key: [MISSING_VALUE] for key in ("who", "actions") if not values.get(key)}
        if missing:
            raise ValidationError(missing)
        return values


class ImmutableTagSchema(SectionSchema):
    """`access.immutabletags[]`."""

    settings = ImmutableTagSettings
    refuses_unknown = True

    repositories = ListOf(Text("repositories", REPOSITORIES_DOC, check=glob_problem))
    tags = ListOf(Text("tags", "Globs of tags that keep the manifest they first pointed at.", check=glob_problem))


class AccessSchema(SectionSchema):
    """`access`."""

    settings = AccessSettings
    refuses_unknown = True

    rules = SubList("rules", "Who may do what; whatever no rule allows is refused.", RuleSchema)
    group_file = Text("groupfile", "The file of groups, one `group: user user` a line.")
    blocked_users = ListOf(Text("blockedusers", "Users who are cut off at once, whatever their tokens say."))
    upload_lifetime_seconds = Duration(
        "uploadlifetime", "How long an upload may outlive the token that began it; 0 for not at all."
    )
    immutable_tags = SubList("immutabletags", "Tags that nobody may move or delete.", ImmutableTagSchema)


def require_compatible(auth: AuthSettings, access: AccessSettings) -> None:
    """Reject rules that would never apply, or whose groups would be empty.

    Raises:
        ValidationError: the rules are invalid; raised under their key.
    """
    if access.rules and auth.kind is AuthKind.TOKEN:
        raise ValidationError({"access": {"rules": ["do not go with `auth.token`: the token server decides"]}})
    if access.group_file and auth.kind is not AuthKind.HTPASSWD:
        raise ValidationError({"access": {"groupfile": ["needs `auth.htpasswd`: nobody else is in a group"]}})
    names_groups = any(name.startswith("@") for rule in access.rules for name in rule.who)
    if names_groups and not access.group_file:
        raise ValidationError({"access": {"groupfile": [f"{MISSING_VALUE}, and a rule names a group"]}})
