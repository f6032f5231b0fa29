"""Warnings at start for settings that work but are probably not intended."""

import logging

from config.container import ServerParts
from config.settings import HttpNetwork, Settings
from core.model.access import AccessPolicy, RuleAction
from entrypoints.observability.debug import is_public

_logger = logging.getLogger(__name__)


def warn_at_start(parts: ServerParts) -> None:
    """Log one line for each setting that works but is probably not intended."""
    settings = parts.settings
    if settings.http.secret is None:
        _logger.warning(
            "http.secret is not set: uploads fail if the next chunk arrives at another replica or after a restart; "
            "set REGISTRY_HTTP_SECRET to the same text on all replicas"
        )
    if settings.access.immutable_tags and not parts.creates_exclusively:
        _logger.warning(
            "access.immutabletags: this storage cannot create objects exclusively; if two processes create a tag at "
            "the same moment, the later push wins"
        )
    if _lets_anybody_delete(settings, parts.policy):
        _logger.warning(
            "%s may be reachable from other machines, and images can be deleted without a password; "
            "set auth and access.rules, or set storage.delete.enabled to false",
            settings.http.addr,
        )


def _lets_anybody_delete(settings: Settings, policy: AccessPolicy) -> bool:
    http = settings.http
    is_reachable = http.net is HttpNetwork.TCP and is_public(http.addr)
    has_client_certificates = http.tls is not None and bool(http.tls.client_cas)
    may_delete = settings.storage.delete_enabled and policy.allows_anonymous(RuleAction.DELETE)
    return is_reachable and may_delete and not has_client_certificates
