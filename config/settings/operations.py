"""`health` and `notifications`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from adapters.addresses import address_problem
from config.settings.checks import web_url_problem
from core.model.secret import Secret
from core.model.setting import MISSING_VALUE, Group, OldKey, SettingInvalidError, section, setting
from core.notifications.envelope import EnvelopeType

_ENDPOINT_NAME_BYTES_MAX: Final = 64


def _name_problem(name: str) -> str | None:
    # The name becomes part of the names of files and objects.
    if len(name.encode()) <= _ENDPOINT_NAME_BYTES_MAX:
        return None
    return f"must have at most {_ENDPOINT_NAME_BYTES_MAX} bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """The settings that all checks have."""

    interval_seconds: float = setting("interval", "Time between two checks.", 10.0)
    threshold: int = setting("threshold", "Consecutive failures after which the check is unhealthy.", 0)
    """0 and 1 mean the first failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCheckSettings(CheckSettings):
    """The check of the storage itself."""

    enabled: bool = setting("enabled", "Whether the storage is checked.", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheckSettings(CheckSettings):
    """Unhealthy while a file exists."""

    file: str = setting("file", "File whose existence makes the check unhealthy.", "", required=MISSING_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheckSettings(CheckSettings):
    """Unhealthy while a HEAD request to a URL does not return the expected status."""

    uri: str = setting(
        "uri", "URL that receives HEAD requests.", "", check=web_url_problem, is_web_url=True, required=MISSING_VALUE
    )
    # Secret because `Authorization` is usually among them.
    headers: Mapping[str, tuple[Secret, ...]] = setting("headers", "Headers of the request.", {})
    status_code: int = setting("statuscode", "Status code that counts as healthy.", 200, at_least=100, at_most=599)
    timeout_seconds: float = setting("timeout", "Time limit of the response.", 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheckSettings(CheckSettings):
    """Unhealthy while an address does not accept connections."""

    addr: str = setting("addr", "The `host:port` to connect to.", "", check=address_problem, required=MISSING_VALUE)
    timeout_seconds: float = setting("timeout", "Time limit of the connection attempt.", 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessSettings:
    """The conditions under which `/readyz` reports this replica as ready for requests."""

    interval_seconds: float = setting(
        "interval", "Time between two checks of storage and catalog index.", 10.0, above_zero=True
    )
    timeout_seconds: float = setting("timeout", "Time limit of the storage's answer.", 5.0, above_zero=True)
    failures: int = setting("failures", "Consecutive failures after which `/readyz` returns 503.", 3, at_least=1)
    successes: int = setting(
        "successes", "Consecutive successes after which `/readyz` returns 200 again.", 2, at_least=1
    )
    needs_index: bool = setting(
        "index", "Whether a replica without a working catalog index is not ready.", default=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """All health checks; distribution's variables use the names of its Go fields for the lists."""

    readiness: ReadinessSettings = section("readiness", "Readiness, as returned by `/readyz`.", ReadinessSettings)
    storage: StorageCheckSettings = section("storagedriver", "The check of the storage.", StorageCheckSettings)
    files: tuple[FileCheckSettings, ...] = setting("file", "Checks of files.", (), go=("FILECHECKERS",))
    http: tuple[HttpCheckSettings, ...] = setting("http", "Checks of URLs.", (), go=("HTTPCHECKERS",))
    tcp: tuple[TcpCheckSettings, ...] = setting("tcp", "Checks of ports.", (), go=("TCPCHECKERS",))

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject two checks of one name, of which `/debug/health` could show one only (distribution panics)."""
        names = [
            *(check.file for check in values.get("files", ())),
            *(check.uri for check in values.get("http", ())),
            *(check.addr for check in values.get("tcp", ())),
        ]
        if len(set(names)) < len(names):
            raise SettingInvalidError("must not check the same file, URL or port twice")
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """One receiver of events."""

    name: str = setting(
        "name",
        "Name of the receiver in logs and metrics, and of its queue.",
        "",
        check=_name_problem,
        required=MISSING_VALUE,
    )
    disabled: bool = setting("disabled", "Whether the endpoint is off.", default=False)
    url: str = setting("url", "URL to which events are posted.", "", is_web_url=True, required=MISSING_VALUE)
    # Secret because `Authorization` is usually among them.
    headers: Mapping[str, tuple[Secret, ...]] = setting("headers", "Headers of the request.", {})
    timeout_seconds: float = setting("timeout", "Time limit of the response; 0 means the default.", 1.0)
    threshold: int = setting("threshold", "Consecutive failures after which `backoff` begins; 0 means the default.", 10)
    backoff_seconds: float = setting(
        "backoff", "Time between attempts after `threshold` failures; 0 means the default.", 1.0
    )
    old_ignored: ClassVar = OldKey(
        "ignoredmediatypes",
        "Old spelling of `ignore.mediatypes`.",
        tuple[str, ...],
        replaced_by="ignore.mediatypes",
    )
    ignore: ClassVar = Group("ignore", "Events that are not sent.")
    ignored_media_types: tuple[str, ...] = setting(
        "ignore.mediatypes", "Events about these media types are not sent.", ()
    )
    ignored_actions: tuple[str, ...] = setting("ignore.actions", "Events of these actions are not sent.", ())

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Treat 0 as the default, as distribution does; do not check the URL of a disabled endpoint."""
        for name in ("timeout_seconds", "threshold", "backoff_seconds"):
            if not values.get(name, True):
                del values[name]
        if not values.get("disabled") and (problem := web_url_problem(values["url"])):
            raise SettingInvalidError({"url": [problem]})
        return values


class OutboxBackend(StrEnum):
    """Where events are stored until they are delivered."""

    STORAGE = "storage"
    LOCAL = "local"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSettings:
    """Where events are stored until they are delivered, and the limits."""

    backend: OutboxBackend = setting(
        "backend", "Where events are stored until they are delivered.", OutboxBackend.STORAGE
    )
    path: str = setting("path", "Folder of the backend `local`, on a local disk.", "")
    required: bool = setting(
        "required", "Whether a push is refused (503) when its event cannot be recorded.", default=True
    )
    bytes_max: int = setting(
        "maxbytes",
        "Maximum size of events and dead letters per endpoint in bytes.",
        64 * 1024 * 1024,
        at_least=1024 * 1024,
    )
    age_max_seconds: float = setting(
        "maxage", "Age at which an undelivered event becomes a dead letter.", 72 * 3600.0, above_zero=True
    )
    dead_age_max_seconds: float = setting(
        "deadage", "Age of its event at which a dead letter is deleted.", 720 * 3600.0, above_zero=True
    )
    poll_seconds: float = setting(
        "poll", "Time between two checks for events of other processes.", 2.0, above_zero=True
    )
    takeover_seconds: float = setting(
        "takeover", "How long the delivering process may be silent before another takes over.", 15.0, above_zero=True
    )
    """The takeover takes as long again."""

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject `local` without a folder; a folder without a backend selects `local`."""
        if values.get("path"):
            values.setdefault("backend", OutboxBackend.LOCAL)
        elif values.get("backend") is OutboxBackend.LOCAL:
            raise SettingInvalidError({"path": [MISSING_VALUE]})
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """Receivers of events about pushes, pulls and deletes."""

    events: ClassVar = Group("events", "Content of events.", go=("EVENTCONFIG",))
    include_references: bool = setting(
        "events.includereferences", "Whether events list the descriptors of a manifest.", default=False
    )
    events_version: EnvelopeType = setting(
        "events.version", "Format of events: v1 as in distribution 2, v2 as in distribution 3.", EnvelopeType.V1
    )
    endpoints: tuple[EndpointSettings, ...] = setting("endpoints", "Receivers of events.", ())
    outbox: OutboxSettings = section("outbox", "Where events are stored until they are delivered.", OutboxSettings)

    @staticmethod
    def complete(values: dict[str, Any]) -> dict[str, Any]:
        """Reject two endpoints with the same name, which would share a queue."""
        names: set[str] = set()
        twice: dict[int, object] = {}
        for index, endpoint in enumerate(values.get("endpoints", ())):
            if not endpoint.disabled and endpoint.name in names:
                twice[index] = {"name": ["must differ from the names of earlier endpoints"]}
            names |= set() if endpoint.disabled else {endpoint.name}
        if twice:
            raise SettingInvalidError({"endpoints": twice})
        return values
