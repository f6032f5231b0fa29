"""The root of the settings, and small sections without a module of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from config.settings.access import AccessSettings
from config.settings.audit import AuditSettings
from config.settings.auth import AuthSettings
from config.settings.http import HttpSettings
from config.settings.log import LogSettings
from config.settings.operations import HealthSettings, NotificationSettings, ProxySettings
from config.settings.redis import RedisSettings
from config.settings.retention import RetentionSettings
from config.settings.secret import Secret
from config.settings.storage import StorageSettings


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

    backend: CatalogBackend = CatalogBackend.LISTING
    mysql_dsn: Secret | None = None
    """Go-style DSN; the loader guarantees it when `backend` is MYSQL."""
    local_path: str = "/opt/registry/repositories"
    entries_max: int = 1000
    """The largest page, and the page size of a request without `n`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSettings:
    """The size of tag list pages."""

    tags_max: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """A platform whose image must exist when an index is pushed."""

    architecture: str = ""
    os: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSettings:
    """Requirements for a pushed manifest."""

    disabled: bool = False
    url_allow: tuple[str, ...] = ()
    """Regular expressions to search for in a layer's URL; if there are any, one must match."""
    url_deny: tuple[str, ...] = ()
    """Regular expressions of which none may match. If both lists are empty, every http(s) URL is allowed."""
    index_platforms: IndexPlatforms = IndexPlatforms.ALL
    platform_list: tuple[PlatformSettings, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MiddlewareEntry:
    """One named middleware, with its options as written in the file."""

    name: str = ""
    disabled: bool = False
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MiddlewareSettings:
    """Middlewares in the order of wrapping."""

    registry: tuple[MiddlewareEntry, ...] = ()
    repository: tuple[MiddlewareEntry, ...] = ()
    storage: tuple[MiddlewareEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the operator, validated and immutable; one instance per process start or reload."""

    version: str = "0.1"
    """The version of the configuration format."""
    log: LogSettings = field(default_factory=LogSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    catalog: CatalogSettings = field(default_factory=CatalogSettings)
    tags: TagSettings = field(default_factory=TagSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    notifications: NotificationSettings = field(default_factory=NotificationSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    redis: RedisSettings | None = None
    proxy: ProxySettings | None = None
    middleware: MiddlewareSettings = field(default_factory=MiddlewareSettings)
