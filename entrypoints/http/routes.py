"""The endpoints, one per line, and the matching of paths.

A repository name contains slashes, so paths are matched from the end. A few string operations are cheaper than one
regular expression per endpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from core.ports.audit_log import AuditAction

API_ROOT: Final = "/v2/"


class Resource(Enum):
    """Kind of resource that a path identifies."""

    BASE = auto()
    CATALOG = auto()
    TAG_LIST = auto()
    MANIFEST = auto()
    BLOB = auto()
    UPLOADS = auto()
    UPLOAD = auto()
    REFERRERS = auto()
    REPOSITORY = auto()
    TAG_HISTORY = auto()
    TRASH = auto()
    TRASH_ENTRY = auto()
    REPOSITORY_TRASH = auto()
    USAGE = auto()
    REPOSITORY_USAGE = auto()
    REPOSITORY_TRASH_ENTRY = auto()
    READ_ONLY = auto()
    RETENTION = auto()
    REPOSITORY_RETENTION = auto()
    NOTIFICATIONS = auto()
    COLLECTION = auto()
    VERIFICATION = auto()
    REPOSITORY_DETAILS = auto()
    TAG_DETAILS = auto()
    EXTENSIONS = auto()
    REPOSITORY_EXTENSIONS = auto()
    SEARCH = auto()
    V1_SEARCH = auto()
    V1_PING = auto()


class Right(Enum):
    """Kind of operation of an endpoint, for the flags that disable it."""

    READ = auto()
    WRITE = auto()
    DELETE = auto()
    CONTROL = auto()
    """Control of the registry itself: no flag disables it."""
    UPKEEP = auto()
    """Upkeep of the store: disabled while jobs of upkeep have to wait."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Method on a resource, with its action in the audit log, and the specification's name for the endpoint."""

    resource: Resource
    method: str
    right: Right
    action: AuditAction
    end: str


