"""The rules of a mirror: which repositories and tags of another registry are copied, where to, and how often."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from core.errors import NameInvalidError
from core.model.globs import Globs, glob_problem
from core.model.names import RepositoryName, Tag
from core.model.setting import MISSING_VALUE, SettingInvalidError, section, setting
from core.model.version_ranges import VersionRange, range_problem, version_of

_WILDCARD: Final = re.compile(r"[*?]")
_DERIVED: Final = re.compile(r"(?:sha256|sha512)-[0-9a-f]{64,128}(?:\.[a-z]+)?")
"""Tags that clients derive from a digest. They are copied with their image, never chosen by themselves."""
_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9]+")
MIRROR_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Deletions(StrEnum):
    """The effect of a tag that the upstream no longer has."""

    KEEP = "keep"
    """The copied tag stays."""
    FOLLOW = "follow"
    """The copied tag is deleted, through the trash."""


class ReferrerCopies(StrEnum):
    """When the referrers of an image, such as signatures, are copied."""

    NEW = "new"
    """Together with the image, so that an unchanged tag costs one request."""
    ALWAYS = "always"
    """In every run, which finds signatures that are pushed after their image. Costs one more request for each tag."""
    NONE = "none"
    """Never."""


def regex_problem(text: str) -> str | None:
    """Return the problem with a regular expression, or None."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return "must be a regular expression of Python"
    return None


def platform_problem(text: str) -> str | None:
    """Return the problem with a platform, or None."""
    return None if _PLATFORM.fullmatch(text) else "must be an operating system and architecture such as `linux/amd64`"


def target_problem(text: str) -> str | None:
    """Return the problem with the name of the repository to copy to, or None."""
    return "must be the name of a repository" if RepositoryName.parse(text) is None else None


def mirror_name_problem(text: str) -> str | None:
    """Return the problem with the name of a mirror, or None."""
    return None if MIRROR_NAME.fullmatch(text) else "must consist of small letters, digits and `-`"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRules:
    """The tags to copy: those that meet every condition, and of these the greatest versions."""

    glob: tuple[str, ...] = setting("glob", "Globs of tags to copy.", ("*",), check=glob_problem)
    regex: str = setting("regex", "Regular expression that the whole tag must match.", "", check=regex_problem)
    semver: str = setting(
        "semver",
        "Range of versions such as `>=2.1 <3`; pre-releases only if the range names one.",
        "",
        check=lambda text: range_problem(text) if text else None,
    )
    latest: int = setting("latest", "Number of greatest versions to copy; 0 means all tags.", 0, at_least=0)
    _glob: Globs = field(init=False, repr=False, compare=False)
    _regex: "re.Pattern[str] | None" = field(init=False, repr=False, compare=False)
    _range: VersionRange | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_glob", Globs(self.glob))
        object.__setattr__(self, "_regex", re.compile(self.regex) if self.regex else None)
        object.__setattr__(self, "_range", VersionRange(self.semver) if self.semver else None)

    def covers(self, tag: str) -> bool:
        """Whether a tag meets the conditions, apart from `latest`."""
        if _DERIVED.fullmatch(tag) or not self._glob.match(tag):
            return False
        if self._regex is not None and self._regex.fullmatch(tag) is None:
            return False
        if self._range is None:
            return True
        version = version_of(tag)
        return version is not None and self._range.matches(version)

    def choose(self, tags: Iterable[Tag]) -> list[Tag]:
        """Return the tags to copy, in their order, or with `latest` the greatest version first."""
        covered = [tag for tag in tags if self.covers(tag)]
        if not self.latest:
            return covered
        versions = [(version.version, tag) for tag in covered if (version := version_of(tag)) is not None]
        return [tag for _, tag in sorted(versions, reverse=True)[: self.latest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRules:
    """A mirror: what is copied from another registry into repositories of this one. Durations are seconds."""

    name: str = setting("name", "Name of the mirror in commands, logs and metrics.", "", check=mirror_name_problem)
    repository: str = setting(
        "repository",
        "Repository to copy, or a glob such as `prometheus/*`, which needs a registry that lists its repositories.",
        "",
        check=glob_problem,
    )
    to: str = setting(
        "to",
        "Repository to copy to; for a glob, the replacement of the part before the first wildcard.",
        "",
        check=target_problem,
    )
    tags: TagRules = section("tags", "Tags to copy.", TagRules)
    every_seconds: float = setting("every", "Interval between two runs.", 6 * 3600.0, above_zero=True)
    deletes: Deletions = setting(
        "deletes", "Whether tags that the upstream no longer has are kept or deleted here.", Deletions.KEEP
    )
    platforms: tuple[str, ...] = setting(
        "platforms", "Platforms to copy of an index, such as `linux/amd64`; empty for all.", (), check=platform_problem
    )
    referrers: ReferrerCopies = setting(
        "referrers", "When signatures and other referrers are copied.", ReferrerCopies.NEW
    )
    bytes_per_second: int = setting(
        "bytespersecond", "Maximum number of bytes read from the upstream in a second; 0 means no limit.", 0, at_least=0
    )
    _glob: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_glob", Globs((self.repository,)))

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a mirror without a name, a source or a target."""
        missing = {key: [MISSING_VALUE] for key in ("name", "repository", "to") if not values.get(key)}
        if missing:
            raise SettingInvalidError(missing)
        return values

    @property
    def job(self) -> str:
        """The name of the lease and of the schedule."""
        return f"mirror-{self.name}"

    @property
    def is_glob(self) -> bool:
        """Whether `repository` is a glob."""
        return _WILDCARD.search(self.repository) is not None

    def covers(self, remote_name: str) -> bool:
        """Whether a repository of the upstream is copied."""
        return self._glob.match(remote_name) if self.is_glob else remote_name == self.repository

    def target_of(self, remote_name: str) -> RepositoryName:
        """Return the repository to which a repository of the upstream is copied.

        Raises:
            NameInvalidError: the name would be invalid, or too long.
        """
        if not self.is_glob:
            return RepositoryName(self.to)
        folder = _WILDCARD.split(self.repository, maxsplit=1)[0].rpartition("/")[0]
        rest = remote_name.removeprefix(f"{folder}/") if folder else remote_name
        if not rest:
            raise NameInvalidError("invalid repository name", detail={"name": remote_name})
        return RepositoryName(f"{self.to}/{rest}")

    def wants_platform(self, platform: tuple[str, str] | None) -> bool:
        """Whether an entry of an index is copied; an entry without a platform always is."""
        return not self.platforms or platform is None or "/".join(platform) in self.platforms
