"""The user and the groups that the claims of an ID token name, and the claims that are required."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from core.external_users.user import GROUPS_MAX, usable_groups
from core.model.claims import ClaimsRefusedError, claims_in, fill, find_claim, prefix_of, texts_of, user_problem
from core.model.globs import Globs, glob_problem
from core.model.setting import Group, setting
from core.ports.identity_provider import SignInRefusedError

_ELSEWHERE: Final = "_claim_names"
"""Names the claims that a provider left out, because they are too long (OpenID Connect Core, 5.6.2)."""

_logger = logging.getLogger(__name__)


def _prefix_problem(text: str) -> str | None:
    is_visible = text.isascii() and text.isprintable() and " " not in text
    return (
        None if is_visible and text.endswith(":") and text[0] != "@" else "must be visible ASCII text, ending with `:`"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRules:
    """Names the users of an identity provider by their claims."""

    claim_names: ClassVar = Group("claims", "The claims that name a user and the groups.")
    user: str = setting(
        "claims.user",
        "Name of the user, with claims in braces, after a prefix that ends with `:`.",
        "oidc:{preferred_username}",
        check=user_problem,
    )
    groups: str = setting(
        "claims.groups",
        "Claim with the groups of the user; `a/b` is the claim `b` in `a`.",
        "groups",
    )
    group_prefix: str = setting(
        "claims.groupprefix",
        "Text before each group, so that none has the name of a local group.",
        "oidc:",
        check=_prefix_problem,
    )
    when: Mapping[str, tuple[str, ...]] = setting(
        "when",
        "Globs by claim; each claim must match one of its globs. `*` does not match a slash, `**` does.",
        {},
        free_names=True,
        check=glob_problem,
    )
    _globs: Mapping[str, Globs] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_globs", {claim: Globs(globs) for claim, globs in self.when.items()})

    @property
    def prefix(self) -> str:
        """The text with which every user begins."""
        return prefix_of(self.user)

    def names_group(self, name: str) -> bool:
        """Whether the claims of a user may name the group `name`."""
        return name.startswith(self.group_prefix)

    @property
    def claims(self) -> frozenset[str]:
        """The claims that the rules read."""
        return frozenset({*claims_in(self.user), *self.when, self.groups})

    def identify(self, claims: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
        """Return the name of the user and the groups.

        Raises:
            SignInRefusedError: a claim does not match, or makes no valid name.
        """
        for claim, globs in self._globs.items():
            if not any(map(globs.match, texts_of(claims, claim))):
                raise SignInRefusedError(f"the claim `{claim}` does not match `auth.oidc.when`")
        try:
            name = fill(self.user, claims)
        except ClaimsRefusedError as error:
            raise SignInRefusedError(str(error)) from None
        return name, self._groups_in(claims, name)

    def _groups_in(self, claims: Mapping[str, Any], name: str) -> frozenset[str]:
        groups = texts_of(claims, self.groups)
        if len(groups) > GROUPS_MAX:
            raise SignInRefusedError(f"the user has more than {GROUPS_MAX} groups; let the provider send fewer")
        elsewhere = claims.get(_ELSEWHERE)
        if find_claim(claims, self.groups) is None and isinstance(elsewhere, Mapping) and self.groups in elsewhere:
            _logger.warning("%s signs in without groups: the provider left them out, because they are too many", name)
        return usable_groups(f"{self.group_prefix}{each}" for each in groups)
