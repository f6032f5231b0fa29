"""The properties of an image that its labels and annotations describe."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from core.inspection.documents import as_text

_PREFIX: Final = "org.opencontainers.image."
WELL_KNOWN: Final = (
    "title",
    "description",
    "version",
    "source",
    "revision",
    "url",
    "documentation",
    "licenses",
    "vendor",
    "authors",
    "base.name",
    "base.digest",
)
"""Keys of the OCI image-spec, without their prefix, in the order of a page."""


def well_known(*sources: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Return the well-known keys, without their prefix, that any source has; the first source with a key wins."""
    found = []
    for key in WELL_KNOWN:
        value = next((as_text(each[_PREFIX + key]) for each in sources if each.get(_PREFIX + key)), "")
        if value:
            found.append((key, value))
    return found


def without_known(entries: Iterable[tuple[str, str]], known: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return the entries that are not among the well-known properties."""
    shown = {(_PREFIX + key, value) for key, value in known}
    return dict(entry for entry in entries if entry not in shown)
