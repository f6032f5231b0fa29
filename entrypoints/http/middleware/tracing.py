"""Traces: one span per request."""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from core.ports.tracing import Tracer
from entrypoints.http.keys import ROUTE, TRACE_ID
from entrypoints.http.routes import Resource

ROUTES: Final = {
    Resource.BASE: "/v2/",
    Resource.CATALOG: "/v2/_catalog",
    Resource.TAG_LIST: "/v2/{name}/tags/list",
    Resource.MANIFEST: "/v2/{name}/manifests/{reference}",
    Resource.BLOB: "/v2/{name}/blobs/{digest}",
    Resource.UPLOADS: "/v2/{name}/blobs/uploads/",
    Resource.UPLOAD: "/v2/{name}/blobs/uploads/{id}",
    Resource.REFERRERS: "/v2/{name}/referrers/{digest}",
    Resource.REPOSITORY: "/v2/{name}/_sohu/registry/repository",
    Resource.TAG_HISTORY: "/v2/{name}/_oci/tag-history/{tag}",
    Resource.REPOSITORY_DETAILS: "/v2/_sohu/registry/repositories",
    Resource.TAG_DETAILS: "/v2/{name}/_sohu/registry/tags",
    Resource.EXTENSIONS: "/v2/_oci/ext/discover",
    Resource.REPOSITORY_EXTENSIONS: "/v2/{name}/_oci/ext/discover",
    Resource.TRASH: "/v2/_sohu/registry/trash",
    Resource.TRASH_ENTRY: "/v2/_sohu/registry/trash/{entry}",
    Resource.REPOSITORY_TRASH: "/v2/{name}/_sohu/registry/trash",
    Resource.REPOSITORY_TRASH_ENTRY: "/v2/{name}/_sohu/registry/trash/{entry}",
    Resource.USAGE: "/v2/_sohu/registry/usage",
    Resource.REPOSITORY_USAGE: "/v2/{name}/_sohu/registry/usage",
    Resource.READ_ONLY: "/v2/_sohu/registry/readonly",
    Resource.RETENTION: "/v2/_sohu/registry/retention",
    Resource.REPOSITORY_RETENTION: "/v2/{name}/_sohu/registry/retention",
    Resource.NOTIFICATIONS: "/v2/_sohu/registry/notifications",
    Resource.SEARCH: "/v2/_sohu/registry/search",
    Resource.V1_SEARCH: "/v1/search",
    Resource.V1_PING: "/v1/_ping",
    Resource.COLLECTION: "/v2/_sohu/registry/collection",
    Resource.VERIFICATION: "/v2/_sohu/registry/verification",
}


def tracing(tracer: Tracer, prefix: str) -> Middleware:
    """Return the middleware that records requests; spans contain the path, never the query with its signed state."""
    root = prefix.rstrip("/")

    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        target = request.get(ROUTE)
        attributes = {
            "http.request.method": request.method,
            "url.path": request.path,
            "url.scheme": request.scheme,
            "server.address": request.host,
            "user_agent.original": request.headers.get("User-Agent", ""),
        }
        name = request.method
        if target is not None:
            route = root + ROUTES[target.resource]
            attributes["http.route"] = route
            name = f"{request.method} {route}"
            if target.name:
                attributes["registry.repository"] = target.name
        with tracer.request(name, request.headers, attributes) as set_status:
            if trace_id := tracer.trace_id:
                # For the log lines of the request; the id is the client's, or that of a new trace.
                request[TRACE_ID] = trace_id
            response = await handler(request)
            set_status(response.status)
            return response

    return record
