"""The root of the configuration file, and its small sections."""

import re
import warnings
from typing import Any

from marshmallow import ValidationError
from typing_extensions import override

from config.schema.access import AccessSchema, require_compatible
from config.schema.audit import AuditSchema
from config.schema.auth import AuthSchema
from config.schema.base import SectionSchema, Sub, SubList
from config.schema.collections import ListOf, Unused
from config.schema.http import HttpSchema
from config.schema.key import MISSING_VALUE
from config.schema.log import LogSchema
from config.schema.operations import HealthSchema, MiddlewareSchema, NotificationsSchema, ProxySchema
from config.schema.redis import RedisSchema, require_one_redis
from config.schema.retention import RetentionSchema
from config.schema.scalars import Bool, Choice, Integer, SecretText, Text
from config.schema.storage import NO_DRIVER, StorageSchema
from config.settings import (
    AccessSettings,
    AuthSettings,
    CatalogBackend,
    CatalogSettings,
    DescriptorCache,
    IndexPlatforms,
    LogLevel,
    PlatformSettings,
    RedisSettings,
    Settings,
    TagSettings,
    ValidationSettings,
)


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


class CatalogMySqlSchema(SectionSchema):
    """`catalog.mysql`."""

    mysql_dsn = SecretText(
        "dsn", "`user:password@tcp(host:port)/database?parameters`, in the form of Go's MySQL driver."
    )


class CatalogLocalSchema(SectionSchema):
    """`catalog.local`."""

    local_path = Text("path", "The file that holds the names of repositories.")


class CatalogSchema(SectionSchema):
    """`catalog`."""

    settings = CatalogSettings

    entries_max = Integer("maxentries", "Maximum number of names in a page of the catalog.", at_least=1, fallback=1000)
    backend = Choice("backend", "Source of the catalog.", CatalogBackend, allows_lower=True)
    mysql = Sub("mysql", "The backend MYSQL.", CatalogMySqlSchema)
    local = Sub("local", "The backend LOCAL.", CatalogLocalSchema)

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject MYSQL without an address; there is no default, which would have to contain a password."""
        if values.get("backend") is CatalogBackend.MYSQL and not values.get("mysql_dsn"):
            raise ValidationError({"mysql": {"dsn": [MISSING_VALUE]}})
        return values


class TagsSchema(SectionSchema):
    """`tags`."""

    settings = TagSettings

    tags_max = Integer("maxtags", "Maximum number of tags in a page of a tag list; 0 means 1000.")

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Treat 0 as the default."""
        return {name: value for name, value in values.items() if value}


class PlatformSchema(SectionSchema):
    """`validation.manifests.indexes.platformlist[]`."""

    settings = PlatformSettings

    architecture = Text("architecture", "The architecture, as in an image index.", required=MISSING_VALUE)
    os = Text("os", "The operating system.", required=MISSING_VALUE)


class UrlsSchema(SectionSchema):
    """`validation.manifests.urls`."""

    url_allow = ListOf(
        Text(
            "allow",
            "Regular expressions; if any is given, the URL of a layer must match one of them.",
            check=_regex_problem,
        )
    )
    url_deny = ListOf(
        Text("deny", "Regular expressions; layers whose URL matches one of them are refused.", check=_regex_problem)
    )


class IndexesSchema(SectionSchema):
    """`validation.manifests.indexes`."""

    index_platforms = Choice("platforms", "Which images of an index must exist.", IndexPlatforms)
    platform_list = SubList("platformlist", "The platforms for `list`.", PlatformSchema)


class ManifestsSchema(SectionSchema):
    """`validation.manifests`."""

    urls = Sub("urls", "URLs of layers outside the registry.", UrlsSchema)
    indexes = Sub("indexes", "Image indexes.", IndexesSchema)


class ValidationSchema(SectionSchema):
    """`validation`."""

    settings = ValidationSettings

    disabled = Bool("disabled", "Whether to skip the check that the content of pushed manifests is stored.")
    enabled = Bool(
        "enabled", "Old key with the opposite meaning of `disabled`.", replaced_by="disabled", is_negated=True
    )
    manifests = Sub("manifests", "Requirements on manifests.", ManifestsSchema)


class ReportingSchema(SectionSchema):
    """`reporting` of distribution 2."""

    bugsnag = Unused("bugsnag", "Error reports to Bugsnag.")
    newrelic = Unused("newrelic", "Measurements to New Relic.")


class CompatibilitySchema(SectionSchema):
    """`compatibility`."""

    schema1 = Unused("schema1", "Pushes of Docker schema 1 manifests.")


class RepositoryPolicySchema(SectionSchema):
    """`policy.repository`."""

    classes = Unused("classes", "Classes of content that may be pushed.")


class PolicySchema(SectionSchema):
    """`policy`."""

    repository = Sub("repository", "Rules for repositories.", RepositoryPolicySchema)


class RootSchema(SectionSchema):
    """The whole file."""

    settings = Settings

    version = Text("version", "Version of the file format.", choices=("0.1",), required="must be given as 0.1")
    log = Sub("log", "Logs.", LogSchema)
    old_log_level = Choice("loglevel", "Old spelling of `log.level`.", LogLevel, any_case=True, replaced_by="log.level")
    storage = Sub("storage", "The storage of images.", StorageSchema, may_be_bare=True, required=NO_DRIVER)
    auth = Sub("auth", "Authentication of clients.", AuthSchema, may_be_bare=True)
    access = Sub("access", "Access rules.", AccessSchema)
    audit = Sub("audit", "The audit log.", AuditSchema)
    middleware = Sub("middleware", "Middlewares.", MiddlewareSchema)
    reporting = Sub("reporting", "Error reporting.", ReportingSchema)
    http = Sub("http", "The HTTP server.", HttpSchema)
    notifications = Sub("notifications", "Events.", NotificationsSchema)
    redis = Sub("redis", "Redis.", RedisSchema)
    health = Sub("health", "Health checks.", HealthSchema)
    catalog = Sub("catalog", "The catalog of repositories.", CatalogSchema)
    tags = Sub("tags", "Lists of tags.", TagsSchema)
    proxy = Sub("proxy", "The pull-through cache.", ProxySchema)
    compatibility = Sub("compatibility", "Old formats.", CompatibilitySchema)
    retention = Sub("retention", "Retention of tags.", RetentionSchema)
    validation = Sub("validation", "Checks of pushed manifests.", ValidationSchema)
    policy = Sub("policy", "Policies.", PolicySchema)

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Ignore a proxy without an upstream, as distribution does; reject rules that are incompatible with `auth`."""
        require_compatible(values.get("auth", AuthSettings()), values.get("access", AccessSettings()))
        if values["storage"].blob_descriptor_cache is DescriptorCache.REDIS:
            require_one_redis(values.get("redis", RedisSettings()))
        if "proxy" in values and not values["proxy"].remote_url:
            del values["proxy"]
        return values
