"""Settings turned into the callables that the core asks: may this URL be named, must this image be there."""

import re
from collections.abc import Callable

from config.settings import IndexPlatforms, ValidationSettings
from core.descriptor import Descriptor
from core.services.manifests import ManifestPolicy


def manifest_policy(settings: ValidationSettings) -> ManifestPolicy:
    """Return what pushed manifests may refer to.

    Switched off, validation lets any http(s) URL and any missing content pass, as distribution does.
    """
    if settings.disabled:
        return ManifestPolicy(
            requires_blobs=False,
            requires_child=lambda _child: False,
            allows_url=lambda url: url.startswith(("http://", "https://")),
        )
    return ManifestPolicy(requires_child=_requires_child(settings), allows_url=_allows_url(settings))


def _requires_child(settings: ValidationSettings) -> Callable[[Descriptor], bool]:
    if settings.index_platforms is IndexPlatforms.ALL:
        return lambda _child: True
    if settings.index_platforms is IndexPlatforms.NONE:
        return lambda _child: False
    listed = {(platform.os, platform.architecture) for platform in settings.platform_list}
    return lambda child: child.platform in listed


def _allows_url(settings: ValidationSettings) -> Callable[[str], bool]:
    """Allow what an `allow` matches and no `deny`; with neither nothing, with `deny` alone all the rest."""
    allow = [re.compile(pattern) for pattern in settings.url_allow]
    deny = [re.compile(pattern) for pattern in settings.url_deny]
    if not allow and not deny:
        return lambda _url: False
    return lambda url: (
        (not allow or any(each.search(url) for each in allow)) and not any(each.search(url) for each in deny)
    )
