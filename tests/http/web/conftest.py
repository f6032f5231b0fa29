"""A visitor of the web page: a browser without JavaScript, which follows links and sends the forms that it sees."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from adapters.auth.htpasswd import HtpasswdAuthenticator
from adapters.auth.login_tokens import LoginTokenAuthenticator
from core.model.access import AccessPolicy, Rule, RuleAction
from tests.http.conftest import SECRET, Api
from tests.support.htpasswd import write_htpasswd

ROOT = "/ui/"
EVERYTHING = tuple(RuleAction)
READERS = (Rule(who=("anonymous",), repositories=("public/**",), actions=(RuleAction.PULL, RuleAction.CATALOG)),)
"""Rights of visitors without a sign-in, in tests with users."""
RULES = (
    *READERS,
    Rule(who=("alice",), actions=EVERYTHING),
    Rule(who=("bob",), repositories=("team/**",), actions=(RuleAction.PULL, RuleAction.PUSH)),
)
"""Alice may do everything, bob pushes to `team/**`, and all visitors may pull from `public/**`."""


@dataclass
class Form:
    """A form of a page, with the fields that it would send."""

    method: str = "get"
    action: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)
    boxes: list[tuple[str, str]] = field(default_factory=list)
    """Check boxes, which send nothing until they are checked."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.by_id: dict[str, Form] = {}
        self.links: list[str] = []
        self.words: list[str] = []
        self.open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag == "form":
            self.open = Form(values.get("method", "get").lower(), values.get("action", ""))
            self.forms.append(self.open)
            self.by_id[values.get("id", "")] = self.open
        form = self.by_id.get(values["form"]) if "form" in values else self.open
        if tag in {"input", "button"} and form is not None and "name" in values:
            kind = "button" if tag == "button" else values.get("type", "text")
            into = {"button": form.buttons, "checkbox": form.boxes}.get(kind, form.fields)
            into.append((values["name"], values.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.open = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@dataclass
class Seen:
    """A page as the visitor sees it."""

    status: int
    path: str
    html: str
    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        reader = _Reader()
        reader.feed(self.html)
        self.text = " ".join(" ".join(reader.words).split())
        self.links, self.forms = reader.links, reader.forms

    def form(self, action: str) -> Form:
        """Return the form with this action below the root."""
        return next(form for form in self.forms if form.action.partition("?")[0] == ROOT + action)

    def has_form(self, action: str) -> bool:
        return any(form.action.partition("?")[0] == ROOT + action for form in self.forms)


class Visitor:
    """A browser without JavaScript, with cookies of its own."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.cookies: dict[str, str] = {}
        self.language = "en"

    async def open(self, path: str = "", **options: Any) -> Seen:
        """Open a page below the root, and follow redirects."""
        return await self._go("GET", path if path.startswith("/") else ROOT + path, **options)

    async def send(self, form: Form, **values: str | list[str]) -> Seen:
        """Send a form with the values of some fields, as a browser does."""
        pairs = [(name, value) for name, value in form.fields if name not in values]
        for name, value in values.items():
            pairs += [(name, each) for each in ([value] if isinstance(value, str) else value)]
        return await self._go("POST", form.action, data=pairs)

    async def post(self, path: str, fields: list[tuple[str, str]]) -> Seen:
        """Send a form that no page contains."""
        return await self._go("POST", ROOT + path, data=fields)

    async def sign_in(self, user: str, password: str) -> Seen:
        page = await self.open("_sign-in")
        return await self.send(page.form("_sign-in"), user=user, password=password)

    async def _go(self, method: str, path: str, **options: Any) -> Seen:
        for _ in range(5):
            headers = {"Accept": "text/html", "Accept-Language": self.language, "Cookie": self._cookie(path)}
            headers |= options.pop("headers", {})
            if isinstance(options.get("data"), list) and not options["data"]:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            # This visitor has cookies of its own, not those of the session that all visitors of a test share.
            self.api.session.cookie_jar.clear()
            async with self.api.request(method, self.api.root + path, headers=headers, **options) as response:
                html = await response.text()
                for name, morsel in response.cookies.items():
                    self.cookies[name] = morsel.value
                    if morsel["max-age"] == "0":
                        del self.cookies[name]
                following = response.headers.get("Location", "")
                if response.status not in {302, 303} or not following.startswith("/"):
                    # The visitor does not follow links to other sites.
                    return Seen(response.status, following or path, html, response.headers)
                method, path, options = "GET", following, {}
        raise AssertionError("too many redirects")

    def _cookie(self, path: str) -> str:
        # All cookies of the page belong to its path.
        return "; ".join(f"{k}={v}" for k, v in self.cookies.items()) if path.startswith(ROOT) else ""


@pytest.fixture
def clock() -> list[datetime]:
    return [datetime.now(UTC)]


@pytest.fixture
def start_with_users(start: Callable[..., Awaitable[Api]], tmp_path: Any, clock: list[datetime]) -> Any:
    """Start a registry with the users alice (`secret`) and bob (`b`)."""
    users = write_htpasswd(tmp_path / "htpasswd", alice="secret", bob="b")

    async def start_one(*rules: Rule, blocked: frozenset[str] = frozenset(), **options: Any) -> Api:
        inner = HtpasswdAuthenticator(realm="r", path=str(users), clock=lambda: 0.0)
        authenticator = LoginTokenAuthenticator(inner, accounts=inner, secret=SECRET, now=lambda: clock[0])
        policy = AccessPolicy(rules=rules or RULES, blocked=blocked)
        return await start(authenticator=authenticator, policy=policy, now=lambda: clock[0], **options)

    return start_one


@pytest.fixture
async def visitor(api: Api) -> Visitor:
    """A visitor of a registry without access control."""
    return Visitor(api)
