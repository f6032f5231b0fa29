"""Repository names and tags. Every instance is valid, so unchecked text never becomes a path or a storage key.

OCI distribution-spec 1.1, "Pull": `<name>` and `<reference>`.
"""

import re
from collections.abc import Sequence
from typing import Final, Self

from core.errors import NameInvalidError, TagInvalidError
from core.model.digest import Digest

NAME_LENGTH_MAX: Final = 255
_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_TAGS: Final = re.compile(rf"{_TAG.pattern}+(?:/{_TAG.pattern}+)*+")
"""Tags joined by slashes, which no tag contains. Possessive quantifiers: a name that is no tag costs no second look."""
ATTACHED_TAG: Final = re.compile(r"(sha256|sha512)-([0-9a-f]{64}|[0-9a-f]{128})(?:\.[a-z]+)?")
"""Tags that clients derive from a digest: cosign signatures (`….sig`) and OCI's fallback tags for referrers."""


class RepositoryName(str):
    """A repository name: lower-case components joined by `/`, at most 255 characters.

    Raises:
        NameInvalidError: the text breaks the grammar.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Validate `value`; the text is kept unchanged."""
        if len(value) > NAME_LENGTH_MAX:
            raise NameInvalidError(f"a repository name has at most {NAME_LENGTH_MAX} characters")
        if not _NAME.fullmatch(value):
            raise NameInvalidError("invalid repository name", detail={"name": value})
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return `text` as a name, or None if it is not one, such as a folder of another program."""
        try:
            return cls(text)
        except NameInvalidError:
            return None


class Tag(str):
    """A tag: a letter, digit or `_`, then up to 127 letters, digits, `_`, `.` or `-`.

    Raises:
        TagInvalidError: the text breaks the grammar.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Validate `value`; the text is kept unchanged."""
        if not _TAG.fullmatch(value):
            raise TagInvalidError("invalid tag", detail={"tag": value[:256]})
        return super().__new__(cls, value)


def tags_among(names: Sequence[str]) -> list[Tag]:
    """Return the names that are tags, in their order. One look at all names takes a fifth of a look at each."""
    joined = "/".join(names)
    if joined.count("/") == len(names) - 1 and _TAGS.fullmatch(joined):
        return [str.__new__(Tag, name) for name in names]
    return [Tag(name) for name in names if _TAG.fullmatch(name)]


def just_before(tag: Tag) -> str:
    """Return a text that sorts directly before `tag`, so that a listing after this text starts with the tag."""
    return f"{tag[:-1]}{chr(ord(tag[-1]) - 1)}~"


Reference = Tag | Digest
"""A tag or a digest, as in `/v2/<name>/manifests/<reference>`."""


def parse_reference(value: str) -> Reference:
    """Parse a tag or a digest. Text with a colon is a digest, because no tag contains a colon.

    Raises:
        TagInvalidError: the text has no colon and is not a tag.
        DigestInvalidError: the text has a colon and is not a supported digest.
    """
    return Digest(value) if ":" in value else Tag(value)