_OURS: Final = "our extension _sohu"
ENDPOINTS: Final = (
    Endpoint(Resource.BASE, "GET", Right.READ, AuditAction.LOGIN, "end-1"),
    Endpoint(Resource.BASE, "HEAD", Right.READ, AuditAction.LOGIN, "end-1"),
    Endpoint(Resource.BLOB, "GET", Right.READ, AuditAction.BLOB_PULL, "end-2"),
    Endpoint(Resource.BLOB, "HEAD", Right.READ, AuditAction.BLOB_PULL, "end-2"),
    Endpoint(Resource.MANIFEST, "GET", Right.READ, AuditAction.MANIFEST_PULL, "end-3"),
    Endpoint(Resource.MANIFEST, "HEAD", Right.READ, AuditAction.MANIFEST_PULL, "end-3"),
    Endpoint(Resource.UPLOADS, "POST", Right.WRITE, AuditAction.UPLOAD_START, "end-4a, end-4b, end-4c, end-11"),
    Endpoint(Resource.UPLOAD, "PATCH", Right.WRITE, AuditAction.UPLOAD_APPEND, "end-5"),
    Endpoint(Resource.UPLOAD, "PUT", Right.WRITE, AuditAction.BLOB_PUSH, "end-6"),
    Endpoint(Resource.MANIFEST, "PUT", Right.WRITE, AuditAction.MANIFEST_PUSH, "end-7a, end-7b"),
    Endpoint(Resource.TAG_LIST, "GET", Right.READ, AuditAction.TAGS_LIST, "end-8a, end-8b"),
    Endpoint(Resource.MANIFEST, "DELETE", Right.DELETE, AuditAction.MANIFEST_DELETE, "end-9"),
    Endpoint(Resource.BLOB, "DELETE", Right.DELETE, AuditAction.BLOB_DELETE, "end-10"),
    Endpoint(Resource.REFERRERS, "GET", Right.READ, AuditAction.REFERRERS_LIST, "end-12a, end-12b"),
    Endpoint(Resource.UPLOAD, "GET", Right.READ, AuditAction.UPLOAD_STATUS, "end-13"),
    Endpoint(Resource.UPLOAD, "HEAD", Right.READ, AuditAction.UPLOAD_STATUS, "end-13"),
    Endpoint(Resource.UPLOAD, "DELETE", Right.WRITE, AuditAction.UPLOAD_CANCEL, "end-14"),
    Endpoint(Resource.CATALOG, "GET", Right.READ, AuditAction.CATALOG_LIST, "distribution's _catalog"),
    Endpoint(Resource.TAG_HISTORY, "GET", Right.READ, AuditAction.TAGS_LIST, "OCI's extension _oci"),
    Endpoint(Resource.REPOSITORY, "DELETE", Right.DELETE, AuditAction.REPOSITORY_DELETE, _OURS),
    Endpoint(Resource.TRASH, "GET", Right.READ, AuditAction.TRASH_LIST, _OURS),
    Endpoint(Resource.TRASH_ENTRY, "POST", Right.WRITE, AuditAction.TRASH_RESTORE, _OURS),
    Endpoint(Resource.TRASH_ENTRY, "DELETE", Right.DELETE, AuditAction.TRASH_DELETE, _OURS),
    Endpoint(Resource.REPOSITORY_TRASH, "GET", Right.READ, AuditAction.TRASH_LIST, _OURS),
    Endpoint(Resource.REPOSITORY_TRASH_ENTRY, "POST", Right.WRITE, AuditAction.TRASH_RESTORE, _OURS),
    Endpoint(Resource.USAGE, "GET", Right.READ, AuditAction.USAGE_SHOW, _OURS),
    Endpoint(Resource.USAGE, "POST", Right.CONTROL, AuditAction.USAGE_MEASURE, _OURS),
    Endpoint(Resource.REPOSITORY_USAGE, "GET", Right.READ, AuditAction.USAGE_SHOW, _OURS),
    Endpoint(Resource.READ_ONLY, "GET", Right.READ, AuditAction.READONLY_STATUS, _OURS),
    Endpoint(Resource.READ_ONLY, "PUT", Right.CONTROL, AuditAction.READONLY_ON, _OURS),
    Endpoint(Resource.READ_ONLY, "DELETE", Right.CONTROL, AuditAction.READONLY_OFF, _OURS),
    Endpoint(Resource.RETENTION, "GET", Right.READ, AuditAction.RETENTION_PLAN, _OURS),
    Endpoint(Resource.REPOSITORY_RETENTION, "GET", Right.READ, AuditAction.RETENTION_PLAN, _OURS),
    Endpoint(Resource.NOTIFICATIONS, "GET", Right.READ, AuditAction.NOTIFICATIONS_STATUS, _OURS),
    Endpoint(Resource.NOTIFICATIONS, "POST", Right.CONTROL, AuditAction.NOTIFICATIONS_REPLAY, _OURS),
    Endpoint(Resource.COLLECTION, "GET", Right.READ, AuditAction.COLLECTION_STATUS, _OURS),
    Endpoint(Resource.COLLECTION, "POST", Right.CONTROL, AuditAction.COLLECTION_START, _OURS),
    Endpoint(Resource.VERIFICATION, "GET", Right.READ, AuditAction.VERIFICATION_STATUS, _OURS),
    Endpoint(Resource.VERIFICATION, "POST", Right.CONTROL, AuditAction.VERIFICATION_START, _OURS),
    Endpoint(Resource.REPOSITORY_DETAILS, "GET", Right.READ, AuditAction.CATALOG_LIST, _OURS),
    Endpoint(Resource.TAG_DETAILS, "GET", Right.READ, AuditAction.TAGS_LIST, _OURS),
    Endpoint(Resource.EXTENSIONS, "GET", Right.READ, AuditAction.EXTENSIONS_LIST, "OCI's extension _oci"),
    Endpoint(Resource.REPOSITORY_EXTENSIONS, "GET", Right.READ, AuditAction.EXTENSIONS_LIST, "OCI's extension _oci"),
    Endpoint(Resource.SEARCH, "GET", Right.READ, AuditAction.SEARCH, _OURS),
    Endpoint(Resource.V1_SEARCH, "GET", Right.READ, AuditAction.SEARCH, "search of v1 registries"),
    Endpoint(Resource.V1_PING, "GET", Right.READ, AuditAction.PING, "ping of v1 registries"),
)

METHODS: Final[Mapping[Resource, tuple[str, ...]]] = {
    resource: tuple(endpoint.method for endpoint in ENDPOINTS if endpoint.resource is resource) for resource in Resource
}
"""Value of the `Allow` header of each resource."""


RIGHTS: Final[Mapping[tuple[Resource, str], Right]] = {
    (endpoint.resource, endpoint.method): endpoint.right for endpoint in ENDPOINTS
}
"""Kind of operation of each endpoint."""


@dataclass(frozen=True, slots=True)
class Target:
    """Target of a path; the texts are as the client wrote them, not validated."""

    resource: Resource
    name: str = ""
    reference: str = ""


