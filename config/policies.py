"""Conversion of settings to the policies of the core, such as allowed URLs and required content."""

import re
from collections.abc import Callable
from typing import Final

from config.settings import (
    AccessSettings,
    AuthKind,
    AuthSettings,
    IndexPlatforms,
    ValidationSettings,
)
from core.model.access import GRANTS_ONLY, MEMBERS_ONLY, OPEN, AccessPolicy
from core.model.descriptor import Descriptor
from core.model.names import RepositoryName, Tag
from core.registry.manifest_references import ManifestPolicy
from core.verification.rules import VerificationRules

_WITHOUT_RULES = {
    AuthKind.NONE: OPEN,
    AuthKind.SILLY: MEMBERS_ONLY,
    AuthKind.HTPASSWD: MEMBERS_ONLY,
    AuthKind.TOKEN: GRANTS_ONLY,
}


def access_policy(auth: AuthSettings, access: AccessSettings) -> AccessPolicy:
    """Return the access policy: the configured rules, or distribution's behaviour for this authentication method."""
    # The grants of a token replace the rules for its bearer, so the rules are those for users and workloads.
    has_names = auth.has_users or auth.has_workloads
    rules = access.rules or _WITHOUT_RULES[AuthKind.HTPASSWD if has_names else auth.methods[0]].rules
    return AccessPolicy(rules=rules, blocked=frozenset(access.blocked_users))


_URL_CHARS_MAX: Final = 2048
"""Browsers and proxies do not accept longer ones either."""


def manifest_policy(
    settings: ValidationSettings, is_immutable: Callable[[RepositoryName, Tag], bool]
) -> ManifestPolicy:
    """Return the content that pushed manifests may refer to, and the tags that they may not move.

    With validation disabled, any http(s) URL and any missing content is accepted, as in distribution.
    """
    if settings.disabled:
        return ManifestPolicy(
            requires_blobs=False,
            requires_child=lambda _child: False,
            allows_url=_is_web_url,
            is_immutable=is_immutable,
        )
    return ManifestPolicy(
        requires_child=_requires_child(settings), allows_url=_allows_url(settings), is_immutable=is_immutable
    )


def verification_rules(
    settings: ValidationSettings,
    is_immutable: Callable[[RepositoryName, Tag], bool],
    *,
    is_listed: Callable[[RepositoryName], bool],
    is_cached: Callable[[RepositoryName], bool],
) -> VerificationRules:
    """Return the requirements for a stored image: the same as for a pushed one, except in cached repositories."""
    policy = manifest_policy(settings, is_immutable)
    return VerificationRules(
        requires_blobs=policy.requires_blobs,
        requires_child=policy.requires_child,
        is_immutable=is_immutable,
        is_listed=is_listed,
        is_cached=is_cached,
    )


class TagImmutability:
    """The tags that cannot be moved from their first manifest; reconfigurable while serving.

    No tag of a cached repository is immutable: the upstream moves it, and clients cannot.
    """

    def __init__(
        self, settings: AccessSettings, *, is_cached: Callable[[RepositoryName], bool] = lambda _name: False
    ) -> None:
        self._is_cached = is_cached
        self.apply(settings)

    def apply(self, settings: AccessSettings) -> None:
        """Apply new settings."""
        self._kept = settings.immutable_tags

    def __call__(self, name: RepositoryName, tag: Tag) -> bool:
        """Whether this tag is immutable."""
        return any(each.covers(name, tag) for each in self._kept) and not self._is_cached(name)

    def covers(self, name: RepositoryName) -> bool:
        """Whether a repository may have immutable tags."""
        return any(each.covers_repository(name) for each in self._kept) and not self._is_cached(name)


def _is_web_url(url: str) -> bool:
    return url.startswith(("http://", "https://")) and "#" not in url


def _requires_child(settings: ValidationSettings) -> Callable[[Descriptor], bool]:
    if settings.index_platforms is IndexPlatforms.ALL:
        return lambda _child: True
    if settings.index_platforms is IndexPlatforms.NONE:
        return lambda _child: False
    listed = {(platform.os, platform.architecture) for platform in settings.platform_list}
    return lambda child: child.platform in listed


def _allows_url(settings: ValidationSettings) -> Callable[[str], bool]:
    """Return a predicate for URLs that match an `allow` and no `deny`; without both, all http(s) URLs.

    Distribution allows none by default, which rejects Windows images, the only users of such layers. The registry
    itself never fetches these URLs, and a client verifies the content by digest.
    """
    allow = [re.compile(pattern) for pattern in settings.url_allow]
    deny = [re.compile(pattern) for pattern in settings.url_deny]
    if not allow and not deny:
        return _is_web_url
    return lambda url: (
        # The URL comes from the client, and the operator's expressions may backtrack.
        len(url) <= _URL_CHARS_MAX
        and (not allow or any(each.search(url) for each in allow))
        and not any(each.search(url) for each in deny)
    )
