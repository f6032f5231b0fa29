"""Workload identity: which tokens of an issuer are accepted, and the user and groups that their claims name.

A claim is named by its key. The key of a nested claim follows its parent and a slash: `kubernetes.io/namespace`. A key
that contains a slash itself is found by its whole name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from core.model.globs import Globs, glob_problem
from core.model.setting import MISSING_VALUE, SettingInvalidError, setting

NAME_LENGTH_MAX: Final = 255
"""Maximum length of a user or a group."""
_GROUPS_MAX: Final = 20
"""Tokens that the registry issues contain all groups, and have to fit into a header."""
_PIECE: Final = re.compile(r"\{([^{}]*)\}")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
"""ASCII without spaces: no two names look alike, and a name fits into logs and headers."""
_SEPARATOR: Final = ":"
"""Ends the prefix of a user. Users in a file cannot contain it, so that a workload never takes the name of one."""


class ClaimsRefusedError(Exception):
    """A claim that a template needs is missing or unusable. The message names the claim and no value."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The user and the groups that a token stands for."""

    user: str
    groups: frozenset[str]


def user_problem(text: str) -> str | None:
    """Return the problem with the template of a user, or None."""
    return _name_problem(text) or (None if _has_prefix(text) else "must begin with text that ends with `:`: `ci:{sub}`")


def group_problem(text: str) -> str | None:
    """Return the problem with the template of a group, or None."""
    if _has_prefix(text) or "{" not in text:
        return _name_problem(text)
    return "must begin with text that ends with `:` if it contains a claim: `ci:{repository}`"


def _name_problem(text: str) -> str | None:
    literal = _PIECE.sub("", text)
    if "{" in literal or "}" in literal or "{}" in text:
        return "must name claims as `{claim}`"
    if text.startswith("@") or len(text) > NAME_LENGTH_MAX or (literal and not _VISIBLE.fullmatch(literal)):
        return f"must be at most {NAME_LENGTH_MAX} visible ASCII characters, without `@` at the beginning"
    return None


def _has_prefix(text: str) -> bool:
    return text.partition("{")[0].find(_SEPARATOR) > 0


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
        before, separator, _ = self.user.partition(_SEPARATOR)
        return before + separator

    def names_group(self, name: str) -> bool:
        """Whether a token may name the group `name`."""
        return any(name == each or ("{" in each and name.startswith(each.partition("{")[0])) for each in self.groups)

    def accepts(self, claims: Mapping[str, Any]) -> bool:
        """Whether an audience is right, and every claim of `when` matches; of a list, one element has to match."""
        if set(self.audiences).isdisjoint(_texts(claims, "aud")):
            return False
        return all(any(map(globs.match, _texts(claims, claim))) for claim, globs in self._globs.items())

    def identify(self, claims: Mapping[str, Any]) -> Workload:
        """Return the user and the groups that these claims name.

        Raises:
            ClaimsRefusedError: a claim of a template is missing, is no text or number, or makes no valid name.
        """
        return Workload(_filled(self.user, claims), frozenset(_filled(each, claims) for each in self.groups))


def _filled(template: str, claims: Mapping[str, Any]) -> str:
    name = _PIECE.sub(lambda match: _text(claims, match[1]), template)
    if len(name) > NAME_LENGTH_MAX:
        raise ClaimsRefusedError(f"the claims make a name longer than {NAME_LENGTH_MAX} characters")
    return name


def _text(claims: Mapping[str, Any], claim: str) -> str:
    value = _find(claims, claim)
    if value is None:
        raise ClaimsRefusedError(f"the claim `{claim}` is missing")
    text = None if isinstance(value, list) else _scalar(value)
    if text is None or not _VISIBLE.fullmatch(text):
        raise ClaimsRefusedError(f"the claim `{claim}` is not a text of visible ASCII characters")
    return text


def _texts(claims: Mapping[str, Any], claim: str) -> list[str]:
    value = _find(claims, claim)
    texts = map(_scalar, value if isinstance(value, list) else [value])
    return [text for text in texts if text is not None]


def _scalar(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _find(claims: Mapping[str, Any], claim: str) -> object:
    if claim in claims:
        return claims[claim]
    parent, slash, rest = claim.partition("/")
    inner = claims.get(parent) if slash else None
    return _find(inner, rest) if isinstance(inner, Mapping) else None
