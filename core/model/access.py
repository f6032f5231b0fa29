"""Access control: actions on resources, principals, and the rules. The only module that decides access; pure.

The vocabulary is that of distribution's token scopes. A repository has the actions `pull`, `push` and `delete`. The
catalog is the resource `registry:catalog` with the action `*`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from core.model.globs import EVERYTHING, REPOSITORIES_DOC, Globs, glob_problem
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting


class Action(StrEnum):
    """An action on a resource."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Access:
    """One action on one resource, as a request requires it."""

    kind: str
    name: str
    """As the client sent it, not yet validated: access is checked before the name."""
    action: Action


ADMINISTRATION: Final = Access("registry", "admin", Action.EVERYTHING)
"""Access required for operations on the whole registry: collection, read-only mode, verification, notifications."""
CATALOG: Final = Access("registry", "catalog", Action.EVERYTHING)
"""Access required to list the repositories."""


def repository_access(name: str, *actions: Action) -> tuple[Access, ...]:
    """Return the access that these actions on a repository require."""
    return tuple(Access("repository", name, action) for action in actions)


@dataclass(frozen=True, slots=True)
class Grant:
    """The actions that a token allows on one resource."""

    kind: str
    name: str
    actions: frozenset[str]

    def covers(self, access: Access) -> bool:
        """Whether the grant includes `access`. `*` grants every action, and only `*` grants `*`."""
        if (self.kind, self.name) != (access.kind, access.name):
            return False
        return access.action in self.actions or Action.EVERYTHING in self.actions


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The identity of a caller, as the authenticator established it."""

    name: str = ""
    """Empty for an anonymous caller."""
    groups: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] | None = None
    """The grants of a token; None if the rules decide."""
    has_credentials: bool = False
    """Whether the caller sent valid credentials, possibly without a user name."""
    key: str = ""
    """The id of the API key that the caller sent; empty for other credentials."""
    method: str = ""
    """The method that let the caller in (`htpasswd`, `key`, `token`, `certificate`, …); empty for an anonymous one."""
    expires_at: datetime | None = None
    """When the credentials end, if another issuer decides that; UTC-aware. Such a principal has no account here."""
    limit: "Rule | None" = None
    """The repositories and actions to which an API key is limited; None for other credentials."""

    @property
    def is_anonymous(self) -> bool:
        """Whether the caller has no user name."""
        return not self.name


ANONYMOUS: Final = Principal()
"""A caller without credentials."""


class RuleAction(StrEnum):
    """Actions that a rule can allow, as spelled in the configuration."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    CATALOG = "catalog"
    ADMIN = "admin"


_ALLOWED_BY: Final = {
    Action.PULL: RuleAction.PULL,
    Action.PUSH: RuleAction.PUSH,
    Action.DELETE: RuleAction.DELETE,
}
EVERYONE: Final = "anonymous"
"""Matches every caller, with or without a user name: dropping credentials must never widen access."""
AUTHENTICATED: Final = "authenticated"
"""Matches every caller that has a user name."""


