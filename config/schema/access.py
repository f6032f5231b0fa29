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


REPOSITORIES_DOC = "Globs of repositories; `*` does not match a slash, `**` does."


class RuleSchema(SectionSchema):
    """`access.rules[]`."""

    settings = RuleSettings
    refuses_unknown = True

    who = ListOf(
        Text(
            "who", "Users, `@groups`, `authenticated`, or `anonymous`, which includes all clients.", check=_who_problem
        )
    )
    repositories = ListOf(Text("repositories", REPOSITORIES_DOC, check=glob_problem))
    actions = ListOf(Choice("actions", "Actions that the rule allows.", RuleActionSetting))

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
    tags = ListOf(Text("tags", "Globs of tags that always keep their first manifest.", check=glob_problem))


class AccessSchema(SectionSchema):
    """`access`."""

    settings = AccessSettings
    refuses_unknown = True

    rules = SubList("rules", "Access rules; requests that no rule allows are refused.", RuleSchema)
    group_file = Text("groupfile", "File of groups, one `group: user user` per line.")
    blocked_users = ListOf(Text("blockedusers", "Users who are denied access at once, even with a valid token."))
    upload_lifetime_seconds = Duration(
        "uploadlifetime", "How long after its start an upload may outlive its token; 0 means not at all."
    )
    immutable_tags = SubList("immutabletags", "Tags that cannot be moved or deleted.", ImmutableTagSchema)


def require_compatible(auth: AuthSettings, access: AccessSettings) -> None:
    """Reject rules that would never apply, or whose groups would be empty.

    Raises:
        ValidationError: the rules are invalid; raised under their key.
    """
    if access.rules and auth.kind is AuthKind.TOKEN:
        raise ValidationError(
            {"access": {"rules": ["cannot be combined with `auth.token`: the token server grants access"]}}
        )
    if access.group_file and auth.kind is not AuthKind.HTPASSWD:
        raise ValidationError(
            {"access": {"groupfile": ["needs `auth.htpasswd`: other methods have no users in groups"]}}
        )
    names_groups = any(name.startswith("@") for rule in access.rules for name in rule.who)
    if names_groups and not access.group_file:
        raise ValidationError({"access": {"groupfile": [f"{MISSING_VALUE}: a rule names a group"]}})
