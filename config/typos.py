"""Suggestions for misspelt words: typing errors, long forms and abbreviations."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from config.tree import printable

_WRITTEN_OUT: Final = {"addr": "address", "addrs": "addresses"}
_LENGTH_OF_TWO: Final = 6
"""The minimum length of words that may have two typing errors; shorter ones may have one."""

_EDITS_MAX: Final = 2


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` was probably meant to be, or None."""
    shown, among = printable(word), list(candidates)
    typos = [(_edits(shown, candidate), candidate) for candidate in among if is_typo(shown, candidate)]
    if typos:
        return min(typos)[1]
    # Imported for the first word that is not known.
    from difflib import get_close_matches  # noqa: PLC0415

    return next(iter(get_close_matches(shown, among, n=1, cutoff=0.7)), None)


def is_typo(word: str, meant: str) -> bool:
    """Whether `word` is `meant`, or its long form, with at most one typing error, or two in a long word."""
    allowed = _EDITS_MAX if len(word) >= _LENGTH_OF_TWO else 1
    return any(_edits_min(word, each) <= allowed and _distance(word, each) <= allowed for each in _spellings(meant))


def _edits(word: str, meant: str) -> int:
    return min(_distance(word, each) for each in _spellings(meant))


def _spellings(meant: str) -> list[str]:
    return [meant, *([_WRITTEN_OUT[meant]] if meant in _WRITTEN_OUT else [])]


def _edits_min(one: str, other: str) -> int:
    """Return a lower bound of the distance, at a small part of its cost: letters that the other word lacks."""
    longer = max(len(one), len(other))
    if abs(len(one) - len(other)) > _EDITS_MAX:
        return longer
    return longer - (Counter(one) & Counter(other)).total()


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
