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
    interval_seconds = Duration("interval", "How often.")
    threshold = Integer("threshold", "How many failures in a row make it unhealthy.")


class FileCheckSchema(SectionSchema):
    """`health.file[]`."""

    settings = FileCheckSettings

    file = Text("file", "Unhealthy while this file exists.", required=MISSING_VALUE)
    interval_seconds = Duration("interval", "How often it is looked for.")
    threshold = Integer("threshold", "How many failures in a row make it unhealthy.")


class HttpCheckSchema(SectionSchema):
    """`health.http[]`."""

    settings = HttpCheckSettings

    uri = WebUrl("uri", "The URL that is asked by HEAD.", check=web_url_problem, required=MISSING_VALUE)
    headers = HeaderMap(SecretText("headers", "Headers of the request."))
    status_code = Integer("statuscode", "The status that is healthy.", at_least=100, at_most=599)
    timeout_seconds = Duration("timeout", "How long an answer may take.")
    interval_seconds = Duration("interval", "How often it is asked.")
    threshold = Integer("threshold", "How many failures in a row make it unhealthy.")


class TcpCheckSchema(SectionSchema):
    """`health.tcp[]`."""

    settings = TcpCheckSettings

    addr = Text("addr", "The `host:port` that is connected to.", check=address_problem, required=MISSING_VALUE)
    timeout_seconds = Duration("timeout", "How long connecting may take.")
    interval_seconds = Duration("interval", "How often it is tried.")
    threshold = Integer("threshold", "How many failures in a row make it unhealthy.")


class ReadinessSchema(SectionSchema):
    """`health.readiness`."""

    settings = ReadinessSettings

    interval_seconds = Duration("interval", "How often storage and index are looked at.", above_zero=True)
    timeout_seconds = Duration("timeout", "How long the storage may take to answer.", above_zero=True)
    failures = Integer("failures", "How many failures in a row make `/readyz` say 503.", at_least=1)
    successes = Integer("successes", "How many successes in a row make it say 200 again.", at_least=1)
    needs_index = Bool("index", "Whether a replica whose catalog index is away is not ready.")


class HealthSchema(SectionSchema):
    """`health`; distribution's variables use the names of its Go fields for the lists."""

    settings = HealthSettings

    readiness = Sub("readiness", "What `/readyz` answers.", ReadinessSchema)
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
        "The receiver's name in logs and metrics; it names its queue.",
        check=_name_problem,
        required=MISSING_VALUE,
    )
    disabled = Bool("disabled", "Whether it is skipped.")
    url = WebUrl("url", "Where events are posted.", required=MISSING_VALUE)
    headers = HeaderMap(SecretText("headers", "Headers of the request."))
    timeout_seconds = Duration("timeout", "How long an answer may take; 0 means the default.")
    threshold = Integer("threshold", "After how many failures in a row `backoff` begins; 0 means the default.")
    backoff_seconds = Duration("backoff", "How long to wait between tries then; 0 means the default.")
    old_ignored = ListOf(
        Text("ignoredmediatypes", "Old spelling of `ignore.mediatypes`."), replaced_by="ignore.mediatypes"
    )
    ignore = Sub("ignore", "What is not sent.", IgnoreSchema)

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

    include_references = Bool("includereferences", "Whether events list what a manifest refers to.")
    events_version = Choice("version", "Whose events: v1 as of distribution 2, v2 as of distribution 3.", EventsVersion)


class OutboxSchema(SectionSchema):
    """`notifications.outbox`."""

    settings = OutboxSettings

    backend = Choice("backend", "Where events lie until they are delivered.", OutboxBackend)
    path = Text("path", "The folder of `local`, on a disk of this machine.")
    required = Bool("required", "Whether a push is refused (503) when its event cannot be recorded.")
    bytes_max = Integer("maxbytes", "Bytes of events and dead letters per endpoint.", at_least=1024 * 1024)
    age_max_seconds = Duration("maxage", "When an event that was not delivered becomes a dead letter.", above_zero=True)
    dead_age_max_seconds = Duration("deadage", "When a dead letter is dropped, from its event on.", above_zero=True)
    poll_seconds = Duration("poll", "How often one looks for events of other processes.", above_zero=True)
    takeover_seconds = Duration(
        "takeover", "How long who delivers may be silent until another process does.", above_zero=True
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

    events = Sub("events", "What events say.", EventsSchema, go=("EVENTCONFIG",))
    endpoints = SubList("endpoints", "Who receives events.", EndpointSchema)
    outbox = Sub("outbox", "Where events lie until they are delivered.", OutboxSchema)

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject two endpoints with the same name, which would share a queue."""
        names: set[str] = set()
        twice: dict[int, object] = {}
        for index, endpoint in enumerate(values.get("endpoints", ())):
            if not endpoint.disabled and endpoint.name in names:
                twice[index] = {"name": ["must differ from the names before it"]}
            names |= set() if endpoint.disabled else {endpoint.name}
        if twice:
            raise ValidationError({"endpoints": twice})
        return values


class ProxyExecSchema(SectionSchema):
    """`proxy.exec`."""

    settings = ProxyExecSettings

    command = Text("command", "The Docker credential helper to run.", required=MISSING_VALUE)
    lifetime_seconds = Duration("lifetime", "How long its answer is used; for ever if not given.")


class ProxySchema(SectionSchema):
    """`proxy`."""

    settings = ProxySettings

    remote_url = Text("remoteurl", "The registry that is cached.")
    username = Text("username", "The user there.")
    password = SecretText("password", "That user's password.")
    ttl_seconds = Duration("ttl", "How long content is kept; 0 for ever.")
    exec = Sub("exec", "Credentials from a program.", ProxyExecSchema)
    cache_write_timeout_seconds = Duration("cachewritetimeout", "How long storing outlives the client.")


class MiddlewareEntrySchema(SectionSchema):
    """An entry of the lists below `middleware`."""

    settings = MiddlewareEntry

    name = Text("name", "The middleware's name.", required=MISSING_VALUE)
    disabled = Bool("disabled", "Whether it is left out.")
    options = Anything("options", "Its parameters.")

    @override
    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Reject options that are not a mapping."""
        if not isinstance(values.get("options", {}), dict):
            raise ValidationError({"options": ["must be a mapping of names to values"]})
        return values


class MiddlewareSchema(SectionSchema):
    """`middleware`."""

    settings = MiddlewareSettings

    registry = SubList("registry", "Around the registry.", MiddlewareEntrySchema)
    repository = SubList("repository", "Around each repository.", MiddlewareEntrySchema)
    storage = SubList("storage", "Around the storage.", MiddlewareEntrySchema)
