"""The query language of the search: words and terms such as `label:team=x`, all of which must match.

A query is narrowed step by step, by the cheapest facts first: the name of a repository, then a tag with its digest,
then the summary of the manifest. Comparisons ignore case. `*` stands for any text; a value with `*` must match as a
whole.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

from core.errors import InvalidInputError
from core.model.digest import SHA256, SHA512, Digest
from core.model.media_types import IMAGE_CONFIGS
from core.model.names import RepositoryName, Tag
from core.summaries.manifest_summary import ManifestSummary

LENGTH_MAX: Final = 512
"""Maximum number of characters of a query."""
TERMS_MAX: Final = 16
DIGITS_MIN: Final = 6
"""Minimum number of hex digits in a part of a digest."""
ENTRIES_MAX: Final = 200
"""Maximum number of labels and of annotations of a manifest that are searched."""
VALUE_LENGTH_MAX: Final = 1_024
"""Number of characters of a label or annotation that are searched."""

_TERM: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')
_FIELD: Final = re.compile(r'([^":]*):')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
_DIGEST: Final = re.compile(rf"(?:({SHA256}|{SHA512}):)?([0-9a-f]+)")
_HEX_LENGTH_MAX: Final = 128
_PLATFORM_PARTS_MAX: Final = 3

Entry = tuple[str, str, str]
"""The key of a label or annotation, and the forms of key and value for comparisons."""
Found = str | None
"""The place where a term matches, such as `label:team`; empty if other facts decide; None if it cannot match."""
_UNDECIDED: Final = ""


class Field(StrEnum):
    """The field that a term names."""

    WORD = "word"
    """No field: names, tags, labels and annotations."""
    NAME = "name"
    TAG = "tag"
    DIGEST = "digest"
    LABEL = "label"
    ANNOTATION = "annotation"
    PLATFORM = "platform"
    MEDIA = "media"
    TYPE = "type"


FIELDS: Final = tuple(field for field in Field if field is not Field.WORD)


class Pattern:
    """A text that is sought, without regard to case."""

    def __init__(self, text: str, *, is_part: bool = False) -> None:
        self._parts = text.casefold().split("*")
        self._is_part = is_part and len(self._parts) == 1

    @property
    def parts(self) -> Sequence[str]:
        """The literal parts, between which any text stands, in their order."""
        return self._parts

    def matches(self, text: str) -> bool:
        """Whether the pattern matches a text that is already casefolded."""
        first, *others = self._parts
        if not others:
            return first in text if self._is_part else first == text
        *middle, last = others
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return False
        for part in middle:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


class Facts:
    """The searchable properties of a manifest, prepared for many terms.

    Args:
        summary: the summary of the manifest.
        image: for an index, the summary of its first image, whose labels and annotations count as its own.
    """

    def __init__(self, summary: ManifestSummary, image: ManifestSummary | None = None) -> None:
        self.summary = summary
        self._described = (summary, image) if image else (summary,)
        self.labels = _folded(label for each in self._described for label in each.labels.items())
        self.annotations = _folded(entry for each in self._described for entry in each.annotations.items())
        self.contents = summary.contents
        self.media_type = summary.media_type.casefold()
        # An image has the type of its config here, which describes no artifact.
        self.artifact_type = "" if summary.artifact_type in IMAGE_CONFIGS else summary.artifact_type.casefold()
        self.platforms = [platform.text.casefold().split("/") for platform in summary.platforms]

    @property
    def lines(self) -> Iterator[str]:
        """The texts that terms are compared with, as `core.summaries.hints` describes them."""
        yield from (f"l{key}\0{value}" for _, key, value in self.labels)
        yield from (f"a{key}\0{value}" for _, key, value in self.annotations)
        yield from (f"p{'/'.join(parts)}" for parts in self.platforms)
        yield from (f"m{self.media_type}", f"y{self.artifact_type}")

    def find(self, key: str) -> str:
        """Return the value of an annotation or label; empty if there is none."""
        found = (
            each[key] for summary in self._described for each in (summary.annotations, summary.labels) if key in each
        )
        return next(found, "")


def first_image(summary: ManifestSummary) -> Digest | None:
    """Return the first image of an index that the repository holds; None for any other manifest."""
    images = (platform.digest for platform in summary.platforms)
    return next((image for image in images if image != summary.digest and image in summary.contents), None)


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a query."""

    field: Field
    pattern: Pattern
    """The value; that of a label or annotation if it has a key."""
    key: Pattern | None = None
    digest: str = ""
    """The algorithm with a colon if it is given, and the first hex digits."""
    platform: tuple[str, ...] = ()

    def on_name(self, name: RepositoryName) -> Found:
        """Compare with the name of a repository."""
        if self.field in (Field.NAME, Field.WORD) and self.pattern.matches(name):
            return "name"
        return None if self.field is Field.NAME else _UNDECIDED

    def on_tag(self, tag: Tag, digest: Digest) -> Found:
        """Compare with a tag and the digest of its manifest."""
        if self.field in (Field.TAG, Field.WORD) and self.pattern.matches(tag.casefold()):
            return "tag"
        if self.field is Field.DIGEST and self._begins(digest):
            return "digest"
        return None if self.field is Field.TAG else _UNDECIDED

    def on_facts(self, facts: Facts) -> Found:
        """Compare with the properties of the manifest."""
        match self.field:
            case Field.WORD | Field.LABEL | Field.ANNOTATION:
                return self._in_entries(facts)
            case Field.DIGEST:
                is_found = any(map(self._begins, facts.contents))
            case Field.PLATFORM:
                is_found = any(map(self._is_platform, facts.platforms))
            case Field.MEDIA:
                is_found = self.pattern.matches(facts.media_type)
            case _:
                is_found = bool(facts.artifact_type) and self.pattern.matches(facts.artifact_type)
        return self.field.value if is_found else None

    def _in_entries(self, facts: Facts) -> Found:
        for place, entries in ((Field.LABEL, facts.labels), (Field.ANNOTATION, facts.annotations)):
            if self.field not in (place, Field.WORD):
                continue
            for name, key, value in entries:
                if self._is_entry(key, value):
                    return f"{place}:{name}"
        return None

    def _is_entry(self, key: str, value: str) -> bool:
        if self.key is not None:
            return self.key.matches(key) and self.pattern.matches(value)
        return self.pattern.matches(key) or (self.field is Field.WORD and self.pattern.matches(value))

    def _begins(self, digest: Digest) -> bool:
        return (digest if ":" in self.digest else digest.encoded).startswith(self.digest)

    def _is_platform(self, parts: list[str]) -> bool:
        return self.platform == tuple(parts[: len(self.platform)]) or list(self.platform) == parts[1:2]


