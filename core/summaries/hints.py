r"""The texts of repositories, by which a search finds out which repositories cannot match and need not be opened.

A hint holds everything in a repository that terms are compared with, each in a line that begins with its kind:

    t<tag>  l<label>\0<value>  a<annotation>\0<value>  p<platform>  m<media type>  y<artifact type>

and the first digits of each digest. A hint may admit a repository in which nothing matches, never the reverse.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from core.model.digest import Digest
from core.model.names import Tag
from core.summaries.query import DIGITS_MIN, Facts, Field, Query, Term

HINT_BYTES_MAX: Final = 2 * 1024 * 1024
"""Maximum size of one hint; a repository with more texts is always opened."""


@dataclass(frozen=True, slots=True)
class RepositoryHint:
    """The texts of one repository."""

    texts: bytes
    """The lines, with a line break before, between and after them."""
    digests: bytes
    """The first digits of digests, with a comma before, between and after them."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self.texts) + len(self.digests)


def hint_of(tags: Iterable[Tag], described: Iterable[tuple[Digest, Facts]]) -> RepositoryHint | None:
    """Return the hint of a repository; None if it would become too long.

    Args:
        tags: all tags of the repository.
        described: the manifest of each tag with its properties.
    """
    lines = {f"t{tag.casefold()}" for tag in tags}
    digits: set[str] = set()
    length = 0
    for digest, facts in described:
        new = {*facts.lines} - lines
        lines |= new
        digits |= {content.encoded[:DIGITS_MIN] for content in (digest, *facts.contents)}
        length += sum(map(len, new))
        if length > HINT_BYTES_MAX:
            return None
    hint = RepositoryHint(encoded("\n".join(["", *sorted(lines), ""])), encoded(",".join(["", *sorted(digits), ""])))
    return hint if hint.size <= HINT_BYTES_MAX else None


def encoded(text: str) -> bytes:
    """Return a text in UTF-8, in which each part of the text is a part of the bytes."""
    return text.encode("utf-8", "surrogatepass")


def decoded(content: bytes) -> str:
    """Return the text of `encoded`."""
    return content.decode("utf-8", "surrogatepass")


class Needles:
    """The texts that a hint must contain for each term of a query.

    Args:
        query: the query, before it was narrowed.
    """

    def __init__(self, query: Query) -> None:
        self._texts = {term: [encoded(part) for part in _texts(term) if part] for term in query.terms}

    def are_in(self, hint: RepositoryHint, query: Query) -> bool:
        """Whether the repository may match the terms that its name left undecided."""
        return all(self._admits(hint, term) for term in query.terms)

    def _admits(self, hint: RepositoryHint, term: Term) -> bool:
        sought = hint.digests if term.field is Field.DIGEST else hint.texts
        return all(text in sought for text in self._texts[term])


def _texts(term: Term) -> Sequence[str]:
    parts = term.pattern.parts
    match term.field:
        case Field.DIGEST:
            found = [f",{term.digest.rpartition(':')[2][:DIGITS_MIN]},"]
        case Field.TAG:
            found = _framed("\nt", parts, "\n")
        case Field.LABEL | Field.ANNOTATION:
            found = _entry(f"\n{term.field[0]}", term)
        case Field.PLATFORM:
            # One part is an operating system or an architecture; more are the beginning of a platform.
            text = "/".join(term.platform)
            found = [f"\np{text}" if len(term.platform) > 1 else text]
        case _:
            found = list(parts)
    return found


def _entry(kind: str, term: Term) -> list[str]:
    first, *behind = term.pattern.parts
    if term.key is None:
        return _framed(kind, [first, *behind], "\0")
    *before, last = term.key.parts
    return _framed(kind, [*before, f"{last}\0{first}", *behind], "\n")


def _framed(begin: str, parts: Sequence[str], end: str) -> list[str]:
    first, *others = parts
    framed = [begin + first, *others]
    return [*framed[:-1], framed[-1] + end]
