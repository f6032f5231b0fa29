"""What travels with an application or a request, typed."""

from typing import Final

from aiohttp import web

from config.settings import LimitSettings
from core.access import Caller
from core.ports.audit_log import AuditAction
from entrypoints.http.draining import InFlight
from entrypoints.http.forwarding import Client
from entrypoints.http.routes import Target
from entrypoints.http.switches import Switches

IN_FLIGHT: Final = web.AppKey("IN_FLIGHT", InFlight)
"""The requests under way."""
SWITCHES: Final = web.AppKey("SWITCHES", Switches)
"""What may change while the application serves."""
CLIENT: Final = web.RequestKey("CLIENT", Client)
"""Who sent the request, as far as proxies may be believed."""
BODY_LIMITS: Final = web.RequestKey("BODY_LIMITS", LimitSettings)
"""How large and how slow the request's body may be."""
BEGUN: Final = web.RequestKey("BEGUN", bool)
"""Set once the head of the response is on its way: nothing else may be answered then."""
REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
"""Names the request in every log line and in the `X-Request-Id` header."""
TRACE_ID: Final = web.RequestKey("TRACE_ID", str)
"""The W3C trace that the request is a part of, if its sender said so."""
TARGET: Final = web.RequestKey("TARGET", Target)
"""Where the request goes; not set where no endpoint is."""
ERROR_CODE: Final = web.RequestKey("ERROR_CODE", str)
"""OCI's code of the error that was answered, if one was."""
AUDIT_ACTION: Final = web.RequestKey("AUDIT_ACTION", AuditAction)
"""What the audit log calls the request, where its path does not tell."""
CALLER: Final = web.RequestKey("CALLER", Caller)
"""Who sends the request; set before a handler is called, never where the request was refused."""
UPLOAD_LOCATION: Final = web.RequestKey("UPLOAD_LOCATION", str)
"""Where the upload session of this request is asked for its true offset; part of a 416."""
