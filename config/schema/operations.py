"""`health`, `notifications`, `proxy` and `middleware`."""

from typing import Any

from marshmallow import ValidationError, validates_schema
from typing_extensions import override

from config.schema.base import SectionSchema, Sub, SubList
from config.schema.collections import Anything, HeaderMap, ListOf
from config.schema.http import address_problem
from config.schema.key import MISSING_VALUE
from config.schema.scalars import Bool, Choice, Duration, Integer, SecretText, Text
from config.schema.urls import WebUrl, web_url_problem
from config.settings import (
    EndpointSettings,
    EventsVersion,
    FileCheckSettings,
    HealthSettings,
    HttpCheckSettings,
    MiddlewareEntry,
    MiddlewareSettings,
    NotificationSettings,
    OutboxBackend,
    OutboxSettings,
    ProxyExecSettings,
    ProxySettings,
    ReadinessSettings,
    StorageCheckSettings,
    TcpCheckSettings,
)

_ENDPOINT_NAME_BYTES_MAX = 64


def _name_problem(name: str) -> str | None:
    # The name becomes part of the names of files and objects.
    return (
        None
        if len(name.encode()) <= _ENDPOINT_NAME_BYTES_MAX
        else f"must have at most {_ENDPOINT_NAME_BYTES_MAX} bytes"
    )


class StorageCheckSchema(SectionSchema):
    """`health.storagedriver`."""

    settings = StorageCheckSettings

    enabled = Bool("enabled", "Whether the storage is checked.")
    interval_seconds = Duration("interval", "Time between two checks.")
    threshold = Integer("threshold", "Consecutive failures after which the check is unhealthy.")


class FileCheckSchema(SectionSchema):
    """`health.file[]`."""

    settings = FileCheckSettings

    file = Text("file", "File whose existence makes the check unhealthy.", required=MISSING_VALUE)
    interval_seconds = Duration("interval", "Time between two checks.")
    threshold = Integer("threshold", "Consecutive failures after which the check is unhealthy.")


class HttpCheckSchema(SectionSchema):
    """`health.http[]`."""

    settings = HttpCheckSettings

    uri = WebUrl("uri", "URL that receives HEAD requests.", check=web_url_problem, required=MISSING_VALUE)
    headers = HeaderMap(SecretText("headers", "Headers of the request."))
    status_code = Integer("statuscode", "Status code that counts as healthy.", at_least=100, at_most=599)
    timeout_seconds = Duration("timeout", "Time limit of the response.")
    interval_seconds = Duration("interval", "Time between two checks.")
    threshold = Integer("threshold", "Consecutive failures after which the check is unhealthy.")


class TcpCheckSchema(SectionSchema):
    """`health.tcp[]`."""

    settings = TcpCheckSettings

    addr = Text("addr", "The `host:port` to connect to.", check=address_problem, required=MISSING_VALUE)
    timeout_seconds = Duration("timeout", "Time limit of the connection attempt.")
    interval_seconds = Duration("interval", "Time between two checks.")
    threshold = Integer("threshold", "Consecutive failures after which the check is unhealthy.")


class ReadinessSchema(SectionSchema):
    """`health.readiness`."""

    settings = ReadinessSettings

    interval_seconds = Duration("interval", "Time between two checks of storage and catalog index.", above_zero=True)
    timeout_seconds = Duration("timeout", "Time limit of the storage's answer.", above_zero=True)
    failures = Integer("failures", "Consecutive failures after which `/readyz` returns 503.", at_least=1)
    successes = Integer("successes", "Consecutive successes after which `/readyz` returns 200 again.", at_least=1)
    needs_index = Bool("index", "Whether a replica without a working catalog index is not ready.")


class HealthSchema(SectionSchema):
    """`health`; distribution's variables use the names of its Go fields for the lists."""

    settings = HealthSettings

    readiness = Sub("readiness", "Readiness, as returned by `/readyz`.", ReadinessSchema)
    storage = Sub("storagedriver", "The check of the storage.", StorageCheckSchema)
    files = SubList("file", "Checks of files.", FileCheckSchema, go=("FILECHECKERS",))
    http = SubList("http", "Checks of URLs.", HttpCheckSchema, go=("HTTPCHECKERS",))
    tcp = SubList("tcp", "Checks of ports.", TcpCheckSchema, go=("TCPCHECKERS",))

    @validates_schema
    def check_names(self, values: dict[str, Any], **_: Any) -> None:
        """Reject two checks of one name, of which `/debug/health` could show one only (distribution panics)."""
        names = [
            *(check.file for check in values.get("files", ())),
            *(check.uri for check in values.get("http", ())),
            *(check.addr for check in values.get("tcp", ())),
        ]
        if len(set(names)) < len(names):
            raise ValidationError("must not check the same file, URL or port twice")


class IgnoreSchema(SectionSchema):
    """`notifications.endpoints[].ignore`."""

    ignored_media_types = ListOf(Text("mediatypes", "Events about these media types are not sent."))
    ignored_actions = ListOf(Text("actions", "Events of these actions are not sent."))


