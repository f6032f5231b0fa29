"""`proxy`: the pull-through cache, with distribution's keys for one upstream and further keys for several."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from yarl import URL

from adapters.upstream.options import ProxyExecSettings, UpstreamOptions, registry_url_problem
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, SettingInvalidError, section, setting
from core.pull_through.limits import CacheLimits, PrefetchRule

HUB_HOSTS: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
"""The names of Docker Hub, which has one registry."""
_HUB_NAMESPACE: Final = "library"


class UnknownHosts(StrEnum):
    """The answer to a request whose `?ns=` names no host of an upstream."""

    DENY = "deny"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """The pull-through cache."""

    remote_url: str = setting(
        "remoteurl",
        "URL of the upstream registry of all names that no prefix claims.",
        "",
        check=registry_url_problem,
        is_web_url=True,
    )
    username: str | None = setting("username", "User name at `remoteurl`.", None)
    password: Secret | None = setting("password", "Password at `remoteurl`.", None)
    ttl_seconds: float = setting("ttl", "How long unused content stays; 0 means without limit.", 168 * 3600.0)
    exec: ProxyExecSettings | None = setting("exec", "Credentials from a program.", None)
    cache_write_timeout_seconds: float = setting(
        "cachewritetimeout",
        "How long a fetch waits for the next bytes of the upstream, with or without clients; 0 means without limit.",
        300.0,
    )
    upstreams: tuple[UpstreamOptions, ...] = setting(
        "upstreams", "Upstream registries, each of the names with one prefix.", (), refuses_unknown=True
    )
    unknown: UnknownHosts = setting(
        "unknown",
        "Answer to `?ns=` with a host of no upstream: `deny` is 404, `local` ignores the parameter.",
        UnknownHosts.DENY,
    )
    spool: str = setting(
        "spool", "Folder for blobs in flight, on a local disk; without it the registry chooses one.", ""
    )
    limits: CacheLimits = section("limits", "The limits of the cache.", CacheLimits, refuses_unknown=True)
    prefetch: tuple[PrefetchRule, ...] = setting("prefetch", "Images that the cache keeps up to date.", ())

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject upstreams that claim the same prefix or host, and two limits of the same age."""
        problems: dict[Any, Any] = {}
        _find_conflicts(values.get("upstreams", ()), problems, has_root=bool(values.get("remote_url")))
        limits = values.get("limits", CacheLimits())
        if limits.unused_seconds is not None and "ttl_seconds" in values:
            problems["ttl"] = ["cannot be combined with `proxy.limits.unused`, which means the same"]
        if problems:
            raise SettingInvalidError(problems)
        return values

    @property
    def is_configured(self) -> bool:
        """Whether there is an upstream; without one the section has no effect, as in distribution."""
        return bool(self.remote_url or self.upstreams)

    @property
    def unused_seconds(self) -> float | None:
        """How long an image stays after its last use; None means without limit."""
        own = self.limits.unused_seconds
        return (self.ttl_seconds if own is None else own) or None

    @property
    def has_limits(self) -> bool:
        """Whether there is any limit beyond which images are removed."""
        return bool(self.limits.size_bytes or any(self.limits.free) or self.unused_seconds)

    @property
    def all_upstreams(self) -> Sequence[UpstreamOptions]:
        """Every upstream, that of `remoteurl` first, with the hosts and the namespace that follow from its URLs.

        A host that one upstream lists does not also follow for another one.
        """
        root = (self._root,) if self.remote_url else ()
        listed = {host for each in self.upstreams for host in (each.prefix, *each.hosts)}
        return tuple(_with_implied([*root, *self.upstreams], listed))

    @property
    def _root(self) -> UpstreamOptions:
        if self.exec is not None:
            # distribution ignores a password beside a helper.
            return UpstreamOptions(urls=(self.remote_url,), exec=self.exec)
        return UpstreamOptions(urls=(self.remote_url,), username=self.username, password=self.password)


def has_credentials(upstream: UpstreamOptions) -> bool:
    """Whether the registry signs in at an upstream."""
    return any((upstream.username, upstream.password, upstream.exec, upstream.docker_config))


def _find_conflicts(upstreams: Sequence[UpstreamOptions], problems: dict[Any, Any], *, has_root: bool) -> None:
    prefixes = {""} if has_root else set[str]()
    hosts: set[str] = set()
    found: dict[int, dict[str, list[str]]] = {}
    for index, each in enumerate(upstreams):
        own = {each.prefix, *each.hosts} - {""}
        if each.prefix in prefixes:
            found[index] = {"prefix": [_prefix_conflict(each.prefix, has_root=has_root)]}
        elif twice := sorted(own & hosts):
            found[index] = {"hosts": [f"must not contain {twice[0]}, a host of an earlier upstream"]}
        prefixes.add(each.prefix)
        hosts |= own
    if found:
        problems["upstreams"] = found


def _prefix_conflict(prefix: str, *, has_root: bool) -> str:
    if prefix:
        return f"must differ from the prefixes of earlier upstreams, not `{prefix}`"
    other = "`proxy.remoteurl`" if has_root else "an earlier upstream"
    return f"{MISSING_VALUE}: {other} already is the upstream of all names without a prefix"


def _with_implied(upstreams: Iterable[UpstreamOptions], listed: set[str]) -> Iterator[UpstreamOptions]:
    taken = set(listed)
    for each in upstreams:
        implied = dict.fromkeys(map(_authority, each.urls))
        is_hub = each.prefix in HUB_HOSTS or not set(HUB_HOSTS).isdisjoint(implied)
        hosts = [host for host in (*implied, *(HUB_HOSTS if is_hub else ())) if host not in taken]
        namespace = each.default_namespace or (_HUB_NAMESPACE if is_hub else "")
        taken.update(hosts)
        yield replace(each, hosts=each.hosts or tuple(dict.fromkeys(hosts)), default_namespace=namespace)


def _authority(text: str) -> str:
    """Return the host of a URL, with the port that it names."""
    url = URL(text)
    host = url.host_subcomponent or ""
    return f"{host}:{url.explicit_port}" if url.explicit_port else host
