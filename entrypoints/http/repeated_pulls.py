"""Pulls of manifests and small blobs whose head is, byte for byte, that of an earlier pull.

Clients send the same few heads again and again. A pull that was answered by all steps of the application teaches the
parts of the answer that depend on the bytes of the head alone. The rest is decided for each pull: limits, rights, the
state of the process, and the content, for which the store is asked as ever. If anything differs from the earlier pull,
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
from core.registry.facade import Registry
from entrypoints.http.authentication import Authorizer, accesses_of
from entrypoints.http.connection.access_log import fields_of, log_fields
from entrypoints.http.connection.repeating import Answer, Repeater
from entrypoints.http.draining import InFlight
from entrypoints.http.forwarding import direct_client
from entrypoints.http.keys import FRESHNESS, NAMESPACE, TARGET
from entrypoints.http.middleware.limits import Limits
from entrypoints.http.middleware.metering import HANDLER_NAMES, RequestMeter
from entrypoints.http.repeated_content import Source, source_of
from entrypoints.http.request_names import REQUEST_ID_HEADER, name_task
from entrypoints.http.routes import Resource
from entrypoints.http.runtime_flags import RuntimeFlags

_METHODS: Final = frozenset({"GET", "HEAD"})
_HEADERS: Final = frozenset({hdrs.HOST, hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONNECTION})
"""Headers whose effect on an answer depends on nothing else. Credentials are not kept."""
_RESOURCES: Final = frozenset({Resource.MANIFEST, Resource.BLOB})
_VARYING: Final = (hdrs.LOCATION, hdrs.DATE, REQUEST_ID_HEADER)
"""Headers with another value in each response, in their order; only redirects have the first."""
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(slots=True, kw_only=True)
class Pull:
    """A pull as an earlier one of the same head was answered."""

    source: Source
    handler: str
    """Name of the handler for metrics."""
    method: str
    status: int
    accesses: Sequence[Access]
    host: str
    scheme: str
    common_headers: Mapping[str, Sequence[str]]
    """The configured headers of all responses; another object after each change."""
    head: bytes
    """The head of the response, with `%b` for the location of a redirect, for the date and for the id."""
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
        redirects: whether clients may be redirected to the store.
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
        redirects: bool,
    ) -> None:
        self._registry = registry
        self._authorizer = authorizer
        self._limits = limits
        self.in_flight = in_flight
        self._flags = flags
        self._meter = meter
        self._redirects = redirects

    @override
    def learn(self, request: web.BaseRequest, response: web.StreamResponse) -> Pull | None:
        target = request.get(TARGET)
        if target is None or target.resource not in _RESOURCES or not _is_plain(request) or self._publishes_pulls:
            return None
        source = source_of(self._registry, target, request.method, response, redirects=self._redirects)
        head = _template_of(response)
        if source is None or head is None:
            return None
        return Pull(
            source=source,
            handler=HANDLER_NAMES[target.resource],
            method=request.method,
            status=response.status,
            accesses=accesses_of(target, request.method, None),
            host=request.host,
            scheme=request.scheme,
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
            meter.begin(pull.handler)
        try:
            principal = await self._authorizer.admit(pull.accesses)
            if principal is None:
                return None
            content = await pull.source.read(Actor(principal.name))
        except Exception:  # noqa: BLE001 - all steps meet the error again, and report it
            return None
        finally:
            limits.end()
            if meter is not None:
                meter.end(pull.handler)
        if content is None or pull.common_headers is not self._flags.headers or self.in_flight.is_draining:
            return None
        varying = (_date_at(int(time())), request_id.encode())
        head = pull.head % (varying if content.location is None else (content.location, *varying))
        fields = {
            **pull.fields,
            "http.request.id": request_id,
            "http.request.remoteaddr": direct_client(remote or "", pull.scheme, pull.host).address,
            "auth.user.name": principal.name,
            "http.response.written": len(head) + len(content.body),
        }
        return Answer(head, content.body, partial(self._measure, pull, len(content.body)), partial(_log, fields))

    @property
    def _publishes_pulls(self) -> bool:
        return self._registry.publisher.wants(EventAction.PULL, "")

    def _measure(self, pull: Pull, sent: int, seconds: float) -> None:
        if self._meter is not None:
            self._meter.record(pull.handler, pull.method, pull.status, received=0, sent=sent, seconds=seconds)


def _log(fields: dict[str, object], seconds: float) -> None:
    fields["http.response.duration"] = seconds
    log_fields(fields)


def _is_plain(request: web.BaseRequest) -> bool:
    return (
        request.method in _METHODS
        and request.version == HttpVersion11
        and not request.rel_url.raw_query_string
        and all(name.title() in _HEADERS for name in request.headers)
        and NAMESPACE not in request
        and FRESHNESS not in request
    )


def _template_of(response: web.StreamResponse) -> bytes | None:
    """Return the head of a response that was sent, or None if the order is not that of `Pull.head`."""
    varying = [name for name in response.headers if name in _VARYING]
    if varying not in (list(_VARYING), list(_VARYING[1:])):
        return None
    lines = [f"HTTP/1.1 {response.status} {response.reason}".replace("%", "%%")]
    lines += [
        f"{name}: %b" if name in _VARYING else f"{name}: {value}".replace("%", "%%")
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