class EndpointSchema(SectionSchema):
    """`notifications.endpoints[]`."""

    settings = EndpointSettings

    name = Text(
        "name",
        "Name of the receiver in logs and metrics, and of its queue.",
        check=_name_problem,
        required=MISSING_VALUE,
    )
    disabled = Bool("disabled", "Whether the endpoint is off.")
    url = WebUrl("url", "URL to which events are posted.", required=MISSING_VALUE)
    headers = HeaderMap(SecretText("headers", "Headers of the request."))
    timeout_seconds = Duration("timeout", "Time limit of the response; 0 means the default.")
    threshold = Integer("threshold", "Consecutive failures after which `backoff` begins; 0 means the default.")
    backoff_seconds = Duration("backoff", "Time between attempts after `threshold` failures; 0 means the default.")
    old_ignored = ListOf(
        Text("ignoredmediatypes", "Old spelling of `ignore.mediatypes`."), replaced_by="ignore.mediatypes"
    )
    ignore = Sub("ignore", "Events that are not sent.", IgnoreSchema)

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Treat 0 as the default, as distribution does; do not check the URL of a disabled endpoint."""
        for name in ("timeout_seconds", "threshold", "backoff_seconds"):
            if not values.get(name, True):
                del values[name]
        if not values.get("disabled") and (problem := web_url_problem(values["url"])):
            raise ValidationError({"url": [problem]})
        return values


class EventsSchema(SectionSchema):
    """`notifications.events`."""

    include_references = Bool("includereferences", "Whether events list the descriptors of a manifest.")
    events_version = Choice(
        "version", "Format of events: v1 as in distribution 2, v2 as in distribution 3.", EventsVersion
    )


class OutboxSchema(SectionSchema):
    """`notifications.outbox`."""

    settings = OutboxSettings

    backend = Choice("backend", "Where events are stored until they are delivered.", OutboxBackend)
    path = Text("path", "Folder of the backend `local`, on a local disk.")
    required = Bool("required", "Whether a push is refused (503) when its event cannot be recorded.")
    bytes_max = Integer(
        "maxbytes", "Maximum size of events and dead letters per endpoint in bytes.", at_least=1024 * 1024
    )
    age_max_seconds = Duration("maxage", "Age at which an undelivered event becomes a dead letter.", above_zero=True)
    dead_age_max_seconds = Duration("deadage", "Age of its event at which a dead letter is deleted.", above_zero=True)
    poll_seconds = Duration("poll", "Time between two checks for events of other processes.", above_zero=True)
    takeover_seconds = Duration(
        "takeover", "How long the delivering process may be silent before another takes over.", above_zero=True
    )

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject `local` without a folder; a folder without a backend selects `local`."""
        if values.get("path"):
            values.setdefault("backend", OutboxBackend.LOCAL)
        elif values.get("backend") is OutboxBackend.LOCAL:
            raise ValidationError({"path": [MISSING_VALUE]})
        return values


class NotificationsSchema(SectionSchema):
    """`notifications`."""

    settings = NotificationSettings

    events = Sub("events", "Content of events.", EventsSchema, go=("EVENTCONFIG",))
    endpoints = SubList("endpoints", "Receivers of events.", EndpointSchema)
    outbox = Sub("outbox", "Where events are stored until they are delivered.", OutboxSchema)

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject two endpoints with the same name, which would share a queue."""
        names: set[str] = set()
        twice: dict[int, object] = {}
        for index, endpoint in enumerate(values.get("endpoints", ())):
            if not endpoint.disabled and endpoint.name in names:
                twice[index] = {"name": ["must differ from the names of earlier endpoints"]}
            names |= set() if endpoint.disabled else {endpoint.name}
        if twice:
            raise ValidationError({"endpoints": twice})
        return values


class ProxyExecSchema(SectionSchema):
    """`proxy.exec`."""

    settings = ProxyExecSettings

    command = Text("command", "The Docker credential helper to run.", required=MISSING_VALUE)
    lifetime_seconds = Duration("lifetime", "How long the helper's credentials are used; unlimited if not given.")


class ProxySchema(SectionSchema):
    """`proxy`."""

    settings = ProxySettings

    remote_url = Text("remoteurl", "URL of the cached registry.")
    username = Text("username", "User name at the cached registry.")
    password = SecretText("password", "Password at the cached registry.")
    ttl_seconds = Duration("ttl", "How long content is kept; 0 means without limit.")
    exec = Sub("exec", "Credentials from a program.", ProxyExecSchema)
    cache_write_timeout_seconds = Duration(
        "cachewritetimeout", "How long storing may continue after the client has disconnected."
    )


class MiddlewareEntrySchema(SectionSchema):
    """An entry of the lists below `middleware`."""

    settings = MiddlewareEntry

    name = Text("name", "The middleware's name.", required=MISSING_VALUE)
    disabled = Bool("disabled", "Whether the middleware is off.")
    options = Anything("options", "Parameters of the middleware.")

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject options that are not a mapping."""
        if not isinstance(values.get("options", {}), dict):
            raise ValidationError({"options": ["must be a mapping of names to values"]})
        return values


class MiddlewareSchema(SectionSchema):
    """`middleware`."""

    settings = MiddlewareSettings

    registry = SubList("registry", "Middlewares of the registry.", MiddlewareEntrySchema)
    repository = SubList("repository", "Middlewares of each repository.", MiddlewareEntrySchema)
    storage = SubList("storage", "Middlewares of the storage.", MiddlewareEntrySchema)