def _who_problem(text: str) -> str | None:
    return None if text.removeprefix("@") else "must be a user, an `@group`, `authenticated` or `anonymous`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Allows some users some actions on some repositories. Rules only allow, so their order does not matter."""

    who: tuple[str, ...] = setting(
        "who",
        "Users, `@groups`, `authenticated`, or `anonymous`, which includes all clients.",
        (),
        check=_who_problem,
    )
    repositories: tuple[str, ...] = setting("repositories", REPOSITORIES_DOC, (EVERYTHING,), check=glob_problem)
    actions: tuple[RuleAction, ...] = setting("actions", "Actions that the rule allows.", ())
    _globs: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_globs", Globs(self.repositories))

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a rule without users or actions, which allows nothing and cannot be intended."""
        missing = {key: [MISSING_VALUE] for key in ("who", "actions") if not values.get(key)}
        if missing:
            raise SettingInvalidError(missing)
        return values

    def applies_to(self, principal: Principal) -> bool:
        """Whether the rule applies to the principal."""
        if EVERYONE in self.who:
            return True
        if principal.is_anonymous:
            return False
        names = {AUTHENTICATED, *(f"@{group}" for group in principal.groups)}
        # A user can be named `anonymous` or `@admins`, and must not gain access by such a name.
        if principal.name != EVERYONE and not principal.name.startswith("@"):
            names.add(principal.name)
        return not names.isdisjoint(self.who)

    def covers(self, access: Access) -> bool:
        """Whether the rule allows `access`."""
        if access.kind == "repository":
            return _ALLOWED_BY.get(access.action) in self.actions and self.matches(access.name)
        if access == ADMINISTRATION:
            return RuleAction.ADMIN in self.actions
        return access == CATALOG and RuleAction.CATALOG in self.actions

    def matches(self, name: str) -> bool:
        """Whether the rule applies to a repository."""
        return self._globs.match(name)

    @property
    def pulls_everything(self) -> bool:
        """Whether the rule allows to pull from every repository."""
        return RuleAction.PULL in self.actions and EVERYTHING in self.repositories


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """The access rules for all requests. Immutable; replaced as a whole."""

    rules: tuple[Rule, ...]
    blocked: frozenset[str] = frozenset()
    """Users who are denied every request, whatever their credentials or tokens allow."""

    def allows(self, principal: Principal, access: Access) -> bool:
        """Whether the principal has `access`.

        Grants of a token, if there are any, replace the rules. The limit of an API key only takes rights away.
        """
        if self.is_blocked(principal) or not (principal.limit is None or principal.limit.covers(access)):
            return False
        if principal.grants is not None:
            return any(grant.covers(access) for grant in principal.grants)
        return any(rule.covers(access) and rule.applies_to(principal) for rule in self.rules)

    def allows_all(self, principal: Principal, accesses: Sequence[Access]) -> bool:
        """Whether every access is allowed."""
        return all(self.allows(principal, access) for access in accesses)

    def pulls_everything(self, principal: Principal) -> bool:
        """Whether the principal may pull from every repository, whether it exists or not."""
        if principal.grants is not None or self.is_blocked(principal):
            return False
        if principal.limit is not None and not principal.limit.pulls_everything:
            return False
        return any(rule.pulls_everything and rule.applies_to(principal) for rule in self.rules)

    def is_blocked(self, principal: Principal) -> bool:
        """Whether every request of the principal is denied, including the version check (`GET /v2/`)."""
        return not principal.is_anonymous and principal.name in self.blocked

    @property
    def applies_to_anonymous(self) -> bool:
        """Whether any rule applies to anonymous callers."""
        return any(EVERYONE in rule.who for rule in self.rules)

    def allows_anonymous(self, action: RuleAction) -> bool:
        """Whether anonymous callers may perform this action on any repository."""
        return any(EVERYONE in rule.who and action in rule.actions for rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The principal of an authorized request, and the policy at that moment."""

    principal: Principal
    policy: AccessPolicy
    may_push: bool = False
    """Whether the request was authorized as a push. Only then may an upload session record its creator."""

    @property
    def sees(self) -> Callable[[str], bool] | None:
        """Predicate for the repositories that the catalog shows to the caller; None if it shows all.

        A token for the catalog names no repositories, so its bearer sees all of them.
        """
        if self.principal.grants is not None or self.pulls_everything:
            return None
        principal = self.principal
        pulls = [rule for rule in self.policy.rules if RuleAction.PULL in rule.actions and rule.applies_to(principal)]
        # As `AccessPolicy.allows`, with the rules of the caller selected once.
        limit = principal.limit or _UNLIMITED
        if RuleAction.PULL not in limit.actions:
            return lambda _name: False
        return lambda name: limit.matches(name) and any(rule.matches(name) for rule in pulls)

    @property
    def pulls_everything(self) -> bool:
        """Whether the caller may pull from every repository."""
        return self.policy.pulls_everything(self.principal)


_EVERY_ACTION: Final = tuple(RuleAction)
_UNLIMITED: Final = Rule(who=(EVERYONE,), actions=_EVERY_ACTION)
OPEN: Final = AccessPolicy(rules=(Rule(who=(EVERYONE,), actions=_EVERY_ACTION),))
"""Every caller may do everything."""
MEMBERS_ONLY: Final = AccessPolicy(rules=(Rule(who=(AUTHENTICATED,), actions=_EVERY_ACTION),))
"""Every caller with a user name may do everything, as in distribution."""
GRANTS_ONLY: Final = AccessPolicy(rules=())
"""Only the grants of a token allow anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmutableTags:
    """Selects the tags that cannot be moved to another manifest or deleted."""

    repositories: tuple[str, ...] = setting("repositories", REPOSITORIES_DOC, (EVERYTHING,), check=glob_problem)
    tags: tuple[str, ...] = setting(
        "tags", "Globs of tags that always keep their first manifest.", ("*",), check=glob_problem
    )
    _repositories: Globs = field(init=False, repr=False, compare=False)
    _tags: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_repositories", Globs(self.repositories))
        object.__setattr__(self, "_tags", Globs(self.tags))

    def covers(self, name: str, tag: str) -> bool:
        """Whether the tag is immutable."""
        return self._tags.match(tag) and self.covers_repository(name)

    def covers_repository(self, name: str) -> bool:
        """Whether a repository can have immutable tags."""
        return self._repositories.match(name)
