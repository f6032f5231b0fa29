"""The configuration decides which content a pushed manifest may refer to."""

import pytest

from config.policies import TagImmutability, manifest_policy
from config.settings import AccessSettings, IndexPlatforms, PlatformSettings, ValidationSettings
from core.model.descriptor import Descriptor
from core.model.digest import Digest

NO_TAGS = TagImmutability(AccessSettings())


def child(platform: tuple[str, str] | None) -> Descriptor:
    return Descriptor(media_type="m", digest=Digest.of(b"x"), size=1, platform=platform)


def test_everything_passes_when_validation_is_off() -> None:
    policy = manifest_policy(ValidationSettings(disabled=True, url_deny=(".",)), NO_TAGS)
    assert not policy.requires_blobs
    assert not policy.requires_child(child(None))
    assert policy.allows_url("https://example.com/layer")
    assert not policy.allows_url("file:///etc/passwd")


@pytest.mark.parametrize(
    ("platforms", "platform", "required"),
    [
        (IndexPlatforms.ALL, None, True),
        (IndexPlatforms.NONE, ("linux", "amd64"), False),
        (IndexPlatforms.LIST, ("linux", "amd64"), True),
        (IndexPlatforms.LIST, ("linux", "arm64"), False),
        (IndexPlatforms.LIST, None, False),
    ],
)
def test_children_are_required_by_platform(
    platforms: IndexPlatforms, platform: tuple[str, str] | None, *, required: bool
) -> None:
    listed = (PlatformSettings(os="linux", architecture="amd64"),)
    policy = manifest_policy(ValidationSettings(index_platforms=platforms, platform_list=listed), NO_TAGS)
    assert policy.requires_blobs
    assert policy.requires_child(child(platform)) is required


@pytest.mark.parametrize(
    ("allow", "deny", "url", "allowed"),
    [
        ((), (), "https://mcr.microsoft.com/layer", True),
        ((), (), "ftp://example.com/layer", False),
        (("example",), (), "https://www.example.com/", True),
        (("example",), (), "https://other.com/", False),
        (("^https://a/", "^https://b/"), (), "https://b/x", True),
        ((), ("evil",), "https://good/", True),
        ((), ("evil",), "https://evil/", False),
        (("example",), ("evil",), "https://example/evil", False),
        (("example",), (), "https://example/" + "x" * 2032, True),
        (("example",), (), "https://example/" + "x" * 2033, False),
    ],
)
def test_urls_are_checked_against_both_lists(
    allow: tuple[str, ...], deny: tuple[str, ...], url: str, *, allowed: bool
) -> None:
    policy = manifest_policy(ValidationSettings(url_allow=allow, url_deny=deny), NO_TAGS)
    assert policy.allows_url(url) is allowed
