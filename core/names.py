"""Repository names and tags: valid by existence, so that no unchecked text ever becomes a path or a key.

OCI distribution-spec 1.1, "Pull": `<name>` and `<reference>`.
"""

import re
from typing import Final, Self

from core.digest import Digest
from core.errors import NameInvalidError, TagInvalidError

NAME_LENGTH_MAX: Final = 255
_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")


class RepositoryName(str):
    """A repository name: lower-case components joined by `/`, at most 255 characters.

    Raises:
        NameInvalidError: the text breaks the grammar.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check `value` and keep it as it is."""
        if len(value) > NAME_LENGTH_MAX:
            raise NameInvalidError(f"a repository name has at most {NAME_LENGTH_MAX} characters")
        if not _NAME.fullmatch(value):
            raise NameInvalidError("invalid repository name", detail={"name": value})
        return super().__new__(cls, value)


class Tag(str):
    """A tag: a letter, digit or `_`, then up to 127 letters, digits, `_`, `.` or `-`.

    Raises:
        TagInvalidError: the text breaks the grammar.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check `value` and keep it as it is."""
        if not _TAG.fullmatch(value):
            raise TagInvalidError("invalid tag", detail={"tag": value[:256]})
        return super().__new__(cls, value)


def just_before(tag: Tag) -> str:
    """Return a text that sorts right before a tag: what a listing yields after it begins with the tag."""
    return f"{tag[:-1]}{chr(ord(tag[-1]) - 1)}~"


Reference = Tag | Digest
"""What stands after `/manifests/` in a URL."""


def parse_reference(value: str) -> Reference:
    """Read a tag or a digest; a colon, which no tag has, makes it a digest.

    Raises:
        TagInvalidError: no colon, and not a tag.
        DigestInvalidError: a colon, and not a supported digest.
    """
    return Digest(value) if ":" in value else Tag(value)
