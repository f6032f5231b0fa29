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
            allows_url=_is_web_url,
        )
    return ManifestPolicy(requires_child=_requires_child(settings), allows_url=_allows_url(settings))


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
    """Allow what an `allow` matches and no `deny`; with neither of them, every http(s) URL.

    Distribution allows none by default, which refuses the Windows images that are the only users of such layers. The
    registry itself never fetches from these URLs, and a client checks what it gets there by digest.
    """
    allow = [re.compile(pattern) for pattern in settings.url_allow]
    deny = [re.compile(pattern) for pattern in settings.url_deny]
    if not allow and not deny:
        return _is_web_url
    return lambda url: (
        (not allow or any(each.search(url) for each in allow)) and not any(each.search(url) for each in deny)
    )
