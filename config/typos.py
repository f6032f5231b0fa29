"""Suggestions for misspelt words: typing errors, long forms and abbreviations."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from config.tree import printable

_WRITTEN_OUT: Final = {"addr": "address", "addrs": "addresses"}
_LENGTH_OF_TWO: Final = 6
"""The minimum length of words that may have two typing errors; shorter ones may have one."""


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` was probably meant to be, or None."""
    shown, among = printable(word), list(candidates)
    typos = [(_edits(shown, candidate), candidate) for candidate in among if is_typo(shown, candidate)]
    if typos:
        return min(typos)[1]
    return next(iter(get_close_matches(shown, among, n=1, cutoff=0.7)), None)


def is_typo(word: str, meant: str) -> bool:
    """Whether `word` is `meant`, or its long form, with at most one typing error, or two in a long word."""
    allowed = 2 if len(word) >= _LENGTH_OF_TWO else 1
    return _edits(word, meant) <= allowed


def _edits(word: str, meant: str) -> int:
    spellings = [meant, *([_WRITTEN_OUT[meant]] if meant in _WRITTEN_OUT else [])]
    return min(_distance(word, each) for each in spellings)


def _distance(one: str, other: str) -> int:
    """Return the number of letters to insert, delete, replace or transpose (optimal string alignment)."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, wanted in enumerate(other, start=1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != wanted)))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]
