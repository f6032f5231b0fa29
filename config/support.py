"""Settings of distribution that this version does not support: one table, reported at start.

When a later version adds support, its row is deleted. REFUSE is for settings without which the registry would be more
open, or reachable in another way, than its operator expects; all others are reported and ignored.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from config.tree import Node, Scalar, Section, find_node


class Severity(Enum):
    """The reaction to an unsupported setting; a NOTE loses nothing."""

    REFUSE = "the registry does not start"
    WARN = "a warning at start"
    NOTE = "a debug line at start"


@dataclass(frozen=True, slots=True)
class Unsupported:
    """An unsupported key, the reaction to it, and the alternative."""

    key: str
    severity: Severity
    instead: str

    @property
    def counts_when_empty(self) -> bool:
        """Whether the presence of the key alone is significant, as for a driver or an authentication method."""
        return re.fullmatch(r"(?:auth|storage)\.[a-z0-9]+", self.key) is not None


UNSUPPORTED: Final = (
    Unsupported("storage.azure", Severity.REFUSE, "use s3, scs or filesystem"),
    Unsupported("storage.rados", Severity.REFUSE, "use s3 with Ceph's RADOS gateway"),
    *(
        Unsupported(f"storage.gcs.{key}", Severity.NOTE, "remove it; the HMAC key in accesskey and secretkey is used")
        for key in ("keyfile", "credentials")
    ),
    *(
        Unsupported(f"storage.swift.{key}", Severity.NOTE, "remove it; ec2accesskey and ec2secretkey are used")
        for key in (
            *("username", "password", "authurl", "authversion", "tenant", "tenantid", "tenantdomain"),
            *("tenantdomainid", "domain", "domainid", "trustid", "region", "endpointtype"),
        )
    ),
    *(
        Unsupported(f"storage.swift.{key}", Severity.NOTE, "remove it; redirects are signed with ec2secretkey")
        for key in ("secretkey", "accesskey", "tempurlcontainerkey", "tempurlmethods")
    ),
    Unsupported("middleware.registry", Severity.WARN, "remove it; distribution includes no such middleware either"),
    Unsupported("middleware.repository", Severity.WARN, "remove it; distribution includes no such middleware either"),
    *(
        Unsupported(f"redis.{key}", Severity.WARN, "clusters are not supported; name one server, or sentinels")
        for key in ("maxredirects", "readonly", "routebylatency", "routerandomly")
    ),
    *(
        Unsupported(f"redis.{key}", Severity.NOTE, "the registry keeps connections open until they fail")
        for key in ("minidleconns", "maxidleconns", "connmaxidletime", "connmaxlifetime", "poolfifo")
    ),
    *(
        Unsupported(f"redis.{key}", Severity.NOTE, "remove it; it configures distribution's Redis client only")
        for key in ("contexttimeoutenabled", "disableidentity", "disableindentity", "identitysuffix", "unstableresp3")
    ),
    Unsupported("storage.tag.concurrencylimit", Severity.NOTE, "remove it; the registry limits its requests itself"),
    Unsupported("storage.s3.loglevel", Severity.NOTE, "use log.level"),
    Unsupported("http.http2.disabled", Severity.NOTE, "remove it; the registry uses HTTP/1.1 only"),
    Unsupported("http.h2c.enabled", Severity.WARN, "use a proxy in front for HTTP/2"),
    Unsupported(
        "http.tls.letsencrypt.cachefile",
        Severity.NOTE,
        "remove it; certificates are kept in the store, encrypted with a key derived from http.secret",
    ),
    Unsupported(
        "reporting.bugsnag",
        Severity.WARN,
        "collect the errors from the log (log.formatter: json), get them as mails (log.hooks), or send traces by "
        "OpenTelemetry (OTEL_EXPORTER_OTLP_ENDPOINT)",
    ),
    Unsupported(
        "reporting.newrelic",
        Severity.WARN,
        "scrape the metrics (http.debug.prometheus), or send traces by OpenTelemetry, which New Relic accepts "
        "(OTEL_EXPORTER_OTLP_ENDPOINT)",
    ),
    Unsupported("compatibility.schema1", Severity.WARN, "push images in schema 2 or OCI format"),
    Unsupported("policy.repository.classes", Severity.WARN, "remove it; the registry accepts all classes of content"),
)


def check_support(root: Section) -> dict[Severity, list[str]]:
    """Return one message for each row of the table that applies to the configuration."""
    found: dict[Severity, list[str]] = {severity: [] for severity in Severity}
    for row in UNSUPPORTED:
        node = find_node(root, tuple(row.key.split(".")))
        if node is not None and (row.counts_when_empty or _is_given(node)):
            found[row.severity].append(f"{node.source}: `{row.key}` is not supported by this version: {row.instead}")
    return found


def _is_given(node: Node) -> bool:
    """Whether a value has an effect: empty values and disabled switches have none."""
    if isinstance(node, Scalar):
        return not node.is_empty and node.value is not False
    children = node.values() if isinstance(node, Section) else node
    return any(_is_given(child) for child in children)
