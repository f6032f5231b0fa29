"""Who may do what: actions on resources, who asks, and the rules that decide. Pure, and the only place that decides.

The words are those of distribution's token scopes: a repository is pulled from, pushed to and deleted in; the catalog
is the resource `registry:catalog` with the action `*`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from core.globs import EVERYTHING, Globs


class Action(StrEnum):
    """What is done to a resource."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Access:
    """One action on one resource, as a request needs it."""

    kind: str
    name: str
    """As the client wrote it, not yet checked: access is decided before a name is."""
    action: Action


CATALOG: Final = Access("registry", "catalog", Action.EVERYTHING)
"""Listing the repositories."""


def repository_access(name: str, *actions: Action) -> tuple[Access, ...]:
    """Return what these actions on a repository need."""
    return tuple(Access("repository", name, action) for action in actions)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows on one resource."""

    kind: str
    name: str
    actions: frozenset[str]

    def covers(self, access: Access) -> bool:
        """Whether the access is among what is granted; `*` grants every action and only `*` grants `*`."""
        if (self.kind, self.name) != (access.kind, access.name):
            return False
        return access.action in self.actions or Action.EVERYTHING in self.actions


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, as an authenticator found out."""

    name: str = ""
    """Empty for somebody who did not say."""
    groups: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] | None = None
    """What a token server allowed; None where the rules decide."""
    has_credentials: bool = False
    """Whether valid credentials came along, be they those of nobody in particular."""

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody knows who it is."""
        return not self.name


ANONYMOUS: Final = Principal()
"""Somebody without credentials."""


class RuleAction(StrEnum):
    """What a rule can allow; the words of the configuration."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    CATALOG = "catalog"


_ALLOWED_BY: Final = {
    Action.PULL: RuleAction.PULL,
    Action.PUSH: RuleAction.PUSH,
    Action.DELETE: RuleAction.DELETE,
}
EVERYBODY: Final = "anonymous"
"""Means whoever comes, with a name or without: taking one's name off must never gain anything."""
AUTHENTICATED: Final = "authenticated"
"""Means whoever has a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Allows these people these actions on these repositories; nothing forbids, so their order does not matter."""

    who: frozenset[str]
    """Names of users, `@` and names of groups, `anonymous`, `authenticated`."""
    repositories: tuple[str, ...] = (EVERYTHING,)
    """Globs of names."""
    actions: frozenset[RuleAction]
    _globs: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_globs", Globs(self.repositories))

    def speaks_of(self, principal: Principal) -> bool:
        """Whether the principal is among those meant."""
        if EVERYBODY in self.who:
            return True
        if principal.is_anonymous:
            return False
        names = {AUTHENTICATED, *(f"@{group}" for group in principal.groups)}
        # A user may be called `anonymous` or `@admins` for all we know, and must not gain by it.
        if principal.name != EVERYBODY and not principal.name.startswith("@"):
            names.add(principal.name)
        return not self.who.isdisjoint(names)

    def covers(self, access: Access) -> bool:
        """Whether the access is among what is allowed."""
        if access.kind == "repository":
            return _ALLOWED_BY.get(access.action) in self.actions and self.matches(access.name)
        return access == CATALOG and RuleAction.CATALOG in self.actions

    def matches(self, name: str) -> bool:
        """Whether a repository is among those meant."""
        return self._globs.match(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """What decides about every request; immutable, replaced as a whole."""

    rules: tuple[Rule, ...]
    blocked: frozenset[str] = frozenset()
    """Users who may do nothing from now on, whatever their credentials or tokens say."""

    def allows(self, principal: Principal, access: Access) -> bool:
        """Decide; a token's grants alone where there are some, else the rules."""
        if self.is_blocked(principal):
            return False
        if principal.grants is not None:
            return any(grant.covers(access) for grant in principal.grants)
        return any(rule.covers(access) and rule.speaks_of(principal) for rule in self.rules)

    def allows_all(self, principal: Principal, accesses: Sequence[Access]) -> bool:
        """Whether every one of them is allowed."""
        return all(self.allows(principal, access) for access in accesses)

    def pulls_everything(self, principal: Principal) -> bool:
        """Whether every repository, also one that is not known by name, may be pulled from."""
        if principal.grants is not None or self.is_blocked(principal):
            return False
        return any(
            RuleAction.PULL in rule.actions and EVERYTHING in rule.repositories and rule.speaks_of(principal)
            for rule in self.rules
        )

    def is_blocked(self, principal: Principal) -> bool:
        """Whether the principal may do nothing, not even be greeted."""
        return not principal.is_anonymous and principal.name in self.blocked

    @property
    def invites_anonymous(self) -> bool:
        """Whether somebody without a name may do anything at all."""
        return any(EVERYBODY in rule.who for rule in self.rules)

    def lets_anonymous(self, action: RuleAction) -> bool:
        """Whether somebody without a name may do this anywhere."""
        return any(EVERYBODY in rule.who and action in rule.actions for rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request that was let in, and the policy of that moment."""

    principal: Principal
    policy: AccessPolicy
    may_push: bool = False
    """Whether it was let in as a push: only then may an upload session remember who began it."""

    @property
    def sees(self) -> Callable[[str], bool] | None:
        """Tells whether the catalog shows a repository to the caller; None where it shows them all.

        A token for the catalog names no repositories, so whoever got one sees them all.
        """
        if self.principal.grants is not None or self.pulls_everything:
            return None
        pulls = [
            rule for rule in self.policy.rules if RuleAction.PULL in rule.actions and rule.speaks_of(self.principal)
        ]
        return lambda name: any(rule.matches(name) for rule in pulls)

    @property
    def pulls_everything(self) -> bool:
        """Whether the caller may pull from every repository."""
        return self.policy.pulls_everything(self.principal)


_EVERY_ACTION: Final = frozenset(RuleAction)
OPEN: Final = AccessPolicy(rules=(Rule(who=frozenset({EVERYBODY}), actions=_EVERY_ACTION),))
"""Everybody may do everything."""
MEMBERS_ONLY: Final = AccessPolicy(rules=(Rule(who=frozenset({AUTHENTICATED}), actions=_EVERY_ACTION),))
"""Whoever has a name may do everything, as in distribution."""
GRANTS_ONLY: Final = AccessPolicy(rules=())
"""Only what a token allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImmutableTags:
    """Tags that keep the manifest they first pointed at."""

    repositories: tuple[str, ...] = (EVERYTHING,)
    tags: tuple[str, ...]
    _repositories: Globs = field(init=False, repr=False, compare=False)
    _tags: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_repositories", Globs(self.repositories))
        object.__setattr__(self, "_tags", Globs(self.tags))

    def covers(self, name: str, tag: str) -> bool:
        """Whether this tag is among them."""
        return self._tags.match(tag) and self.covers_repository(name)

    def covers_repository(self, name: str) -> bool:
        """Whether a repository may have such tags."""
        return self._repositories.match(name)
