"""The addresses of the pages.

A repository has the address `<name>`, and a page about a part of it `<name>/_<page>/<reference>`. Pages about the whole
registry begin with `_`. No component of a repository name begins with `_`, so the two are never confused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import quote, urlencode

_SAFE: Final = "/:@"


class Page(Enum):
    """A kind of page; the value is its segment of the address."""

    OVERVIEW = ""
    SEARCH = "_search"
    USAGE = "_usage"
    TRASH = "_trash"
    TRASH_ENTRY = "_trash-entry"
    """Restores or removes an entry of the trash."""
    RETENTION = "_retention"
    VERIFICATION = "_verification"
    COLLECTION = "_collection"
    READ_ONLY = "_read-only"
    ACTIVITY = "_activity"
    NOTIFICATIONS = "_notifications"
    KEYS = "_keys"
    KEY = "_key"
    """Revokes an API key."""
    SIGN_IN = "_sign-in"
    SIGN_OUT = "_sign-out"
    PROVIDER = "_provider"
    """Leads to the identity provider."""
    CALLBACK = "_callback"
    """Receives the browser from the identity provider."""
    PREFERENCES = "_preferences"
    STATIC = "_static"
    REPOSITORY = "repository"
    """Has no segment."""
    TAG = "_tags"
    MANIFEST = "_manifests"
    HISTORY = "_history"
    DELETE = "_delete"
    """Deletes tags."""
    RESTORE = "_restore"
    """Restores an entry of the trash of a repository."""
    REPOSITORY_TRASH = "_removed"
    REPOSITORY_RETENTION = "_plan"


_OF_REPOSITORY: Final[Mapping[str, Page]] = {
    page.value: page
    for page in (
        Page.TAG,
        Page.MANIFEST,
        Page.HISTORY,
        Page.DELETE,
        Page.RESTORE,
        Page.REPOSITORY_TRASH,
        Page.REPOSITORY_RETENTION,
    )
}
_OF_REGISTRY: Final[Mapping[str, Page]] = {
    page.value: page for page in Page if page.value.startswith("_") and page not in _OF_REPOSITORY.values()
}


@dataclass(frozen=True, slots=True)
class Location:
    """The address of a page below the path of the site; the texts are as the client wrote them, not validated."""

    page: Page
    name: str = ""
    """The repository."""
    reference: str = ""
    """A tag, a digest, an entry of the trash, or a file."""

    @property
    def path(self) -> str:
        """The address, percent-encoded, without a leading slash."""
        segment = "" if self.page is Page.REPOSITORY else self.page.value
        return "/".join(quote(part, safe=_SAFE) for part in (self.name, segment, self.reference) if part)


def locate(path: str) -> Location | None:
    """Return the page at a decoded path below that of the site, or None."""
    if not path:
        return Location(Page.OVERVIEW)
    if path.startswith("_"):
        segment, _, reference = path.partition("/")
        page = _OF_REGISTRY.get(segment)
        return Location(page, reference=reference) if page else None
    name, slash, rest = path.partition("/_")
    if not slash:
        return Location(Page.REPOSITORY, name.removesuffix("/"))
    segment, _, reference = rest.partition("/")
    page = _OF_REPOSITORY.get(f"_{segment}")
    return Location(page, name, reference) if page else None


def with_query(path: str, query: Mapping[str, str | int | None]) -> str:
    """Return an address with the parameters that have a value."""
    pairs = [(key, str(value)) for key, value in query.items() if value not in {None, ""}]
    return f"{path}?{urlencode(pairs)}" if pairs else path
