"""Turns whatever text a client sent as `last` into a bound that every store compares alike."""

from typing import Final

from core.names import NAME_LENGTH_MAX

ALPHABET: Final = "-./0123456789_abcdefghijklmnopqrstuvwxyz"
"""Every character of a repository name, ascending."""


def legal_bound(after: str) -> str:
    """Return at most 511 characters, all from `ALPHABET`, that the same names are greater than.

    Databases and object stores differ in what they make of capitals, control characters, other scripts and
    lone surrogates; of names they do not.
    """
    for position, character in enumerate(after[:NAME_LENGTH_MAX]):
        if character not in ALPHABET:
            return after[:position] + _just_below(character)
    # No name is longer, so what follows decides nothing.
    return after[:NAME_LENGTH_MAX]


def _just_below(character: str) -> str:
    """Return what no name continues beyond without being greater than `character`."""
    smaller = [legal for legal in ALPHABET if legal < character]
    return smaller[-1] + ALPHABET[-1] * NAME_LENGTH_MAX if smaller else ""