_BASE: Final = Target(Resource.BASE)
_CATALOG: Final = Target(Resource.CATALOG)
_EXTENSION: Final = "/_sohu"
"""Prefix of our extension, named as the specification requires; no component of a repository name begins with `_`."""
_REGISTRY_MODULES: Final[Mapping[str, Resource]] = {
    "trash": Resource.TRASH,
    "readonly": Resource.READ_ONLY,
    "retention": Resource.RETENTION,
    "notifications": Resource.NOTIFICATIONS,
    "usage": Resource.USAGE,
    "collection": Resource.COLLECTION,
    "verification": Resource.VERIFICATION,
    "repositories": Resource.REPOSITORY_DETAILS,
    "search": Resource.SEARCH,
}
"""Resources at `/v2/_sohu/registry/<module>`."""
_REGISTRY_ITEMS: Final[Mapping[str, Resource]] = {"trash": Resource.TRASH_ENTRY}
"""Resources at `/v2/_sohu/registry/<module>/<reference>`."""
_REPOSITORY_ITEMS: Final[Mapping[str, Resource]] = {"trash": Resource.REPOSITORY_TRASH_ENTRY}
"""Resources at `/v2/<name>/_sohu/registry/<module>/<reference>`."""
_REPOSITORY_MODULES: Final[Mapping[str, Resource]] = {
    "repository": Resource.REPOSITORY,
    "trash": Resource.REPOSITORY_TRASH,
    "retention": Resource.REPOSITORY_RETENTION,
    "usage": Resource.REPOSITORY_USAGE,
    "tags": Resource.TAG_DETAILS,
}
"""Resources at `/v2/<name>/_sohu/registry/<module>`."""
TAG_HISTORY_PATH: Final = "_oci/tag-history"
"""The path of tag histories below `/v2/<name>/` (pull request 606 of the OCI distribution-spec)."""
_OCI: Final = "/_oci"
"""Prefix of the specification's own extension."""
_EXTENSION_COMPONENTS: Final = frozenset({"registry", "ext", "tag-history", *_REPOSITORY_ITEMS})
_DISCOVER: Final = "_oci/ext/discover"
"""The list of extensions, of the registry or of a repository (OCI distribution-spec, `extensions/_oci.md`)."""
_OUTSIDE: Final = {
    "/v2": _BASE,
    "/v1/search": Target(Resource.V1_SEARCH),
    "/v1/_ping": Target(Resource.V1_PING),
}
"""The paths that do not begin with `API_ROOT`."""
_BY_PARENT: Final = {
    "manifests": Resource.MANIFEST,
    "blobs": Resource.BLOB,
    "referrers": Resource.REFERRERS,
}


def match(path: str) -> Target | None:
    """Return the target of a decoded path below the prefix (`/v2/…`), or None.

    One trailing slash is ignored if it has no meaning.
    """
    if not path.startswith(API_ROOT):
        return _OUTSIDE.get(path)
    rest = path[len(API_ROOT) :]
    if not rest:
        return _BASE
    rest = rest.removesuffix("/")
    if rest[0] == "_":
        return _match_registry(rest)
    parent, _, last = rest.rpartition("/")
    name, _, kind = parent.rpartition("/")
    if not name or not last:
        return None
    return _match_name(name, kind, last)


def _match_registry(rest: str) -> Target | None:
    """Match a path that concerns the whole registry: no component of a repository name begins with `_`."""
    if rest == "_catalog":
        return _CATALOG
    if rest == _DISCOVER:
        return Target(Resource.EXTENSIONS)
    extension, _, module = rest.partition("/registry/")
    module, _, reference = module.partition("/")
    resource = (_REGISTRY_ITEMS if reference else _REGISTRY_MODULES).get(module)
    return Target(resource, reference=reference) if resource and extension == _EXTENSION[1:] else None


def _match_name(name: str, kind: str, last: str) -> Target | None:
    if last == "uploads" and kind == "blobs":
        return Target(Resource.UPLOADS, name)
    if last == "list" and kind == "tags":
        return Target(Resource.TAG_LIST, name)
    if kind == "uploads" and name.endswith("/blobs"):
        return Target(Resource.UPLOAD, name.removesuffix("/blobs"), last)
    if kind in _EXTENSION_COMPONENTS:
        return _match_extension(name, kind, last)
    resource = _BY_PARENT.get(kind)
    return Target(resource, name, last) if resource else None


def _match_extension(name: str, component: str, module: str) -> Target | None:
    if component == "tag-history" and name.endswith(_OCI):
        return Target(Resource.TAG_HISTORY, name.removesuffix(_OCI), module)
    if component == "ext" and module == "discover" and name.endswith(_OCI):
        return Target(Resource.REPOSITORY_EXTENSIONS, name.removesuffix(_OCI))
    name, extension, item = f"{name}/{component}".rpartition(f"{_EXTENSION}/registry")
    resource = _REPOSITORY_ITEMS.get(item[1:]) if item else _REPOSITORY_MODULES.get(module)
    return Target(resource, name, module if item else "") if extension and resource else None


_OCI_DOCUMENT: Final = "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md"
_OWN_DOCUMENT: Final = "https://github.com/domeos/docker-registry-driver-sohustorage/blob/HEAD/docs/api.md"


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension as the registry announces it."""

    name: str
    description: str
    url: str
    """Of the documentation."""
    paths: Sequence[str]
    """Below `/v2/` or `/v2/<name>/`."""


def extensions(*, of_repository: bool) -> Sequence[Extension]:
    """Return the extensions of the whole registry, or those of a repository."""
    modules = _REPOSITORY_MODULES if of_repository else _REGISTRY_MODULES
    own = [f"{_EXTENSION[1:]}/registry/{module}" for module in modules]
    standard = [_DISCOVER, f"{TAG_HISTORY_PATH}/<tag>"] if of_repository else [_DISCOVER]
    return (
        Extension("_oci", "The list of extensions, and the history of tags.", _OCI_DOCUMENT, standard),
        Extension(_EXTENSION[1:], "Details of repositories and tags, and administration.", _OWN_DOCUMENT, own),
    )
