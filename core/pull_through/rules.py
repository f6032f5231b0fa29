"""The rules for the repositories of one upstream registry, as its section of the configuration declares them."""

from dataclasses import dataclass, field
from enum import StrEnum

from core.model.globs import EVERYTHING, Globs, glob_problem
from core.model.names import RepositoryName
from core.model.setting import setting


def prefix_problem(text: str) -> str | None:
    """Return the problem with the prefix of an upstream, or None. A component of a repository name has no port."""
    if RepositoryName.parse(text):
        return None
    return "must be the first part of repository names, without a port; list a host with a port in `hosts`"


class TagListSource(StrEnum):
    """The source of `tags/list` for a cached repository."""

    UPSTREAM = "upstream"
    """The upstream; the stored tags while it fails."""
    MERGE = "merge"
    """The upstream and the stored tags; the stored ones alone while it fails."""
    LOCAL = "local"
    """The stored tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRules:
    """Rules for the repositories of one upstream. Durations are seconds."""

    prefix: str = setting(
        "prefix",
        "First part of the names of the cached repositories, such as `docker.io`; empty for all others.",
        "",
        check=prefix_problem,
    )
    hosts: tuple[str, ...] = setting(
        "hosts", "Host names that stand for this upstream in `?ns=`; the prefix is always one of them.", ()
    )
    default_namespace: str = setting(
        "defaultnamespace", "Namespace of names that have only one component, such as `library`.", ""
    )
    allow: tuple[str, ...] = setting(
        "allow", "Globs of the upstream's repositories that may be pulled.", (EVERYTHING,), check=glob_problem
    )
    deny: tuple[str, ...] = setting(
        "deny", "Globs of repositories that may not be pulled, whatever `allow` says.", (), check=glob_problem
    )
    recheck_seconds: float = setting(
        "recheck", "Least time between two questions for the target of a tag; 0 asks at each pull.", 60.0
    )
    stale_seconds: float = setting(
        "stale", "How long a tag is served after its last check while the upstream fails.", 720 * 3600.0
    )
    absent_seconds: float = setting(
        "absent", "How long the registry remembers that the upstream does not have something.", 30.0
    )
    tags: TagListSource = setting("tags", "Source of tag lists.", TagListSource.MERGE)
    referrers: bool = setting("referrers", "Whether referrers are asked for at the upstream.", default=True)
    catalog: bool = setting("catalog", "Whether the catalog lists the cached repositories.", default=False)
    _allow: Globs = field(init=False, repr=False, compare=False)
    _deny: Globs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allow", Globs(self.allow))
        object.__setattr__(self, "_deny", Globs(self.deny))

    def allows(self, remote_name: str) -> bool:
        """Whether clients may pull from this repository of the upstream."""
        return self._allow.match(remote_name) and not self._deny.match(remote_name)

    def covers(self, name: str) -> bool:
        """Whether a repository belongs to this upstream, unless a longer prefix claims it."""
        return not self.prefix or name.startswith(f"{self.prefix}/")

    def is_for_host(self, host: str) -> bool:
        """Whether `?ns=<host>` means this upstream."""
        return bool(host) and (host == self.prefix or host in self.hosts)
