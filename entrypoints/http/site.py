"""The interface of a site that the application serves beside the API."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from config.settings import Settings
from core.ports.audit_log import AuditLog
from core.ports.authenticator import Authenticator
from core.pull_through.origins import Origins
from core.registry.facade import Registry
from entrypoints.http.auditing import Auditor
from entrypoints.http.authentication import Authorizer
from entrypoints.http.dispatch import PlainHandler
from entrypoints.http.operations import Operations
from entrypoints.http.runtime_flags import RuntimeFlags
from entrypoints.http.urls import UrlBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteParts:
    """The parts of the application that a site uses; the site itself checks rights and writes audit records."""

    registry: Registry
    operations: Operations
    settings: Settings
    authenticator: Authenticator
    authorizer: Authorizer
    auditor: Auditor
    audit_log: AuditLog
    """The log of the auditor; some logs can be read back (`AuditTrail`)."""
    flags: RuntimeFlags
    urls: UrlBuilder
    secret: bytes
    """Equal on all replicas; for keys that are derived from it."""
    now: Callable[[], datetime]
    origins: Origins
    """The upstreams of cached repositories."""


NewSite = Callable[[SiteParts], PlainHandler]
"""Returns the handler of all requests below the path of the site."""
