"""Pulls of manifests whose head is, byte for byte, that of an earlier pull.

Clients send the same few heads again and again. A pull that was answered by all steps of the application teaches the
parts of the answer that depend on the bytes of the head alone. The rest is decided for each pull: limits, rights, the
state of the process, and the manifest, for which the store is asked as ever. If anything differs from the earlier pull,
this module gives no answer, and the pull takes all steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from time import gmtime, time
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from typing_extensions import override

from core.model.access import Access
from core.model.events import Actor, EventAction
from core.model.manifest import StoredManifest
from core.model.media_types import SCHEMA1
from core.model.names import Reference, RepositoryName, parse_reference
from core.registry.facade import Registry
from entrypoints.http.authentication import Authorizer, accesses_of
from entrypoints.http.connection.access_log import fields_of, log_fields
from entrypoints.http.connection.repeating import Answer, Repeater
from entrypoints.http.draining import InFlight
from entrypoints.http.forwarding import direct_client
from entrypoints.http.keys import FRESHNESS, NAMESPACE, TARGET
from entrypoints.http.middleware.limits import Limits
from entrypoints.http.middleware.metering import HANDLER_NAMES, RequestMeter
from entrypoints.http.request_names import REQUEST_ID_HEADER, name_task
from entrypoints.http.routes import Resource
from entrypoints.http.runtime_flags import RuntimeFlags

_METHODS: Final = frozenset({"GET", "HEAD"})
_HEADERS: Final = frozenset({hdrs.HOST, hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONNECTION})
"""Headers whose effect on an answer depends on nothing else. Credentials are not kept."""
_HANDLER: Final = HANDLER_NAMES[Resource.MANIFEST]
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(slots=True, kw_only=True)
class Pull:
    """A pull as an earlier one of the same head was answered."""

    name: RepositoryName
    reference: Reference
    is_head: bool
    accesses: Sequence[Access]
    host: str
    scheme: str
    described: tuple[str, str, int]
    """Digest, media type and size of the manifest."""
    common_headers: Mapping[str, Sequence[str]]
    """The configured headers of all responses; another object after each change."""
    head: bytes
    """The head of the response, with `%b` for the date and for the id."""
    fields: Mapping[str, object]
    """The fields of the line in the access log."""


class RepeatedPulls(Repeater):
    """Answers repeated pulls; one per application.

    Args:
        registry: the domain.
        authorizer: decides whether a pull is allowed.
        limits: the limits on requests, without a limit per client.
        in_flight: the requests in flight.
        flags: settings that may change while the application serves.
        meter: measures requests; None without metrics.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        authorizer: Authorizer,
        limits: Limits,
        in_flight: InFlight,
        flags: RuntimeFlags,
        meter: RequestMeter | None,
    ) -> None:
        self._registry = registry
        self._authorizer = authorizer
        self._limits = limits
        self.in_flight = in_flight
        self._flags = flags
        self._meter = meter

    @override
    def learn(self, request: web.BaseRequest, response: web.StreamResponse) -> Pull | None:
        target = request.get(TARGET)
        if target is None or target.resource is not Resource.MANIFEST or not _is_plain(request):
            return None
        if self._publishes_pulls:
            return None
        if response.status != 200 or not isinstance(response, web.Response):  # noqa: PLR2004 - OK
            return None
        content, head = response.body, _template_of(response)
        digest, media_type = response.headers["Docker-Content-Digest"], response.headers[hdrs.CONTENT_TYPE]
        if not isinstance(content, bytes) or head is None or media_type in SCHEMA1:
            return None
        return Pull(
            name=RepositoryName(target.name),
            reference=parse_reference(target.reference),
            is_head=request.method == hdrs.METH_HEAD,
            accesses=accesses_of(target, request.method, None),
            host=request.host,
            scheme=request.scheme,
            described=(digest, media_type, len(content)),
            common_headers=self._flags.headers,
            head=head,
            fields=fields_of(request, response),
        )

    @override
    async def answer(self, learned: Pull, remote: str | None) -> Answer | None:
        pull, limits, meter = learned, self._limits, self._meter
        if limits.is_reached or self._publishes_pulls:
            return None
        request_id = name_task()
        limits.begin()
        if meter is not None:
            meter.begin(_HANDLER)
        try:
            principal = await self._authorizer.admit(pull.accesses)
            if principal is None:
                return None
            manifest = await self._registry.pull_manifest(
                pull.name, pull.reference, by=Actor(principal.name), describes=pull.is_head
            )
        except Exception:  # noqa: BLE001 - all steps meet the error again, and report it
            return None
        finally:
            limits.end()
            if meter is not None:
                meter.end(_HANDLER)
        if not self._is_as_before(pull, manifest):
            return None
        fields = {**pull.fields, "http.request.id": request_id, "auth.user.name": principal.name}
        fields["http.request.remoteaddr"] = direct_client(remote or "", pull.scheme, pull.host).address
        content = b"" if pull.is_head else manifest.content
        head = pull.head % (_date_at(int(time())), request_id.encode())
        return Answer(head, content, partial(self._note, pull, len(content), fields))

    @property
    def _publishes_pulls(self) -> bool:
        return self._registry.publisher.wants(EventAction.PULL, "")

    def _note(self, pull: Pull, sent: int, fields: dict[str, object], seconds: float) -> None:
        if self._meter is not None:
            method = hdrs.METH_HEAD if pull.is_head else hdrs.METH_GET
            self._meter.record(_HANDLER, method, 200, received=0, sent=sent, seconds=seconds)
        fields["http.response.duration"] = seconds
        log_fields(fields)

    def _is_as_before(self, pull: Pull, manifest: StoredManifest) -> bool:
        return (
            (manifest.digest, manifest.media_type, len(manifest.content)) == pull.described
            and manifest.freshness is None
            and pull.common_headers is self._flags.headers
            and not self.in_flight.is_draining
        )


def _is_plain(request: web.BaseRequest) -> bool:
    return (
        request.method in _METHODS
        and request.version == HttpVersion11
        and not request.rel_url.raw_query_string
        and all(name.title() in _HEADERS for name in request.headers)
        and NAMESPACE not in request
        and FRESHNESS not in request
    )


def _template_of(response: web.Response) -> bytes | None:
    """Return the head of a response that was sent, or None if date and id are not in the order of `Pull.head`."""
    varying = [name for name in response.headers if name in {hdrs.DATE, REQUEST_ID_HEADER}]
    if varying != [hdrs.DATE, REQUEST_ID_HEADER]:
        return None
    lines = [f"HTTP/1.1 {response.status} {response.reason}".replace("%", "%%")]
    lines += [
        f"{name}: %b" if name in varying else f"{name}: {value}".replace("%", "%%")
        for name, value in response.headers.items()
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@lru_cache(maxsize=1)
def _date_at(seconds: int) -> bytes:
    # Not `strftime`, whose names depend on the locale.
    moment = gmtime(seconds)
    day, month = _WEEKDAYS[moment.tm_wday], _MONTHS[moment.tm_mon - 1]
    clock = f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02}"
    return f"{day}, {moment.tm_mday:02} {month} {moment.tm_year} {clock} GMT".encode()
