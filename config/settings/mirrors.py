"""`mirrors`: repositories of other registries that are copied into this one at intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from typing_extensions import override

from adapters.upstream.options import ConnectionOptions, UpstreamOptions, registry_url_problem
from core.model.setting import MISSING_VALUE, setting
from core.transfer.mirror_rules import MirrorRules


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorSettings(ConnectionOptions, MirrorRules):
    """`mirrors[]`: one mirror."""

    source: str = setting(
        "from",
        "URL of the registry to copy from.",
        "",
        check=registry_url_problem,
        is_web_url=True,
        required=MISSING_VALUE,
    )

    @staticmethod
    @override
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject what the rules or the connection reject."""
        return ConnectionOptions.complete(MirrorRules.complete(values))

    @property
    def connection(self) -> UpstreamOptions:
        """The options of the registry to copy from."""
        shared = {each.name: getattr(self, each.name) for each in fields(ConnectionOptions)}
        return UpstreamOptions(urls=(self.source,), **shared)


def find_mirror_problems(
    mirrors: Sequence[MirrorSettings], *, cached_prefixes: Sequence[str]
) -> dict[int, dict[str, list[str]]]:
    """Return the problems of mirrors that share a name or copy into a cached repository, by index and key."""
    problems: dict[int, dict[str, list[str]]] = {}
    seen: set[str] = set()
    for index, each in enumerate(mirrors):
        if each.name in seen:
            problems.setdefault(index, {})["name"] = ["must differ from the names of other mirrors"]
        if any(_is_below(each.to, prefix) for prefix in cached_prefixes):
            problems.setdefault(index, {})["to"] = ["must not be a repository of the pull-through cache (`proxy`)"]
        seen.add(each.name)
    return problems


def _is_below(name: str, prefix: str) -> bool:
    return not prefix or f"{name}/".startswith(f"{prefix}/")
