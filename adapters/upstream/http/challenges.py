"""`WWW-Authenticate`: which credentials a registry asks for (RFC 9110, 11.6.1; distribution's token specification)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_HEADER_LENGTH_MAX: Final = 8192
_SCHEME: Final = re.compile(r"[,\s]*([A-Za-z][A-Za-z0-9-]*)(?:\s+(?![=,])|\s*(?:,|$))")
_PARAMETER: Final = re.compile(r'[,\s]*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: the scheme in lower case, and its parameters with names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all `WWW-Authenticate` headers; what cannot be parsed is left out."""
    return [challenge for header in headers for challenge in _parse(header[:_HEADER_LENGTH_MAX])]


def usable_challenge(headers: Iterable[str]) -> Challenge | None:
    """Return the challenge to answer: Bearer with a realm, else Basic, else None."""
    challenges = parse_challenges(headers)
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
    return next((challenge for challenge in challenges if challenge.scheme == "basic"), None)


def _parse(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        parameters: dict[str, str] = {}
        position = match.end()
        while parameter := _PARAMETER.match(header, position):
            quoted, plain = parameter[2], parameter[3]
            parameters[parameter[1].lower()] = _ESCAPED.sub(r"\1", quoted) if quoted is not None else plain
            position = parameter.end()
        found.append(Challenge(match[1].lower(), parameters))
    return found
