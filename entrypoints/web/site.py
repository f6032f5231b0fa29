"""The site: finds the page and the visitor of a request, and renders the answer."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from core.errors import DeniedError, NameUnknownError
from core.model.access import ANONYMOUS, Caller
from core.ports.authenticator import Accounts
from entrypoints.http.connection.streaming import ClientGoneError
from entrypoints.http.errors import render
from entrypoints.http.keys import CALLER, CLIENT, REQUEST_ID
from entrypoints.http.site import SiteParts
from entrypoints.web.files import StaticFiles
from entrypoints.web.forms import TOKEN, read_form
from entrypoints.web.locations import Location, Page, locate, with_query
from entrypoints.web.rendering import LANGUAGES, Renderer, negotiate_language
from entrypoints.web.sessions import COOKIE, LIFETIME, Sessions
from entrypoints.web.views import all_views
from entrypoints.web.views.preferences import LANGUAGE_COOKIE, THEME_COOKIE, THEMES
from entrypoints.web.visits import DONE, FLOW_COOKIE, FLOW_LIFETIME, Answer, Left, Moved, Shown, Visit

_PREFERENCE_SECONDS: Final = 365 * 86400
_FOR_BLOCKED: Final = frozenset({Page.SIGN_IN, Page.SIGN_OUT, Page.PROVIDER, Page.CALLBACK, Page.PREFERENCES})
"""Pages that a blocked user needs to sign in as another user."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Site:
    """The web page; one per process.

    Args:
        parts: the parts of the application that the site uses.
    """

    def __init__(self, parts: SiteParts) -> None:
        self._parts = parts
        self._sessions = Sessions(parts.secret, now=parts.now)
        self._renderer = Renderer()
        self._files = StaticFiles()
        accounts = parts.authenticator
        self._accounts = accounts if isinstance(accounts, Accounts) else None
        self._views = all_views(parts, self._sessions)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request below the path of the site."""
        path = self._parts.settings.http.prefix.rstrip("/") + self._parts.settings.ui.path
        location = locate(request.path.removeprefix(path))
        if location is not None and location.page is Page.STATIC and request.method in {"GET", "HEAD"}:
            file = self._files.respond(location.reference)
            if file is not None:
                return file
        visit = Visit(
            request=request,
            location=location or Location(Page.OVERVIEW),
            caller=Caller(principal=ANONYMOUS, policy=self._parts.authorizer.policy),
            session=self._sessions.decode(request.cookies.get(COOKIE, "")) or self._sessions.begin(),
            language=_language(request),
            theme=_theme(request),
        )
        request[CALLER] = visit.caller
        try:
            visit = await self._identified(visit)
            answer = await self._answer(visit, is_known=location is not None)
        except (ClientGoneError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - every error becomes a page; `render` logs unexpected ones
            return self._explain(visit, error)
        return self._respond(visit, answer)

    async def _identified(self, visit: Visit) -> Visit:
        """Return the visit of the session's user as of now: a removed user is an anonymous visitor."""
        user = visit.session.user
        if not user:
            return visit
        account = await self._accounts.account(user) if self._accounts else None
        if account is None or account.stamp != visit.session.stamp:
            return replace(visit, session=self._sessions.begin())
        caller = visit.request[CALLER] = replace(visit.caller, principal=account.principal)
        return replace(visit, caller=caller)

    async def _answer(self, visit: Visit, *, is_known: bool) -> Answer:
        request = visit.request
        view = self._views.get((visit.location.page, "GET" if request.method == "HEAD" else request.method))
        if visit.caller.policy.is_blocked(visit.caller.principal) and visit.location.page not in _FOR_BLOCKED:
            raise DeniedError("requested access to the resource is denied")
        if view is None or not is_known:
            raise NameUnknownError("no such page")
        if request.method == "POST":
            visit = replace(visit, form=await read_form(request))
            if not self._sessions.is_form_token(visit.session, visit.field(TOKEN)):
                raise DeniedError("the form is too old, or comes from another site; open the page again")
        return await view(visit)

    def _respond(self, visit: Visit, answer: Answer) -> web.Response:
        if isinstance(answer, web.Response):
            response = answer
        elif isinstance(answer, Shown):
            response = self._page(visit, answer)
        else:
            # After a 303, browsers send a GET, and going back does not repeat the form.
            response = web.Response(status=303, headers={"Location": self._target(visit, answer)})
        self._set_cookies(visit, answer, response)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if visit.request[CLIENT].scheme == "https":
            # On plain HTTP, browsers ignore the header and report an error in their console.
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return response

    def _target(self, visit: Visit, answer: Moved | Left) -> str:
        if isinstance(answer, Left):
            return answer.url
        return with_query(self._root(visit.request) + answer.location.path, answer.query)

    def _set_cookies(self, visit: Visit, answer: Answer, response: web.Response) -> None:
        set_cookie = partial(self._set_cookie, response, visit.request)
        session = None
        if isinstance(answer, Moved):
            session = answer.session
            for name, value in answer.cookies.items():
                set_cookie(name, value, max_age=_PREFERENCE_SECONDS)
        if isinstance(answer, Left):
            set_cookie(FLOW_COOKIE, answer.flow, max_age=int(FLOW_LIFETIME.total_seconds()))
        elif isinstance(answer, Shown | Moved) and answer.ends_flow:
            set_cookie(FLOW_COOKIE, "", max_age=0)
        if session is not None or visit.session.is_new:
            set_cookie(COOKIE, self._sessions.encode(session or visit.session), max_age=int(LIFETIME.total_seconds()))

    def _page(self, visit: Visit, shown: Shown) -> web.Response:
        values = {**self._common(visit), **shown.values}
        text = self._renderer.render(shown.template, visit.language, values, now=self._parts.now())
        headers = {"Content-Language": visit.language, "Vary": "Accept-Language, Cookie"}
        return web.Response(text=text, status=shown.status, content_type="text/html", headers=headers)

    def _common(self, visit: Visit) -> Mapping[str, Any]:
        """Return the variables of every page."""
        root = self._root(visit.request)

        def href(page: str, name: str = "", reference: str = "", **query: str | int | None) -> str:
            return with_query(root + Location(Page[page], name, reference).path, query)

        def here(**query: str | int | None) -> str:
            # The result of a form is shown once, not on the pages that follow.
            kept = {key: value for key, value in visit.request.query.items() if not key.startswith(DONE)}
            return with_query(root + visit.location.path, {**kept, **query})

        return {
            "visit": visit,
            "href": href,
            "here": here,
            "file": lambda name: root + self._files.address(name),
            "form_token": self._sessions.form_token(visit.session),
            "can_sign_in": self._accounts is not None,
            "has_keys": self._parts.operations.access_keys is not None,
            "is_read_only": self._parts.flags.is_read_only,
            "has_notifications": bool(self._parts.operations.endpoint_names()),
            "read_only_reason": self._parts.flags.read_only_reason,
            "host": urlsplit(self._parts.urls.root(visit.request)).netloc or visit.request[CLIENT].host or "localhost",
            "is_tls": visit.request[CLIENT].scheme == "https",
        }

    def _explain(self, visit: Visit, error: Exception) -> web.Response:
        """Return the page for an error, with the status that the API would answer."""
        is_visitor = not visit.user and self._accounts is not None
        if isinstance(error, DeniedError) and is_visitor and visit.request.method in {"GET", "HEAD"}:
            # Without its query, because nothing but pages that a link names is opened after a sign-in.
            return self._respond(visit, Moved(location=Location(Page.SIGN_IN), query={"next": visit.location.path}))
        rendered = render(visit.request, error)
        message = json.loads(rendered.body or b"{}")["errors"][0]["message"]  # type: ignore[arg-type]
        response = self._respond(
            visit,
            Shown(
                template="error.html",
                values={
                    "message": message,
                    "status": rendered.status,
                    "request_id": visit.request.get(REQUEST_ID, ""),
                },
                status=rendered.status,
            ),
        )
        if "Retry-After" in rendered.headers:
            response.headers["Retry-After"] = rendered.headers["Retry-After"]
        return response

    def _root(self, request: web.Request) -> str:
        """Return the path of the site as the browser sees it, which begins and ends with a slash."""
        return urlsplit(self._parts.urls.root(request)).path.rstrip("/") + self._parts.settings.ui.path

    def _set_cookie(self, response: web.Response, request: web.Request, name: str, value: str, *, max_age: int) -> None:
        response.set_cookie(
            name,
            value,
            path=self._root(request),
            max_age=max_age,
            httponly=True,
            secure=request[CLIENT].scheme == "https",
            samesite="Lax",
        )


def _language(request: web.Request) -> str:
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else negotiate_language(request.headers.get("Accept-Language", ""))


def _theme(request: web.Request) -> str:
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""
