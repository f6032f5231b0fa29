"""Settings of access rules, for registries without a token server."""

from dataclasses import dataclass, field
from enum import StrEnum


class RuleActionSetting(StrEnum):
    """The actions that a rule can allow."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    CATALOG = "catalog"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """The actions that some users may perform on some repositories."""

    who: tuple[str, ...] = ()
    """Users, `@groups`, `authenticated`, `anonymous`."""
    repositories: tuple[str, ...] = ("**",)
    """Globs; `*` stops at a slash, `**` does not."""
    actions: tuple[RuleActionSetting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmutableTagSettings:
    """Tags that keep the manifest they first pointed at."""

    repositories: tuple[str, ...] = ("**",)
    tags: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Access rules; without any, access depends on the authentication method, as in distribution."""

    rules: tuple[RuleSettings, ...] = field(default_factory=tuple)
    group_file: str | None = None
    blocked_users: tuple[str, ...] = ()
    """Users who are denied access at once, even with a valid token."""
    upload_lifetime_seconds: float = 6 * 3600.0
    """How long an upload session may outlive the token that began it; 0 for not at all."""
    immutable_tags: tuple[ImmutableTagSettings, ...] = field(default_factory=tuple)
