"""The origin of each cached repository: which upstream it belongs to, and its name there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import CachedRepositoryError
from core.model.names import RepositoryName
from core.ports.upstream import Upstream
from core.pull_through.rules import UpstreamRules


@dataclass(frozen=True, slots=True)
class Origin:
    """The upstream of a repository, and the name of the repository there."""

    upstream: Upstream
    rules: UpstreamRules
    name: str
    """The name at the upstream."""

    @property
    def is_allowed(self) -> bool:
        """Whether the rules allow pulls from this repository."""
        return self.rules.allows(self.name)


class Origins:
    """Finds the origin of a repository by the longest prefix of its name. Immutable; costs no request.

    Args:
        upstreams: each upstream with its rules. The rules with the empty prefix are those of all other names.
    """

    def __init__(self, upstreams: Sequence[tuple[UpstreamRules, Upstream]]) -> None:
        self._upstreams = sorted(upstreams, key=lambda each: len(each[0].prefix), reverse=True)

    @property
    def upstreams(self) -> Sequence[tuple[UpstreamRules, Upstream]]:
        """Each upstream with its rules, the longest prefix first."""
        return self._upstreams

    def find(self, name: RepositoryName) -> Origin | None:
        """Return the origin of a repository, or None if the repository is local."""
        for rules, upstream in self._upstreams:
            if (rest := _after_prefix(name, rules.prefix)) is not None:
                return Origin(upstream, rules, _with_namespace(rest, rules))
        return None

    def require_local(self, name: RepositoryName) -> None:
        """Raise an error if the content of a repository comes from an upstream: clients must not change it.

        Raises:
            CachedRepositoryError: it does.
        """
        if (origin := self.find(name)) is not None:
            raise CachedRepositoryError(f"this repository is a cache of {origin.upstream.name} and only for pulls")

    def is_cached(self, name: RepositoryName) -> bool:
        """Whether the content of a repository comes from an upstream."""
        return self.find(name) is not None

    def is_listed(self, name: RepositoryName) -> bool:
        """Whether the catalog may list a repository: it is local, or the rules of its upstream allow it."""
        origin = self.find(name)
        return origin is None or origin.rules.catalog

    def has_prefix(self, name: str) -> bool:
        """Whether a name, which may be any text, begins with the prefix of an upstream."""
        return any(rules.prefix and name.startswith(f"{rules.prefix}/") for rules, _ in self._upstreams)

    def canonical(self, name: str) -> str:
        """Return the name under which a repository is stored: `docker.io/alpine` is `docker.io/library/alpine`.

        `name` is any text, which need not be a valid name; a local name is returned as it is.
        """
        for rules, _ in self._upstreams:
            if (rest := _after_prefix(name, rules.prefix)) is not None:
                return _joined(rules.prefix, _with_namespace(rest, rules))
        return name

    def locate(self, name: str, host: str) -> str | None:
        """Return the local name of the repository `name` at `host`, or None if no upstream has this host.

        The host is only looked up, never contacted (distribution-spec, "Registry Proxying").
        """
        for rules, _ in self._upstreams:
            if rules.is_for_host(host):
                return self.canonical(_joined(rules.prefix, name))
        return None


LOCAL_ONLY: Final = Origins(())
"""No upstream: every repository is local."""


def _after_prefix(name: str, prefix: str) -> str | None:
    if not prefix:
        return name
    return name.removeprefix(f"{prefix}/") if name.startswith(f"{prefix}/") else None


def _with_namespace(rest: str, rules: UpstreamRules) -> str:
    return f"{rules.default_namespace}/{rest}" if rules.default_namespace and "/" not in rest else rest


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name
