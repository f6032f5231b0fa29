"""All settings as plain data: frozen dataclasses whose defaults are the registry's defaults.

Nothing here reads a file or the environment (`config.loader` does) and nothing here knows YAML key names
(`config.schema` does). Durations are seconds as float, sizes are bytes as int; the unit ends the name.
"""

from config.settings.access import AccessSettings, ImmutableTagSettings, RuleActionSetting, RuleSettings
from config.settings.audit import AuditSettings
from config.settings.auth import (
    SIGNING_ALGORITHMS,
    AuthKind,
    AuthSettings,
    HtpasswdSettings,
    SillySettings,
    TokenSettings,
)
from config.settings.http import (
    ClientAuth,
    CorsSettings,
    DebugSettings,
    HttpNetwork,
    HttpSettings,
    LimitSettings,
    TlsSettings,
    TlsVersion,
)
from config.settings.log import AccessLogFormat, LogFormatter, LogLevel, LogSettings
from config.settings.operations import (
    EndpointSettings,
    EventsVersion,
    FileCheckSettings,
    HealthSettings,
    HttpCheckSettings,
    NotificationSettings,
    OutboxBackend,
    OutboxSettings,
    ProxyExecSettings,
    ProxySettings,
    ReadinessSettings,
    StorageCheckSettings,
    TcpCheckSettings,
)
from config.settings.redis import RedisSettings, RedisTlsSettings
from config.settings.retention import RetentionOrder, RetentionRuleSettings, RetentionSettings
from config.settings.root import (
    CatalogBackend,
    CatalogSettings,
    IndexPlatforms,
    MiddlewareEntry,
    MiddlewareSettings,
    PlatformSettings,
    Settings,
    TagSettings,
    ValidationSettings,
)
from config.settings.secret import Secret
from config.settings.storage import (
    SCS_REGIONS,
    DescriptorCache,
    FilesystemSettings,
    S3Settings,
    ScsSettings,
    StorageKind,
    StorageSettings,
    UploadPurgingSettings,
)

__all__ = [
    "SCS_REGIONS",
    "SIGNING_ALGORITHMS",
    "AccessLogFormat",
    "AccessSettings",
    "AuditSettings",
    "AuthKind",
    "AuthSettings",
    "CatalogBackend",
    "CatalogSettings",
    "ClientAuth",
    "CorsSettings",
    "DebugSettings",
    "DescriptorCache",
    "EndpointSettings",
    "EventsVersion",
    "FileCheckSettings",
    "FilesystemSettings",
    "HealthSettings",
    "HtpasswdSettings",
    "HttpCheckSettings",
    "HttpNetwork",
    "HttpSettings",
    "ImmutableTagSettings",
    "IndexPlatforms",
    "LimitSettings",
    "LogFormatter",
    "LogLevel",
    "LogSettings",
    "MiddlewareEntry",
    "MiddlewareSettings",
    "NotificationSettings",
    "OutboxBackend",
    "OutboxSettings",
    "PlatformSettings",
    "ProxyExecSettings",
    "ProxySettings",
    "ReadinessSettings",
    "RedisSettings",
    "RedisTlsSettings",
    "RetentionOrder",
    "RetentionRuleSettings",
    "RetentionSettings",
    "RuleActionSetting",
    "RuleSettings",
    "S3Settings",
    "ScsSettings",
    "Secret",
    "Settings",
    "SillySettings",
    "StorageCheckSettings",
    "StorageKind",
    "StorageSettings",
    "TagSettings",
    "TcpCheckSettings",
    "TlsSettings",
    "TlsVersion",
    "TokenSettings",
    "UploadPurgingSettings",
    "ValidationSettings",
]
