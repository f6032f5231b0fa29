"""Keys that hold URLs, and checks of addresses whose errors would otherwise appear only on use."""

import re
from typing import Final

from marshmallow import ValidationError
from typing_extensions import override
from yarl import URL

from config.schema.scalars import Text
from config.settings.secret import HIDDEN
from config.tree import Scalar, hide_credentials, printable

_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[^\s]+")
"""The names that botocore accepts."""


class WebUrl(Text):
    """The URL of a web server; user, password and query are never shown, since they may be credentials."""

    @override
    def read(self, scalar: Scalar) -> str:
        if self.check and (problem := self.check(scalar.text)):
            raise ValidationError(problem)
        return scalar.text


def web_url_problem(text: str) -> str | None:
    """Return the problem with a text that should be an HTTP or HTTPS URL, or None."""
    try:
        # aiohttp parses URLs with the same class.
        url = URL(text)
        is_one = url.scheme in {"http", "https"} and bool(url.host) and url.explicit_port != 0
    except ValueError:
        is_one = False
    if is_one and not any(character.isspace() for character in text):
        return None
    return f"must be a URL such as https://host.example.com/path, not `{printable(shown_url(text))}`"


def endpoint_problem(text: str) -> str | None:
    """Return the problem with a text that should be the address of a store, with or without a scheme, or None."""
    url = text if "://" in text else f"https://{text}"
    if web_url_problem(url) is None and "?" not in text:
        return None
    return "must be `host`, `host:port` or a URL such as https://store.example.com"


def bucket_problem(text: str) -> str | None:
    """Return the problem with the name of a bucket, or None."""
    if _BUCKET.fullmatch(text):
        return None
    return "must be the name of a bucket alone: up to 255 letters, digits, `.`, `-` and `_`"


def shown_url(text: str) -> str:
    """Return a URL, valid or not, without user, password and query."""
    before, question, _ = text.partition("?")
    shown = hide_credentials(before) if "//" in before or "@" not in before else HIDDEN
    return shown + (question and f"?{HIDDEN}")
