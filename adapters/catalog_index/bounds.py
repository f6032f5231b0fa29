"""Conversion of a client's `last` parameter, any text, to a bound that all stores compare alike."""

from typing import Final

from core.model.names import NAME_LENGTH_MAX

ALPHABET: Final = "-./0123456789_abcdefghijklmnopqrstuvwxyz"
"""Every character of a repository name, ascending."""


def legal_bound(after: str) -> str:
    """Return a text of at most 511 characters from `ALPHABET` that precedes the same names as `after`.

    Databases and object stores differ in how they compare capitals, control characters, other scripts and lone
    surrogates; they agree on valid names.
    """
    for position, character in enumerate(after[:NAME_LENGTH_MAX]):
        if character not in ALPHABET:
            return after[:position] + _just_below(character)
    # No name is longer, so the rest of `after` makes no difference.
    return after[:NAME_LENGTH_MAX]


def _just_below(character: str) -> str:
    """Return a suffix that sorts after every name with a smaller character than `character` at this position."""
    smaller = [legal for legal in ALPHABET if legal < character]
    return smaller[-1] + ALPHABET[-1] * NAME_LENGTH_MAX if smaller else ""
