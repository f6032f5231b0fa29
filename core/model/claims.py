"""Claims of tokens: looking them up, and the templates that make names of them.

A claim is named by its key. The key of a nested claim follows its parent and a slash: `kubernetes.io/namespace`. A key
that contains a slash itself is found by its whole name.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

NAME_LENGTH_MAX: Final = 255
"""Maximum length of a user or a group."""
_PIECE: Final = re.compile(r"\{([^{}]*)\}")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
"""ASCII without spaces: no two names look alike, and a name fits into logs and headers."""
_SEPARATOR: Final = ":"
"""Ends the prefix of a user. Users in a file cannot contain it, so that a claim never makes the name of one."""


class ClaimsRefusedError(Exception):
    """A claim that a template needs is missing or unusable. The message names the claim and no value."""


def user_problem(text: str) -> str | None:
    """Return the problem with the template of a user, or None."""
    return _name_problem(text) or (None if _has_prefix(text) else "must begin with text that ends with `:`: `ci:{sub}`")


def group_problem(text: str) -> str | None:
    """Return the problem with the template of a group, or None."""
    if _has_prefix(text) or "{" not in text:
        return _name_problem(text)
    return "must begin with text that ends with `:` if it contains a claim: `ci:{repository}`"


def prefix_of(template: str) -> str:
    """Return the text with which every name of a template begins, up to the first `:`."""
    before, separator, _ = template.partition(_SEPARATOR)
    return before + separator


def claims_in(template: str) -> list[str]:
    """Return the claims that a template names."""
    return _PIECE.findall(template)


def fill(template: str, claims: Mapping[str, Any]) -> str:
    """Return the name that claims make of a template.

    Raises:
        ClaimsRefusedError: a claim is missing, is no text or number, or makes no valid name.
    """
    name = _PIECE.sub(lambda match: _text(claims, match[1]), template)
    if len(name) > NAME_LENGTH_MAX:
        raise ClaimsRefusedError(f"the claims make a name longer than {NAME_LENGTH_MAX} characters")
    return name


def texts_of(claims: Mapping[str, Any], claim: str) -> list[str]:
    """Return the texts of a claim, which is a list or a single value."""
    value = find_claim(claims, claim)
    texts = map(_scalar, value if isinstance(value, list) else [value])
    return [text for text in texts if text is not None]


def find_claim(claims: Mapping[str, Any], claim: str) -> object:
    """Return the value of a claim, which may be nested; None if there is none."""
    if claim in claims:
        return claims[claim]
    parent, slash, rest = claim.partition("/")
    inner = claims.get(parent) if slash else None
    return find_claim(inner, rest) if isinstance(inner, Mapping) else None


def _name_problem(text: str) -> str | None:
    literal = _PIECE.sub("", text)
    if "{" in literal or "}" in literal or "{}" in text:
        return "must name claims as `{claim}`"
    if text.startswith("@") or len(text) > NAME_LENGTH_MAX or (literal and not _VISIBLE.fullmatch(literal)):
        return f"must be at most {NAME_LENGTH_MAX} visible ASCII characters, without `@` at the beginning"
    return None


def _has_prefix(text: str) -> bool:
    return text.partition("{")[0].find(_SEPARATOR) > 0


def _text(claims: Mapping[str, Any], claim: str) -> str:
    value = find_claim(claims, claim)
    if value is None:
        raise ClaimsRefusedError(f"the claim `{claim}` is missing")
    text = None if isinstance(value, list) else _scalar(value)
    if text is None or not _VISIBLE.fullmatch(text):
        raise ClaimsRefusedError(f"the claim `{claim}` is not a text of visible ASCII characters")
    return text


def _scalar(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
