"""Workload identity: which tokens of an issuer are accepted, and the user and groups that their claims name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from core.model.claims import fill, group_problem, prefix_of, texts_of, user_problem
from core.model.globs import Globs, glob_problem
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting

_GROUPS_MAX: Final = 20
"""Tokens that the registry issues contain all groups, and have to fit into a header."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The user and the groups that a token stands for."""

    user: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRule:
    """Accepts the tokens of an issuer whose claims match, and names their user and groups."""

    audiences: tuple[str, ...] = setting(
        "audiences", "The claim `aud` must contain one of these.", (), required=MISSING_VALUE
    )
    when: Mapping[str, tuple[str, ...]] = setting(
        "when",
        "Globs by claim; each claim must match one of its globs. `*` does not match a slash, `**` does.",
        {},
        required=MISSING_VALUE,
        free_names=True,
        check=glob_problem,
    )
    user: str = setting(
        "user",
        "Name of the user, with claims in braces, after a prefix that ends with `:`.",
        "",
        required=MISSING_VALUE,
        check=user_problem,
    )
    groups: tuple[str, ...] = setting(
        "groups", "Groups of the user, with claims in braces, as `user`.", (), check=group_problem
    )
    _globs: Mapping[str, Globs] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_globs", {claim: Globs(globs) for claim, globs in self.when.items()})

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a rule that accepts every token of an issuer, whose other users may be strangers."""
        problems = {}
        if not values.get("audiences") or not all(values["audiences"]):
            problems["audiences"] = [f"{MISSING_VALUE}: the audience that tokens for this registry name"]
        if not values.get("when") or not all(values["when"].values()):
            problems["when"] = [f"{MISSING_VALUE}: restrict the claims, because others have tokens of this issuer too"]
        if len(values.get("groups", ())) > _GROUPS_MAX:
            problems["groups"] = [f"must be at most {_GROUPS_MAX}"]
        if problems:
            raise SettingInvalidError(problems)
        return values

    @property
    def prefix(self) -> str:
        """The text with which every user of the rule begins."""
        return prefix_of(self.user)

    def names_group(self, name: str) -> bool:
        """Whether a token may name the group `name`."""
        return any(name == each or ("{" in each and name.startswith(each.partition("{")[0])) for each in self.groups)

    def accepts(self, claims: Mapping[str, Any]) -> bool:
        """Whether an audience is right, and every claim of `when` matches; of a list, one element has to match."""
        if set(self.audiences).isdisjoint(texts_of(claims, "aud")):
            return False
        return all(any(map(globs.match, texts_of(claims, claim))) for claim, globs in self._globs.items())

    def identify(self, claims: Mapping[str, Any]) -> Workload:
        """Return the user and the groups that these claims name.

        Raises:
            ClaimsRefusedError: a claim of a template is missing, is no text or number, or makes no valid name.
        """
        return Workload(fill(self.user, claims), frozenset(fill(each, claims) for each in self.groups))