@dataclass(frozen=True, slots=True)
class Query:
    """The terms that are still to be decided, and the places where the others matched."""

    terms: tuple[Term, ...]
    matched: frozenset[str] = field(default=frozenset())

    @property
    def is_decided(self) -> bool:
        """Whether all terms have matched."""
        return not self.terms

    def on_name(self, name: RepositoryName) -> "Query | None":
        """Narrow the query by the name of a repository; None if nothing in the repository can match."""
        return self._narrowed(lambda term: term.on_name(name))

    def on_tag(self, tag: Tag, digest: Digest) -> "Query | None":
        """Narrow the query by a tag and its digest; None if the tag cannot match."""
        return self._narrowed(lambda term: term.on_tag(tag, digest))

    def on_facts(self, facts: Facts) -> "Query | None":
        """Decide the query by the properties of a manifest; None if it does not match."""
        return self._narrowed(lambda term: term.on_facts(facts))

    def by_name(self) -> "Query":
        """Return the query whose words match names only."""
        return Query(tuple(Term(Field.NAME, term.pattern) if term.field is Field.WORD else term for term in self.terms))

    def _narrowed(self, compare: Callable[[Term], Found]) -> "Query | None":
        rest, matched = [], set(self.matched)
        for term in self.terms:
            found = compare(term)
            if found is None:
                return None
            if found:
                matched.add(found)
            else:
                rest.append(term)
        return Query(tuple(rest), frozenset(matched))


