"""Warnings at start for settings that work but are probably not intended."""

import logging
import re
from collections.abc import Sequence
from typing import Final

from config.container import ServerParts
from config.settings import AuthSettings, HttpNetwork, Settings, has_credentials
from core.model.access import EVERYONE, AccessPolicy, RuleAction
from entrypoints.observability.reach import is_public

_logger = logging.getLogger(__name__)

_WILDCARD: Final = re.compile(r"[*?]")


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
    for prefix in _open_upstreams(settings, parts.policy):
        _logger.warning(
            "every client may pull below %s with the registry's credentials for that upstream; "
            "restrict access.rules, or allow only public repositories (proxy.upstreams[].allow)",
            prefix or "/",
        )
    for issuer in _issuers_without_tls(settings.auth):
        _logger.warning(
            "the issuer %s has no TLS: an attacker on the network can name any user; use its https URL, with "
            "`ca` for a private authority",
            issuer,
        )


def _issuers_without_tls(auth: AuthSettings) -> Sequence[str]:
    issuers = [each.issuer for each in auth.workloads] + ([auth.oidc.issuer] if auth.has_provider else [])
    return [each for each in dict.fromkeys(issuers) if each.startswith("http:")]


def _open_upstreams(settings: Settings, policy: AccessPolicy) -> Sequence[str]:
    """Return the prefixes of upstreams with credentials below which clients without a login may pull."""
    upstreams = () if settings.proxy is None else settings.proxy.all_upstreams
    rules = [rule for rule in policy.rules if EVERYONE in rule.who and RuleAction.PULL in rule.actions]
    globs = [glob for rule in rules for glob in rule.repositories]
    return [
        each.prefix
        for each in upstreams
        if has_credentials(each) and any(_may_match_below(glob, each.prefix) for glob in globs)
    ]


def _may_match_below(glob: str, prefix: str) -> bool:
    """Whether a glob may match a name below a prefix, by its text before the first wildcard."""
    literal, below = _WILDCARD.split(glob)[0], f"{prefix}/" if prefix else ""
    return literal.startswith(below) or (literal != glob and below.startswith(literal))


def _lets_anybody_delete(settings: Settings, policy: AccessPolicy) -> bool:
    http = settings.http
    is_reachable = http.net is HttpNetwork.TCP and is_public(http.addr)
    has_client_certificates = http.tls is not None and bool(http.tls.client_cas)
    may_delete = settings.storage.delete_enabled and policy.allows_anonymous(RuleAction.DELETE)
    return is_reachable and may_delete and not has_client_certificates
