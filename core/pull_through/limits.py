"""The limits of the cache, and the images that it keeps up to date, as the configuration declares them."""

import re
from dataclasses import dataclass, field
from typing import Final

from core.model.globs import EVERYTHING, Globs, glob_problem
from core.model.names import RepositoryName
from core.model.setting import MISSING_VALUE, setting
from core.model.sizes import Bytes, Space

_ANY_TAG: Final = "*"
_NO_SPACE: Final = Space()
_PLATFORM: Final = re.compile(r"[a-z0-9]+(?:/[A-Za-z0-9._-]+){1,2}")


def _platform_problem(text: str) -> str | None:
    return None if _PLATFORM.fullmatch(text) else "must be `os/architecture` or `os/architecture/variant`"


def _image_problem(text: str) -> str | None:
    return None if RepositoryName.parse(text) else "must be the name of a repository, without a tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """The limits of the cache. Images beyond a limit are removed, the one with the oldest last use first."""

    size_bytes: Bytes = setting("size", "Largest size of the cached content; 0 means without limit.", Bytes(0))
    free: Space = setting(
        "free",
        "Space that stays free on the disk of the store; 0 means no limit.",
        _NO_SPACE,
    )
    unused_seconds: float | None = setting(
        "unused", "How long an image stays after its last use; without it `proxy.ttl` applies.", None
    )
    keep: tuple[str, ...] = setting(
        "keep", "Globs of images `repository:tag` that no limit removes.", (), check=glob_problem
    )
    _keep: tuple[tuple[Globs, Globs], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keep", tuple(map(_image_globs, self.keep)))

    def keeps(self, repository: str, tag: str) -> bool:
        """Whether `keep` names this tag of a repository."""
        return any(names.match(repository) and tags.match(tag) for names, tags in self._keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchRule:
    """Images that the cache fetches before a client asks for them."""

    image: str = setting(
        "image",
        "Local name of the repository, such as `docker.io/library/python`.",
        "",
        check=_image_problem,
        required=MISSING_VALUE,
    )
    tags: tuple[str, ...] = setting("tags", "Globs of the tags to fetch.", (_ANY_TAG,), check=glob_problem)
    platforms: tuple[str, ...] = setting(
        "platforms",
        "Platforms to fetch, such as `linux/amd64`; all of them without this key.",
        (),
        check=_platform_problem,
    )
    every_seconds: float = setting("every", "Time between two rounds.", 24 * 3600.0, above_zero=True)
    _tags: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tags", Globs(self.tags))

    def wants(self, tag: str) -> bool:
        """Whether the rule covers this tag."""
        return self._tags.match(tag)


def _image_globs(glob: str) -> tuple[Globs, Globs]:
    """Return the globs of repositories and tags of `repository:tag`; without a tag, any tag matches."""
    names, colon, tags = glob.rpartition(":")
    return (Globs((names or EVERYTHING,)), Globs((tags,))) if colon else (Globs((glob,)), Globs((_ANY_TAG,)))
