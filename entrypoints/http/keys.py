"""Typed keys for values stored in an application or a request."""

from typing import Final

from aiohttp import web

from config.settings import LimitSettings
from core.model.access import Caller, Principal
from core.model.freshness import Freshness
from core.ports.audit_log import AuditAction
from entrypoints.http.draining import InFlight
from entrypoints.http.forwarding import Client
from entrypoints.http.routes import Target
from entrypoints.http.runtime_flags import RuntimeFlags

IN_FLIGHT: Final = web.AppKey("IN_FLIGHT", InFlight)
"""The requests in flight."""
RUNTIME_FLAGS: Final = web.AppKey("RUNTIME_FLAGS", RuntimeFlags)
"""Settings that may change while the application serves."""
CLIENT: Final = web.RequestKey("CLIENT", Client)
"""Sender of the request, as far as the headers of proxies are trusted."""
BODY_LIMITS: Final = web.RequestKey("BODY_LIMITS", LimitSettings)
"""Limits on the size and the duration of the request's body."""
BEGUN: Final = web.RequestKey("BEGUN", bool)
"""Set once the head of the response is being sent: no other response is possible then."""
REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
"""Id of the request in every log line and in the `X-Request-Id` header."""
TRACE_ID: Final = web.RequestKey("TRACE_ID", str)
"""W3C trace id of the request, if there is one."""
ROUTE: Final = web.RequestKey("ROUTE", Target)
"""Target that the path matches; not set if it matches no endpoint."""
TARGET: Final = web.RequestKey("TARGET", Target)
"""`ROUTE` of a request that the limits let in, with the local name of the repository; logged and audited."""
NAMESPACE: Final = web.RequestKey("NAMESPACE", str)
"""The parameter `ns` as the client sent it, if the name of the repository follows from it."""
FRESHNESS: Final = web.RequestKey("FRESHNESS", Freshness)
"""How the cache obtained the content of the response; not set for a local repository."""
ERROR_CODE: Final = web.RequestKey("ERROR_CODE", str)
"""OCI error code of the response, if it is an error."""
AUDIT_ACTION: Final = web.RequestKey("AUDIT_ACTION", AuditAction)
"""Audit action of the request, if its path does not determine it."""
AUDIT_TAGS: Final = web.RequestKey("AUDIT_TAGS", tuple[str, ...])
"""The tags that the request changes, if its path does not name them."""
CLAIMED_USER: Final = web.RequestKey("CLAIMED_USER", str)
"""User name of a sign-in, not verified."""
SIGNED_IN: Final = web.RequestKey("SIGNED_IN", Principal)
"""Whom valid credentials identified; set also if the request is then refused for lack of rights."""
AUDIT_REASON: Final = web.RequestKey("AUDIT_REASON", str)
"""The reason given for read-only mode."""
CALLER: Final = web.RequestKey("CALLER", Caller)
"""Authenticated sender; set before a handler is called, never for a refused request."""
UPLOAD_LOCATION: Final = web.RequestKey("UPLOAD_LOCATION", str)
"""URL at which the client can query the true offset of the upload session; part of a 416 response."""
