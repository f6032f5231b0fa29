"""Names of cached repositories: `?ns=` and short names become the name under which the registry stores a repository.

The replacement happens before authorization, so that access rules, tokens, the audit log and the access log use one
name for one repository, whichever way the client named it. The namespace is only looked up, never contacted
(distribution-spec, "Registry Proxying"). Clients cannot change a cached repository.
"""

import re
from dataclasses import replace
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from config.settings import UnknownHosts
from core.errors import NameUnknownError
from core.model.names import RepositoryName
from core.pull_through.origins import Origins
from entrypoints.http.keys import NAMESPACE, TARGET
from entrypoints.http.routes import RIGHTS, Resource, Right, Target

NAMESPACE_PARAMETER: Final = "ns"
NAMESPACE_HEADER: Final = "OCI-Namespace"
_READS: Final = frozenset({"GET", "HEAD"})
_NAMESPACED: Final = frozenset(
    {
        Resource.MANIFEST,
        Resource.BLOB,
        Resource.TAG_LIST,
        Resource.TAG_DETAILS,
        Resource.TAG_HISTORY,
        Resource.REFERRERS,
    }
)
_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
"""Characters of a host with a port; nothing else is looked up, nor sent back in a header."""


class Namespaces:
    """Gives each request the local name of its repository; one per application with upstreams.

    Args:
        origins: the upstreams.
        unknown: the answer to a namespace of no upstream.
    """

    def __init__(self, origins: Origins, unknown: UnknownHosts) -> None:
        self._origins = origins
        self._unknown = unknown

    @web.middleware
    async def localize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Replace the name in `TARGET` by the local name, and set `NAMESPACE` if the parameter decided it.

        Raises:
            NameUnknownError: no upstream has this namespace.
        """
        target = request[TARGET]
        if target.name and (name := self._local_name(request, target)) != target.name:
            request[TARGET] = replace(target, name=name)
        return await handler(request)

    @web.middleware
    async def refuse_changes(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse to change a cached repository, whatever the client's rights, before the body is read.

        Raises:
            CachedRepositoryError: the repository is a cache.
        """
        target = request[TARGET]
        is_change = RIGHTS[target.resource, request.method] is not Right.READ
        if is_change and (name := RepositoryName.parse(target.name)) is not None:
            self._origins.require_local(name)
        return await handler(request)

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the namespace to a response (a signal handler)."""
        if (namespace := request.get(NAMESPACE)) is not None:
            response.headers[NAMESPACE_HEADER] = namespace

    def _local_name(self, request: web.Request, target: Target) -> str:
        # A name that contains the prefix of an upstream is complete.
        if _has_namespace(request, target) and not self._origins.has_prefix(target.name):
            given = set(request.query.getall(NAMESPACE_PARAMETER))
            namespace = given.pop()
            # Two namespaces that differ name no repository.
            is_host = not given and _HOST.fullmatch(namespace) is not None
            name = self._origins.locate(target.name, namespace.lower()) if is_host else None
            if name is not None:
                request[NAMESPACE] = namespace
                return name
            if self._unknown is UnknownHosts.DENY:
                raise NameUnknownError("no upstream registry is configured for this namespace")
        return self._origins.canonical(target.name)


def _has_namespace(request: web.Request, target: Target) -> bool:
    return request.method in _READS and target.resource in _NAMESPACED and bool(request.query.get(NAMESPACE_PARAMETER))