def parse_query(text: str) -> Query:
    """Parse a query; an empty one has no terms and matches everything.

    Raises:
        InvalidInputError: the query is malformed or too long; the detail has the position of the first wrong character.
    """
    if len(text) > LENGTH_MAX:
        raise _problem(LENGTH_MAX, f"a query has at most {LENGTH_MAX} characters")
    if not text.isprintable():
        at = next(at for at, character in enumerate(text) if not character.isprintable())
        raise _problem(at, "a query has no control characters")
    terms = tuple(_parse_term(at, raw) for at, raw in _split(text))
    if len(terms) > TERMS_MAX:
        raise _problem(list(_split(text))[TERMS_MAX][0], f"a query has at most {TERMS_MAX} terms")
    return Query(terms)


def _split(text: str) -> Iterator[tuple[int, str]]:
    """Yield each term with its place."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _TERM.match(text, at)
        if found is None:
            raise _problem(at, "the quote is not closed")
        yield at, found[0]
        at = found.end()


def _parse_term(at: int, raw: str) -> Term:
    prefix = _FIELD.match(raw)
    if prefix is None:
        return Term(Field.WORD, Pattern(_value(at, raw), is_part=True))
    name = prefix[1].lower()
    if name in (SHA256, SHA512):
        return _digest_term(at, raw)
    if name not in FIELDS:
        known = ", ".join(f"`{each}:`" for each in FIELDS)
        raise _problem(at, f"unknown field; known are {known}; a text with a colon needs quotes")
    at += prefix.end()
    return _field_term(at, Field(name), _value(at, raw[prefix.end() :]))


def _field_term(at: int, sought: Field, value: str) -> Term:
    match sought:
        case Field.DIGEST:
            return _digest_term(at, value)
        case Field.PLATFORM:
            return _platform_term(at, value)
        case Field.LABEL | Field.ANNOTATION:
            key, equals, content = value.partition("=")
            return Term(sought, Pattern(content), Pattern(key)) if equals else Term(sought, Pattern(key))
        case _:
            return Term(sought, Pattern(value, is_part=sought is not Field.TAG))


def _value(at: int, raw: str) -> str:
    value = _QUOTED.sub(lambda quoted: _ESCAPED.sub(r"\1", quoted[1]), raw)
    if not value:
        raise _problem(at, "a term needs a value")
    return value


def _digest_term(at: int, text: str) -> Term:
    text = text.lower()
    found = _DIGEST.fullmatch(text)
    if found is None or not DIGITS_MIN <= len(found[2]) <= _HEX_LENGTH_MAX:
        raise _problem(at, f"a digest has at least its first {DIGITS_MIN} hex digits, and `{SHA256}:` before if known")
    return Term(Field.DIGEST, Pattern(text), digest=text)


def _platform_term(at: int, text: str) -> Term:
    parts = tuple(text.casefold().split("/"))
    if len(parts) > _PLATFORM_PARTS_MAX or not all(parts):
        raise _problem(at, "a platform has the form `linux/arm64/v8`, `linux/arm64`, `linux` or `arm64`")
    return Term(Field.PLATFORM, Pattern(text), platform=parts)


def _folded(entries: Iterable[tuple[str, str]]) -> Sequence[Entry]:
    return [(key, _fold(key), _fold(value)) for key, value in islice(entries, ENTRIES_MAX)]


def _fold(text: str) -> str:
    return text[:VALUE_LENGTH_MAX].casefold()


def _problem(at: int, message: str) -> InvalidInputError:
    position = at + 1
    return InvalidInputError(f"invalid query at character {position}: {message}", detail={"position": position})
