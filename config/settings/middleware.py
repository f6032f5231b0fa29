"""`middleware`: the middlewares of the storage, which name the URLs of redirects; all others are ignored."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from adapters.addresses import endpoint_problem, is_web_url
from config.durations import parse_duration
from core.model.setting import MISSING_VALUE, OldKey, SettingInvalidError, section, setting

_DEFAULT_VALIDITY: Final = "20m"
_DEFAULT_FREQUENCY: Final = "12h"
_SECONDS_MIN: Final = 1.0
_FREQUENCY_SECONDS_MIN: Final = 60.0
_KEY_PAIR_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SCHEME: Final = re.compile(r"https?")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


class StorageMiddlewareName(StrEnum):
    """The storage middlewares of distribution 2 and 3."""

    REDIRECT = "redirect"
    CLOUDFRONT = "cloudfront"
    REWRITE = "rewrite"
    ALICDN = "alicdn"


class IpFilter(StrEnum):
    """The clients that CloudFront does not serve."""

    NONE = "none"
    AWS = "aws"
    AWS_REGION = "awsregion"


_REQUIRED: Final[Mapping[str, Mapping[str, str]]] = {
    StorageMiddlewareName.REDIRECT: {"base_url": "baseurl"},
    StorageMiddlewareName.CLOUDFRONT: {
        "base_url": "baseurl",
        "private_key": "privatekey",
        "key_pair_id": "keypairid",
    },
}


def _base_url_problem(text: str) -> str | None:
    return endpoint_problem(text) or ("must not contain a user or a fragment" if {"@", "#"} & set(text) else None)


def _web_url_problem(text: str) -> str | None:
    return None if is_web_url(text) else "must be a URL such as https://ip-ranges.amazonaws.com/ip-ranges.json"


def _key_pair_problem(text: str) -> str | None:
    return None if _KEY_PAIR_ID.fullmatch(text) else "must be the id of a public key at CloudFront"


def _scheme_problem(text: str) -> str | None:
    return None if _SCHEME.fullmatch(text) else "must be http or https"


def _host_problem(text: str) -> str | None:
    return None if _HOST.fullmatch(text) else "must be `host` or `host:port`"


def _path_problem(text: str) -> str | None:
    return None if re.fullmatch(r"/[!-~]*", text) else "must be a path such as /images"


def _duration_problem(text: str) -> str | None:
    if text.isdecimal():
        return None
    try:
        is_one = parse_duration(text) >= _SECONDS_MIN
    except ValueError:
        is_one = False
    return None if is_one else "must be a duration of at least 1s, such as 3000s or 20m"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageMiddlewareOptions:
    """Parameters of the storage middlewares; each uses some of them."""

    base_url: str = setting(
        "baseurl",
        "`redirect`: the URL at which another server offers the tree of the storage. `cloudfront`: the URL of the "
        "bucket's root at CloudFront.",
        "",
        check=_base_url_problem,
    )
    private_key: str = setting("privatekey", "`cloudfront`: PEM file of the RSA key that signs URLs.", "")
    key_pair_id: str = setting(
        "keypairid", "`cloudfront`: CloudFront's id of the public key.", "", check=_key_pair_problem
    )
    # A text, because distribution takes a number without a unit for the default.
    validity: str = setting(
        "duration",
        "`cloudfront`: how long a signed URL is valid; a number without a unit means the default.",
        _DEFAULT_VALIDITY,
        check=_duration_problem,
    )
    ip_filter: IpFilter = setting(
        "ipfilteredby",
        "`cloudfront`: clients that are redirected to the store instead: `aws`, those in any network of AWS; "
        "`awsregion`, those in the regions of `awsregion`.",
        IpFilter.NONE,
        any_case=True,
    )
    aws_regions: tuple[str, ...] = setting(
        "awsregion", "`cloudfront`: AWS regions for `ipfilteredby: awsregion`, also in one text with commas.", ()
    )
    update_frequency: str = setting(
        "updatefrequency",
        "`cloudfront`: time between two requests for the list of AWS's networks; a number without a unit means the "
        "default.",
        _DEFAULT_FREQUENCY,
        check=_duration_problem,
    )
    misspelt_frequency: ClassVar = OldKey(
        "updatefrenquency", "Old spelling of `updatefrequency`.", str, replaced_by="updatefrequency"
    )
    ip_ranges_url: str = setting(
        "iprangesurl",
        "`cloudfront`: URL of the list of AWS's networks.",
        "https://ip-ranges.amazonaws.com/ip-ranges.json",
        check=_web_url_problem,
    )
    scheme: str = setting("scheme", "`rewrite`: the scheme of URLs.", "", check=_scheme_problem)
    host: str = setting("host", "`rewrite`: the host of URLs, with or without a port.", "", check=_host_problem)
    trim_path_prefix: str = setting(
        "trimpathprefix", "`rewrite`: removed from the beginning of paths.", "", check=_path_problem
    )

    @property
    def validity_seconds(self) -> float:
        """How long a signed URL is valid."""
        return parse_duration(_DEFAULT_VALIDITY if self.validity.isdecimal() else self.validity)

    @property
    def update_seconds(self) -> float:
        """The time between two requests for the list of networks, at least a minute."""
        text = _DEFAULT_FREQUENCY if self.update_frequency.isdecimal() else self.update_frequency
        return max(parse_duration(text), _FREQUENCY_SECONDS_MIN)

    @property
    def regions(self) -> tuple[str, ...]:
        """The AWS regions in lower case."""
        names = (name.strip().lower() for text in self.aws_regions for name in text.split(","))
        return tuple(name for name in names if name)

    @property
    def cloudfront_url(self) -> str:
        """The URL of the bucket's root at CloudFront, with scheme and final slash, as in distribution."""
        url = self.base_url if "://" in self.base_url else f"https://{self.base_url}"
        return url if url.endswith("/") else f"{url}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageMiddleware:
    """One middleware of the storage."""

    name: StorageMiddlewareName | None = setting(
        "name", "The middleware's name; `alicdn` is ignored with a warning.", None, required=MISSING_VALUE
    )
    disabled: bool = setting("disabled", "Whether the middleware is off.", default=False)
    options: StorageMiddlewareOptions = section("options", "Parameters of the middleware.", StorageMiddlewareOptions)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject a middleware that lacks a required option."""
        name, options = values.get("name"), values.get("options", StorageMiddlewareOptions())
        if values.get("disabled") or name is None:
            return values
        problems = {
            key: [MISSING_VALUE] for field, key in _REQUIRED.get(name, {}).items() if not getattr(options, field)
        }
        if name is StorageMiddlewareName.REDIRECT and options.base_url and not urlsplit(options.base_url).netloc:
            problems["baseurl"] = ["must begin with http:// or https://"]
        if options.ip_filter is IpFilter.AWS_REGION and not options.regions:
            problems["awsregion"] = [f"{MISSING_VALUE}: `ipfilteredby` is awsregion"]
        if problems:
            raise SettingInvalidError({"options": problems})
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class MiddlewareEntry:
    """A middleware that distribution's registry could contain, with its options as written in the file."""

    name: str = setting("name", "The middleware's name.", "", required=MISSING_VALUE)
    disabled: bool = setting("disabled", "Whether the middleware is off.", default=False)
    options: Mapping[str, object] = setting("options", "Parameters of the middleware.", {})

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject options that are not a mapping."""
        if not isinstance(values.get("options", {}), dict):
            raise SettingInvalidError({"options": ["must be a mapping of names to values"]})
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class MiddlewareSettings:
    """Middlewares in the order of wrapping: a later one changes the URLs of the earlier ones."""

    registry: tuple[MiddlewareEntry, ...] = setting("registry", "Middlewares of the registry.", ())
    repository: tuple[MiddlewareEntry, ...] = setting("repository", "Middlewares of each repository.", ())
    storage: tuple[StorageMiddleware, ...] = setting("storage", "Middlewares of the storage.", ())

    @property
    def redirecting(self) -> tuple[StorageMiddleware, ...]:
        """The enabled middlewares of the storage that have an effect, in the order of wrapping."""
        return tuple(
            each for each in self.storage if not each.disabled and each.name is not StorageMiddlewareName.ALICDN
        )


def find_idle_middlewares(settings: MiddlewareSettings, *, is_s3: bool, redirects: bool) -> list[str]:
    """Return a message for each enabled middleware of the storage that has no effect, as in distribution.

    Args:
        settings: the middlewares.
        is_s3: whether the storage is an S3 bucket.
        redirects: whether clients are redirected at all.
    """
    messages: list[str] = []
    has_inner = False
    for index, each in enumerate(settings.storage):
        key = f"middleware.storage[{index}]"
        if each.disabled:
            continue
        if each.name is StorageMiddlewareName.ALICDN:
            messages.append(f"`{key}`: alicdn is not supported by this version: clients are redirected to the store")
        elif not redirects:
            messages.append(f"`{key}`: {each.name} has no effect, because `storage.redirect.disable` is true")
        elif each.name is StorageMiddlewareName.CLOUDFRONT and not is_s3:
            messages.append(f"`{key}`: cloudfront has no effect, because it works with `storage.s3` only")
        elif each.name is StorageMiddlewareName.CLOUDFRONT and has_inner:
            messages.append(f"`{key}`: cloudfront has no effect after another middleware; make it the first one")
        has_inner = True
    return messages
