"""All settings: frozen dataclasses that declare each key once, with its meaning, limits and default.

`core.model.setting` describes a declaration. This package reads no file and no environment (`config.loader` does).
Durations are seconds as float, sizes are bytes as int; names end in the unit. Some sections are declared where their
values are used: the options of object stores and of Redis in the adapters, access and retention rules in the core.
"""

from adapters.descriptor_cache.redis_options import RedisOptions
from adapters.upstream.options import ProxyExecSettings, UpstreamOptions
from config.settings.access import AccessSettings
from config.settings.acme import AcmeChallenge, LetsEncryptSettings
from config.settings.audit import AuditSettings
from config.settings.auth import (
    AuthKind,
    AuthSettings,
    HtpasswdSettings,
    SillySettings,
    TokenSettings,
    WorkloadSettings,
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
from config.settings.middleware import (
    IpFilter,
    MiddlewareEntry,
    MiddlewareSettings,
    StorageMiddleware,
    StorageMiddlewareName,
    StorageMiddlewareOptions,
    find_idle_middlewares,
)
from config.settings.mirrors import MirrorSettings
from config.settings.oidc import OidcSettings
from config.settings.operations import (
    EndpointSettings,
    FileCheckSettings,
    HealthSettings,
    HttpCheckSettings,
    NotificationSettings,
    OutboxBackend,
    OutboxSettings,
    ReadinessSettings,
    StorageCheckSettings,
    TcpCheckSettings,
)
from config.settings.proxy import HUB_HOSTS, ProxySettings, UnknownHosts, has_credentials
from config.settings.retention import RetentionSettings
from config.settings.root import (
    CatalogBackend,
    CatalogSettings,
    IndexPlatforms,
    PlatformSettings,
    Settings,
    TagSettings,
    ValidationSettings,
)
from config.settings.storage import (
    DescriptorCache,
    FilesystemSettings,
    GarbageCollectionSettings,
    StorageKind,
    StorageSettings,
    UploadPurgingSettings,
    VerificationSettings,
)
from config.settings.summaries import SummarySettings
from config.settings.ui import UiSettings
from core.model.secret import Secret
