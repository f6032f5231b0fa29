"""The root of the settings, and small sections without a module of their own."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from adapters.descriptor_cache.redis_options import RedisOptions
from config.settings.access import AccessSettings
from config.settings.audit import AuditSettings
from config.settings.auth import AuthKind, AuthSettings
from config.settings.http import HttpSettings
from config.settings.log import LogLevel, LogSettings
from config.settings.middleware import MiddlewareSettings
from config.settings.mirrors import MirrorSettings, find_mirror_problems
from config.settings.operations import HealthSettings, NotificationSettings
from config.settings.proxy import ProxySettings
from config.settings.retention import RetentionSettings
from config.settings.storage import NO_DRIVER, DescriptorCache, StorageSettings
from config.settings.summaries import SummarySettings
from config.settings.ui import UiSettings
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, Group, OldKey, SettingInvalidError, Unused, section, setting


def _regex_problem(text: str) -> str | None:
    # Python warns about expressions that have another meaning in Go (`[[:alpha:]]`); a guess could allow or deny the
    # wrong URLs.
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        try:
            re.compile(text)
        except (re.error, FutureWarning, RecursionError, OverflowError):
            return "must be a regular expression of Python"
    return None


_PLATFORMS_PROBLEM: Final = (
    "needs `validation.manifests.indexes.platforms: none`, or `list` with none but these platforms: otherwise the "
    "registry accepts no index without all its images"
)


class CatalogBackend(StrEnum):
    """The source of `GET /v2/_catalog`; the values are those of `SEARCH_BACKEND`."""

    LISTING = "LISTING"
    MYSQL = "MYSQL"
    LOCAL = "LOCAL"


class IndexPlatforms(StrEnum):
    """The children of an image index that must exist when it is pushed."""

    ALL = "all"
    NONE = "none"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogSettings:
    """The index of repository names and the size of its pages."""

    entries_max: int = setting(
        "maxentries", "Maximum number of names in a page of the catalog.", 1000, at_least=1, fallback=1000
    )
    """Also the page size of a request without `n`."""
    backend: CatalogBackend = setting("backend", "Source of the catalog.", CatalogBackend.LISTING, allows_lower=True)
    mysql: ClassVar = Group("mysql", "The backend MYSQL.")
    mysql_dsn: Secret | None = setting(
        "mysql.dsn", "`user:password@tcp(host:port)/database?parameters`, in the form of Go's MySQL driver.", None
    )
    local: ClassVar = Group("local", "The backend LOCAL.")
    local_path: str = setting(
        "local.path", "The file that holds the names of repositories.", "/opt/registry/repositories"
    )

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject MYSQL without an address; there is no default, which would have to contain a password."""
        if values.get("backend") is CatalogBackend.MYSQL and not values.get("mysql_dsn"):
            raise SettingInvalidError({"mysql": {"dsn": [MISSING_VALUE]}})
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSettings:
    """The size of tag list pages."""

    tags_max: int = setting("maxtags", "Maximum number of tags in a page of a tag list; 0 means 1000.", 1000)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Treat 0 as the default."""
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """A platform whose image must exist when an index is pushed."""

    architecture: str = setting("architecture", "The architecture, as in an image index.", "", required=MISSING_VALUE)
    os: str = setting("os", "The operating system.", "", required=MISSING_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSettings:
    """Requirements for a pushed manifest."""

    disabled: bool = setting(
        "disabled", "Whether to skip the check that the content of pushed manifests is stored.", default=False
    )
    enabled: ClassVar = OldKey(
        "enabled", "Old key with the opposite meaning of `disabled`.", bool, replaced_by="disabled", is_negated=True
    )
    manifests: ClassVar = Group("manifests", "Requirements on manifests.")
    # If both lists are empty, every http(s) URL is allowed.
    urls: ClassVar = Group("manifests.urls", "URLs of layers outside the registry.")
    url_allow: tuple[str, ...] = setting(
        "manifests.urls.allow",
        "Regular expressions; if any is given, the URL of a layer must match one of them.",
        (),
        check=_regex_problem,
    )
    url_deny: tuple[str, ...] = setting(
        "manifests.urls.deny",
        "Regular expressions; layers whose URL matches one of them are refused.",
        (),
        check=_regex_problem,
    )
    indexes: ClassVar = Group("manifests.indexes", "Image indexes.")
    index_platforms: IndexPlatforms = setting(
        "manifests.indexes.platforms", "Which images of an index must exist.", IndexPlatforms.ALL
    )
    platform_list: tuple[PlatformSettings, ...] = setting(
        "manifests.indexes.platformlist", "The platforms for `list`.", ()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the operator, validated and immutable; one instance per process start or reload."""

    version: str = setting(
        "version", "Version of the file format.", "0.1", choices=("0.1",), required="must be given as 0.1"
    )
    log: LogSettings = section("log", "Logs.", LogSettings)
    old_log_level: ClassVar = OldKey(
        "loglevel", "Old spelling of `log.level`.", LogLevel, any_case=True, replaced_by="log.level"
    )
    storage: StorageSettings = section(
        "storage", "The storage of images.", StorageSettings, may_be_bare=True, required=NO_DRIVER
    )
    auth: AuthSettings = section(
        "auth", "Authentication of clients.", AuthSettings, may_be_bare=True, refuses_unknown=True
    )
    access: AccessSettings = section("access", "Access rules.", AccessSettings, refuses_unknown=True)
    audit: AuditSettings = section("audit", "The audit log.", AuditSettings, refuses_unknown=True)
    middleware: MiddlewareSettings = section("middleware", "Middlewares.", MiddlewareSettings)
    reporting: ClassVar = Group("reporting", "Error reporting.")
    bugsnag: ClassVar = Unused("reporting.bugsnag", "Error reports to Bugsnag.")
    newrelic: ClassVar = Unused("reporting.newrelic", "Measurements to New Relic.")
    http: HttpSettings = section("http", "The HTTP server.", HttpSettings)
    notifications: NotificationSettings = section("notifications", "Events.", NotificationSettings)
    redis: RedisOptions | None = setting("redis", "Redis.", None, transparent=("OPTIONS",))
    health: HealthSettings = section("health", "Health checks.", HealthSettings)
    catalog: CatalogSettings = section("catalog", "The catalog of repositories.", CatalogSettings)
    summaries: SummarySettings = section(
        "summaries", "Summaries of repositories, for lists and search.", SummarySettings
    )
    tags: TagSettings = section("tags", "Lists of tags.", TagSettings)
    ui: UiSettings = section("ui", "The web page.", UiSettings, refuses_unknown=True)
    proxy: ProxySettings | None = setting("proxy", "The pull-through cache.", None)
    mirrors: tuple[MirrorSettings, ...] = setting(
        "mirrors",
        "Repositories of other registries that are copied into this one at intervals.",
        (),
        refuses_unknown=True,
    )
    compatibility: ClassVar = Group("compatibility", "Old formats.")
    schema1: ClassVar = Unused("compatibility.schema1", "Pushes of Docker schema 1 manifests.")
    retention: RetentionSettings = section("retention", "Retention of tags.", RetentionSettings, refuses_unknown=True)
    validation: ValidationSettings = section("validation", "Checks of pushed manifests.", ValidationSettings)
    policy: ClassVar = Group("policy", "Policies.")
    repository_policy: ClassVar = Group("policy.repository", "Rules for repositories.")
    classes: ClassVar = Unused("policy.repository.classes", "Classes of content that may be pushed.")

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Ignore a proxy without an upstream, as distribution does; reject sections that are incompatible."""
        _require_compatible(
            values.get("auth", AuthSettings()), values.get("access", AccessSettings()), values.get("http")
        )
        if values["storage"].blob_descriptor_cache is DescriptorCache.REDIS:
            _require_one_redis(values.get("redis", RedisOptions()))
        if "proxy" in values and not values["proxy"].is_configured:
            del values["proxy"]
        _require_mirrors(values)
        return values


def _require_mirrors(values: Mapping[str, Any]) -> None:
    """Reject mirrors that share a name, copy into a cached repository, or copy what the registry does not accept."""
    validation, proxy = values.get("validation", ValidationSettings()), values.get("proxy")
    prefixes = [each.prefix for each in proxy.all_upstreams] if proxy else []
    problems = find_mirror_problems(values.get("mirrors", ()), cached_prefixes=prefixes)
    for index, mirror in enumerate(values.get("mirrors", ())):
        if mirror.platforms and not _allows_missing(validation, mirror.platforms):
            problems.setdefault(index, {})["platforms"] = [_PLATFORMS_PROBLEM]
    if problems:
        raise SettingInvalidError({"mirrors": problems})


def _allows_missing(validation: ValidationSettings, platforms: Sequence[str]) -> bool:
    """Whether an index may lack all images but those of these platforms."""
    if validation.disabled or validation.index_platforms is IndexPlatforms.NONE:
        return True
    listed = {f"{each.os}/{each.architecture}" for each in validation.platform_list}
    return validation.index_platforms is IndexPlatforms.LIST and listed <= set(platforms)


def _require_one_redis(redis: RedisOptions) -> None:
    """Reject a descriptor cache in Redis without an address, or in a cluster, which is not supported."""
    if not redis.addrs:
        problem = f"{MISSING_VALUE}: `storage.cache.blobdescriptor` is redis"
    elif len(redis.addrs) > 1 and redis.master_name is None:
        problem = "must be one server, or sentinels with `redis.mastername`; clusters are not supported"
    else:
        return
    raise SettingInvalidError({"redis": {"addrs": [problem]}})


def _require_compatible(auth: AuthSettings, access: AccessSettings, http: HttpSettings | None) -> None:
    """Reject rules that would never apply, or whose groups would be empty."""
    if access.rules and auth.methods == (AuthKind.TOKEN,):
        raise SettingInvalidError(
            {"access": {"rules": ["cannot be combined with `auth.token`: the token server grants access"]}}
        )
    identity = http.tls.client_identity if http and http.tls else None
    if identity and auth.methods == (AuthKind.TOKEN,):
        raise SettingInvalidError(
            {
                "http": {
                    "tls": {"clientidentity": ["cannot be combined with `auth.token`: the token server grants access"]}
                }
            }
        )
    if identity and identity.prefix in auth.prefixes:
        problem = "must differ from the prefixes of the users of `auth.workloads` and `auth.oidc`"
        raise SettingInvalidError({"http": {"tls": {"clientidentity": {"prefix": [problem]}}}})
    if access.group_file and not auth.has_passwords:
        raise SettingInvalidError(
            {"access": {"groupfile": ["needs `auth.htpasswd`: other methods have no users in groups"]}}
        )
    groups = [name.removeprefix("@") for rule in access.rules for name in rule.who if name.startswith("@")]
    sources = [*auth.group_sources, *([identity.names_group] if identity else [])]
    if not access.group_file and any(not any(names(group) for names in sources) for group in groups):
        raise SettingInvalidError({"access": {"groupfile": [f"{MISSING_VALUE}: a rule names a group"]}})
    if auth.has_provider and not access.rules:
        problem = f"{MISSING_VALUE}: without rules, every person whom `auth.oidc` lets in may do everything"
        raise SettingInvalidError({"access": {"rules": [problem]}})
