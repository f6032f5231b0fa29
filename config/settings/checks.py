"""Checks of URLs, and their display without credentials."""

from adapters.addresses import is_web_url
from config.tree import hide_credentials, printable
from core.model.secret import HIDDEN


def web_url_problem(text: str) -> str | None:
    """Return the problem with an HTTP or HTTPS URL, or None."""
    if is_web_url(text):
        return None
    return f"must be a URL such as https://host.example.com/path, not `{printable(shown_url(text))}`"


def shown_url(text: str) -> str:
    """Return a URL, valid or not, without user, password and query."""
    before, question, _ = text.partition("?")
    shown = hide_credentials(before) if "//" in before or "@" not in before else HIDDEN
    return shown + (question and f"?{HIDDEN}")
